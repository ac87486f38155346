"""What a method, a predictor and a saver of guidance are, and what they are given."""
