"""Cases of the features of sound event detection of 2019 to 2024."""

CASES: dict = {}
