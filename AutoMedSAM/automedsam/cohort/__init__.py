"""Cohorts: many cases through one model, each once, on this computer or on a Ray cluster."""
