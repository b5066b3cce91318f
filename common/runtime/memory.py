"""Keeps memory that a training step, or a recording, frees for the next one."""

import ctypes
import os
from collections.abc import Mapping

# Of glibc's malloc.h; what each stands for may also be set by an environment variable.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
# Maps; never; bytes; one arena for all threads, since those of single threads have heaps of 64 MB
# and map larger blocks, which are then given back, whatever the other settings.
SETTINGS = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 2**28, M_ARENA_MAX: 1}
_LIMITS = ("MMAP_MAX_", "MMAP_THRESHOLD_", "TRIM_THRESHOLD_", "TOP_PAD_", "ARENA_MAX")
VARIABLES = tuple(f"MALLOC_{name}" for name in _LIMITS)


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Makes glibc keep freed memory; the system would return it page by page, zeroed.

    On a CPU, steps of networks whose maps are large spend up to half of their time in that, and the
    features of a clip a sixth, more where several processes want pages at once. The process then
    stays as large as it once was. Without effect where the C library is another, or where the user
    set it by the environment.

    Args:
        environment: variables of the process.

    Returns:
        True if the settings of glibc were changed.
    """
    if any(name in environment for name in VARIABLES):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  # only glibc has it
        return all(library.mallopt(parameter, value) for parameter, value in SETTINGS.items())
    except (AttributeError, OSError, TypeError):  # another C library, or Windows without CDLL(None)
        return False
