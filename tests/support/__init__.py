"""What tests are made of: tiny pipelines, models with known answers, and rows with made-up values."""
