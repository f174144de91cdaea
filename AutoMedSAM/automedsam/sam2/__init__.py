"""SAM 2 propagation over the slices of a volume, on PyTorch or on ONNX Runtime."""
