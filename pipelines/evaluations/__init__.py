"""One call of a model under a cache: what of it runs, and what is estimated."""
