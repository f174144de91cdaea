"""Making model bundles: from published checkpoints, from trainings, and the starter bundles."""
