"""Runs from which others are planned."""
