"""What is kept of computed steps."""
