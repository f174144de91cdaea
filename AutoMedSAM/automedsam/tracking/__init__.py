"""Tracking an object from slice to slice, within image crops."""
