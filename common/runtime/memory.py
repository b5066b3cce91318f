"""Keeps memory that a training step, or a recording, frees for the next one."""

import ctypes
import os
from collections.abc import Mapping

# Of glibc's malloc.h; what each stands for may also be set by an environment variable.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
SETTINGS = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**28}  # maps, bytes, bytes
_LIMITS = ("MMAP_MAX", "MMAP_THRESHOLD", "TRIM_THRESHOLD", "TOP_PAD")
VARIABLES = tuple(f"MALLOC_{name}_" for name in _LIMITS)


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
