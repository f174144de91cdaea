"""The one error that a user is meant to read."""


class AutoMedSAMError(Exception):
    """Something the user can correct, in one sentence that explains how.

    Front ends show the message as it stands and nothing else: the command line prints it and exits with 2,
    the panel shows it under its Apply button.

    Args:
        message: The sentence.
        details: A traceback, or the engine's last output, for a report. May be empty.

    Example:
        >>> from automedsam import read_volume
        >>> read_volume("missing.nii.gz")
        Traceback (most recent call last):
        ...
        automedsam.contract.errors.AutoMedSAMError: ...missing.nii.gz...
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details
