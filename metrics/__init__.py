"""Measuring what a cache costs in quality and gains in time, and writing what a pipeline made."""
