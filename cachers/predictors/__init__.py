"""Predictors, one file each: how the residuals of computed steps are weighed into an estimate."""
