"""Search of the video part: width, memory attention's layers, and how many memories it looks at."""
