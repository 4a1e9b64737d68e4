"""The decisions: pure functions from model values to model values."""
