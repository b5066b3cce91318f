"""Scorers of sound event localization and detection, one module for each kind of rules."""
