"""Overlays and montages of images with their segmentation."""
