"""Metrics of masks, boxes and lesions, and their confidence intervals."""
