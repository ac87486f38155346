"""Where a run is, and what it did."""
