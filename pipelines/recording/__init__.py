"""Runs that are made to plan others."""
