"""What the module reads from and writes to the MRML scene."""
