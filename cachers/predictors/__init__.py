"""How residuals of computed steps are weighed into an estimate, one file each."""
