"""The contracts of methods, predictors and guidance savers, and the objects that they receive."""
