"""DICOM files: their headers, frames, stacks and values, and the volume that is meant."""
