"""Running video autoencoders in chunks, exactly as if whole."""
