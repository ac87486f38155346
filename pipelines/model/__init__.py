"""How a model is built, read and held: its blocks, streams, arguments and outputs."""
