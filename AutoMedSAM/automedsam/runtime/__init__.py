"""ONNX Runtime sessions, their threads, and the memory that the process uses."""
