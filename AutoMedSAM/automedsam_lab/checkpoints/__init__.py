"""Published checkpoints: which there are, and how their weights are matched to a network."""
