"""What is reported of a segmentation: volumes, diameters, agreement, and overlap with a reference."""
