"""Rooms shared by every system, from audio to reports; they know no task and no class list."""

__version__ = "0.1.0"
