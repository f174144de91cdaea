"""A run from the request to its end: checks, control, progress."""
