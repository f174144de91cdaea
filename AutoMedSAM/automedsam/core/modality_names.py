"""Imaging modalities as names and DICOM tags write them; both sides of the Slicer door use the contract's reading."""

from automedsam.contract.modality_names import modalities_in, modalities_of

__all__ = ["modalities_in", "modalities_of"]
