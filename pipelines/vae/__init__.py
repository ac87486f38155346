"""Decoding videos in chunks, exactly as if whole."""
