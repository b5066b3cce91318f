"""Fuzzing with bad input: one target for every reader; `python -m tests.fuzz` is the long form."""
