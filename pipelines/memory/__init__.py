"""The memory of computed steps."""
