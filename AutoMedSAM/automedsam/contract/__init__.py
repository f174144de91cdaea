"""What both sides of the Slicer door agree on: errors, manifest, planes and messages. Standard library only.

The module in Slicer may import this package and nothing else of `automedsam`; it loads neither numpy nor any other
library.
"""
