"""Methods that compute every step and record what they see."""
