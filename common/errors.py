"""Errors that a user can fix: the command line prints their text only, without a traceback."""

_MOST_CHARACTERS = 4000  # what was received may be a file in one line


class UserError(Exception):
    """Base of all errors whose message names place, expected and received value, and remedy.

    A message too long to be read loses its middle: the file comes first and the remedy last.
    """

    def __init__(self, message: str = "") -> None:
        if len(message) > _MOST_CHARACTERS:
            half = _MOST_CHARACTERS // 2
            message = f"{message[:half]} ... {message[-half:]}"
        super().__init__(message)

    status = 2  # of the program


class ConfigError(UserError):
    """A setting is unknown, has the wrong type, or contradicts another."""


class DataError(UserError):
    """A recording, a metadata file, a shard or a submission cannot be used as it is."""


class PartlyDoneError(DataError):
    """Some of several recordings could not be used; all others are done."""

    status = 4


class CheckpointError(UserError):
    """Stored weights or a stored run do not fit what is asked of them."""


class TrainingError(UserError):
    """Training failed for a reason that settings can fix, such as too high a learning rate."""

    status = 3
