"""Bad input, hunted: one target for every reader of the project; `python -m tests.fuzz` is the long
form."""
