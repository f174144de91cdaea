"""A run from a volume to a segmentation, its backends and its confidence."""
