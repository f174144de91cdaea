"""Datasets: readers of published formats, preparation, clips and slices for training."""
