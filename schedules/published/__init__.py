"""Constants of single methods, and how they are measured for other models."""
