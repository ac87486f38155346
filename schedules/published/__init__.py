"""Published constants of single methods, and how to measure them for other models."""
