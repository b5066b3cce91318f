"""Errors that are the user's to mend: the command line prints their text alone, without a
traceback."""

_MOST_CHARACTERS = 4000  # what was received may be a file in one line


class UserError(Exception):
    """Base of all errors whose message says what was expected, what was received, where, and what
    to do.

    A message too long to be read loses its middle: the file comes first and the remedy last.
    """

    def __init__(self, message: str = "") -> None:
        half = _MOST_CHARACTERS // 2
        super().__init__(
            message
            if len(message) <= _MOST_CHARACTERS
            else f"{message[:half]} ... {message[-half:]}"
        )

    status = 2  # of the program


class ConfigError(UserError):
    """A setting is unknown, has the wrong type, or contradicts another."""


class DataError(UserError):
    """A recording, a metadata file, a shard or a submission cannot be used as it is."""


class CheckpointError(UserError):
    """Stored weights or a stored run do not fit what is asked of them."""


class TrainingError(UserError):
    """Training went wrong for a reason the settings can mend, such as a learning rate that is too
    high."""

    status = 3
