"""The engine's process: its installation, the client that talks to it, and the files they share."""
