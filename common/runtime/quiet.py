"""Keeps libraries from writing to the screen while they are loaded."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stderr_discarded() -> Iterator[None]:
    """Drops what is written to the process's error stream; exceptions pass as ever.

    TensorFlow logs while it is imported, before it reads TF_CPP_MIN_LOG_LEVEL, in each process.
    """
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # the process has no error stream
        yield
        return
    discarded = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(discarded, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(discarded)
