"""One call of a model with a cache: what runs, and what is estimated."""
