"""The one error that a person is meant to read."""


class AutoMedSAMError(Exception):
    """Something the user can put right, told in one sentence that says how.

    The panel shows the message as it stands. `details` is for whoever wants to know more: a traceback or the
    engine's last words.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details
