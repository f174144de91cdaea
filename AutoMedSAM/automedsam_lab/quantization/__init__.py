"""INT8 quantization: calibration, fidelity, sensitivity, and the way back."""
