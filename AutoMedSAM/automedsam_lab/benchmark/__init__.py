"""Runtime and memory, measured against other implementations."""
