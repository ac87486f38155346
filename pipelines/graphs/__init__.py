"""Skipped evaluations as CUDA graphs."""
