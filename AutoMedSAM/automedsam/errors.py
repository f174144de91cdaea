"""The one error that a user is meant to read."""


class AutoMedSAMError(Exception):
    """Something the user can put right, told in one sentence that says how.

    Front ends show the message as it stands and nothing else: the command line prints it and exits with 2,
    the panel shows it under its Apply button.
    """
