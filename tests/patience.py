"""Time limits of tests: no test is about a duration, so only endless ones are stopped."""

import time
from collections.abc import Callable

# Over ten times what the longest program of a test takes on two idle cores; a busy machine is no
# failure.
PATIENCE_S = 1800.0
_LOOK_S = 0.02


def wait_until(condition: Callable[[], object], alive: Callable[[], bool] = lambda: True) -> None:
    """Waits until a condition holds.

    Args:
        condition: looked at again and again.
        alive: whether it still can come true, e.g. since a process runs.

    Raises:
        AssertionError: it cannot any more, or never did.
    """
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert alive() or condition(), "what was waited for cannot come any more"
        assert time.monotonic() < deadline, f"what was waited for did not come in {PATIENCE_S:g} s"
        time.sleep(_LOOK_S)
