"""One job at a time in a folder; the error for a second job names the first."""

import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from common.errors import DataError
from common.io.files import storage_error

try:
    import fcntl
except ImportError:  # not a POSIX system: jobs are not kept apart
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_MOST_CHARACTERS = 500  # of the content of a lock


class InUseError(DataError):
    """Another job works in a folder.

    Args:
        folder: the folder.
        holder: the job, as it describes itself.
        remedy: advice for the second job.
    """

    def __init__(self, folder: Path, holder: str, remedy: str) -> None:
        super().__init__(
            f"{folder} is in use by {holder}. Wait until it ends, or {remedy}. If it"
            " hangs, end that process: the folder is free at once."
        )
        self.holder = holder


@contextmanager
def only_one(folder: Path, remedy: str) -> Iterator[None]:
    """Keeps other jobs out of a folder; the system releases the lock when the process ends.

    Args:
        folder: made if missing, and removed again if the job leaves nothing in it.
        remedy: advice for the second job, such as "set another `feature_dir`".

    Raises:
        InUseError: another job works there.
        DataError: the folder cannot be written to.
    """
    path, is_new = folder / LOCK, not folder.exists()
    try:
        file = _acquire(path, remedy)
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before its release: the next job creates a file of its own
        file.close()
        if is_new:
            with suppress(OSError):
                folder.rmdir()


def _acquire(path: Path, remedy: str) -> IO[str]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = open(path, "a+", encoding="utf-8", errors="replace", opener=_open_no_link)  # noqa: SIM115
        except FileNotFoundError:  # its holder ended, and removed the empty folder
            continue
        if not _locked(file):
            with file:
                file.seek(0)
                holder = file.read(_MOST_CHARACTERS).strip() or "another process"
            raise InUseError(path.parent, holder, remedy)
        if _still_there(path, file):
            break
        file.close()  # its holder ended, and removed it, between both calls above
    file.truncate(0)
    file.write(_holder())
    file.flush()
    return file


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _locked(file: IO[str]) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems know no locks
        return True
    return True


def _still_there(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _holder() -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return f"process {os.getpid()} on {socket.gethostname()}, since {since}: {command}\n"
