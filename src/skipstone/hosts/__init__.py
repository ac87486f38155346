"""Engines that others serve models with: each loads skipstone by an entry point of its own."""
