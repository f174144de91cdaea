"""The detector, and the linking of its boxes across slices."""
