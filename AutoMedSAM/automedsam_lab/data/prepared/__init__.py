"""Reading a prepared dataset."""
