"""What the other packages share: JSON files, optional dependencies, a description of the system."""
