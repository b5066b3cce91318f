"""Errors that are the user's to mend: the command line prints their text alone, without a traceback."""


class UserError(Exception):
    """Base of all errors whose message says what was expected, what was received, where, and what to do."""


class ConfigError(UserError):
    """A setting is unknown, has the wrong type, or contradicts another."""


class DataError(UserError):
    """A recording, a metadata file, a shard or a submission cannot be used as it is."""


class CheckpointError(UserError):
    """Stored weights or a stored run do not fit what is asked of them."""


class TrainingError(UserError):
    """Training went wrong for a reason the settings can mend, such as a learning rate that is too high."""
