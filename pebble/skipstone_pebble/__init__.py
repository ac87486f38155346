"""The three small models of skipstone, and the weights of LPIPS."""
