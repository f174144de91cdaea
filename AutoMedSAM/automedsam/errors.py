"""The one error that a user is meant to read; defined in the contract that Slicer's side shares."""

from automedsam.contract.errors import AutoMedSAMError

__all__ = ["AutoMedSAMError"]
