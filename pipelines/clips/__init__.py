"""Clips: made whole in one call of a pipeline, or streamed chunk by chunk."""
