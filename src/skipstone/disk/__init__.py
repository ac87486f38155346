"""Files that come from outside and files that go there: read within bounds, written whole or not at all."""
