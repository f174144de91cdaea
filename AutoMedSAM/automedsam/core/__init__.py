"""What every other package computes with: volumes, boxes, intensities, letterboxing, events."""
