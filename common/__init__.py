"""What every system shares: settings, audio, features, records, training; knows no task and no
class list."""

__version__ = "0.1.0"
