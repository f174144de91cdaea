"""The student of EfficientMedSAM: a searchable convolutional encoder behind which SAM 2's prompt decoder stands."""
