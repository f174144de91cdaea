"""The command line `automedsam-lab`."""
