"""Measurements on one core."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

from benchmarks.measure import wall_s


@contextmanager
def one_core() -> Iterator[None]:
    """Restricts this process to one core, and numerical libraries to one thread, where possible."""
    if not hasattr(os, "sched_setaffinity"):
        with threadpool_limits(limits=1):
            yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        os.sched_setaffinity(0, allowed)


def core_s(work: Callable[[], object]) -> float:
    """Seconds that `work` takes on one core."""
    with one_core():
        return wall_s(work)
