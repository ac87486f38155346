"""When to compute: polynomials, masks and budgets, without any model."""
