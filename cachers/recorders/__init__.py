"""Methods that compute every step and write down what they see."""
