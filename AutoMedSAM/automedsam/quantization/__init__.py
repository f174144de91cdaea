"""INT8 files of a segmenter: export of SAM 2 to ONNX and quantization; torch and onnx are needed here alone."""
