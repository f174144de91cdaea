"""Preparing a dataset: one pass over the source, which can be resumed."""
