"""Sound event localization and detection (DCASE 2019 task 3)."""
