"""The one error that a user is meant to read; the engine's contract defines it."""

from automedsam.contract.errors import AutoMedSAMError

__all__ = ["AutoMedSAMError"]
