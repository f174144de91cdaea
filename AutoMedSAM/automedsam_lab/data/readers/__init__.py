"""The published archives: one module for each layout, which lists what is there and reads one entry of it."""
