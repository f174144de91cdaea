"""Reading and writing volumes, images and segmentations."""
