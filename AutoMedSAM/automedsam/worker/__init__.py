"""The engine as a separate process: JSON lines in and out."""
