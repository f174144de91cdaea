"""Distillation of a small promptable segmenter from a model of the MedSAM family (EfficientMedSAM)."""
