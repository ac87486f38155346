"""Denoising runs: which calls belong to a run, where it is, and its statistics."""
