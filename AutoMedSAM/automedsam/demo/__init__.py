"""A synthetic head phantom, and a run on it."""
