"""Differentiable architecture search of the student's encoder, and what it has to beat."""
