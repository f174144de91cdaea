"""The evaluation's report."""
