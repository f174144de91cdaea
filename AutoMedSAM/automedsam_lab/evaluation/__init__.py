"""Evaluation of models and baselines on a dataset, and the report of it."""
