"""Training on shards, in any number of processes."""
