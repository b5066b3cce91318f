"""The long form of the tests: jobs killed again and again, and readers given damaged files."""

from common.quiet import stderr_discarded

with stderr_discarded():  # the backend announces itself while it is loaded
    import keras  # noqa: F401
