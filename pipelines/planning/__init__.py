"""A speed that is asked for: the first run is recorded, later ones follow its plan."""
