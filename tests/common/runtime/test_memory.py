"""Freed memory stays with the process, unless the user or the C library decide otherwise."""

import os
import subprocess
import sys

import pytest

from common.runtime import memory

# Takes and frees 64 MB, in the process or in a thread; prints how much of it the process holds
# afterwards, in MB.
HELD = """
import ctypes, sys, threading
from pathlib import Path
from common.runtime.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
lines = lambda: Path("/proc/self/status").read_text().splitlines()
held = lambda: int(next(line for line in lines() if "VmRSS" in line).split()[1])
library = ctypes.CDLL(None)
library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def use():
    block = library.malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    library.free(block)
before = held()
if sys.argv[2] == "process":
    use()
else:
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
print(kept, (held() - before) // 1000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
@pytest.mark.parametrize("user", ["process", "thread"])
def test_a_freed_block_stays_only_on_request(user):
    variables = {
        name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")
    }  # dask sets one
    printed = {}
    for way in ("keep", "give back"):
        command = [sys.executable, "-c", HELD, way, user]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        printed[way] = done.stdout.split()
    assert printed["keep"][0] == "True" and int(printed["keep"][1]) >= 60
    assert printed["give back"][0] == "False" and int(printed["give back"][1]) <= 5


@pytest.mark.parametrize("name", ["MALLOC_TOP_PAD_", "MALLOC_ARENA_MAX"])
def test_environment_variables_of_the_user_have_priority(name, monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: pytest.fail("malloc was touched"))
    assert not memory.keep_freed_memory({name: "2"})


def test_another_c_library_is_not_changed(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not memory.keep_freed_memory({})
