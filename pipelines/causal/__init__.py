"""Models whose frames do not see later ones: what is done with finished frames is done once."""
