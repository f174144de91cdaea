"""What the panel shows, in pure Python: boxes, bundles, runs. It knows neither Qt nor Slicer."""
