"""Targets, and the rules of a case: a valid result, or an error that names the file."""

import logging
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis.strategies import SearchStrategy

from common.errors import UserError

Files = Mapping[str, bytes]  # content by name; a case is a small folder of files

CASE, SCRATCH = "case", "scratch"  # folders of a case and of temporary files, side by side
CASE_S = 20.0  # a case takes milliseconds; this is a hang
CASE_MB = 400  # beyond what the process ever used before
_MOST_WARNINGS = 3
_MOST_LOG_LINES = 30
_MOST_CHARACTERS = 6000  # of an error that a person is to read
_PATH_EVENTS = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "os.link",
    "os.truncate",
    "os.chmod",
}
# within a folder that is open: their last argument is its descriptor
_OF_RMTREE = {"os.remove", "os.rmdir"}
_FORBIDDEN_EVENTS = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "socket.connect",
    "pickle.find_class",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Target:
    """A reader, and how it is tried.

    Attributes:
        name: on the command line.
        cases: makes the strategy that draws cases; called when it is needed, since valid files cost
            time.
        read: reads the folder of a case and asserts what must hold of what it read.
        weight: number of cases relative to other targets.
        examples: cases of the short form.
        named: what an error must name, a pattern; None: one of the files.
    """

    name: str
    cases: Callable[[], SearchStrategy[Files]]
    read: Callable[[Path], None]
    weight: int = 10
    examples: int = 30
    named: str | None = None


class Failure(Exception):
    """A case did what no input may make a reader do."""


class Hang(BaseException):
    """The time of a case is over; no `except Exception` catches it."""


@dataclass
class _Watch:
    """Files that the process opens, and programs it starts, while a case is read."""

    inside: tuple[str, ...]  # folders
    base: str
    seen: list[str] = field(default_factory=list)

    def check(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _FORBIDDEN_EVENTS:
            self._refuse(f"{event} {arguments!r:.200}")
        paths = [each for each in arguments if isinstance(each, str | bytes | os.PathLike)]
        if event == "open":
            path, mode, flags = arguments
            writes = bool(set(mode or "") & set("wax+")) or bool((flags or 0) & _WRITING)
            if isinstance(path, int) or self._may(os.fsdecode(path), writes):
                return
            self._refuse(f"{'writes' if writes else 'reads'} {os.fsdecode(path)!r}")
        elif event not in _OF_RMTREE or arguments[-1] < 0:
            if all(self._may(os.fsdecode(path), True) for path in paths):
                return
            self._refuse(f"{event} {paths!r:.200}")

    def _may(self, path: str, writes: bool) -> bool:
        whole = os.path.abspath(path)
        if whole.startswith(self.inside) or whole == os.devnull:
            return True
        return not (writes or whole.startswith(self.base) or whole.startswith("/etc/"))

    def _refuse(self, what: str) -> None:
        self.seen.append(what)
        raise PermissionError(what)


_watch: _Watch | None = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watch is not None and (
        event == "open" or event in _PATH_EVENTS or event in _FORBIDDEN_EVENTS
    ):
        _watch.check(event, arguments)


class _Counter(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += 1


def run_case(target: Target, files: Files, base: Path) -> bool:
    """Lays out a case and reads it.

    Args:
        target: the reader.
        files: the case.
        base: folder of the run; the case is laid out in `CASE` in it, and stays.

    Returns:
        Whether the input was accepted.

    Raises:
        Failure: the reader did what it must not.
    """
    folder = lay_out(files, base)
    try:
        with _watched(base):
            target.read(folder)
    except UserError as error:
        _check_message(str(error), target.named or "|".join(map(re.escape, files)))
        return False
    except Failure:
        raise
    except Hang as error:
        raise Failure(f"no end after {CASE_S:g} s") from error
    except Exception as error:
        raise Failure(f"{type(error).__name__}: {str(error)[:300]}") from error
    return True


def lay_out(files: Files, base: Path) -> Path:
    """Writes the files of a case into its folder, which is emptied before."""
    folder = base / CASE
    shutil.rmtree(folder, ignore_errors=True)
    (base / SCRATCH).mkdir(parents=True, exist_ok=True)
    (base / "outside.txt").write_text("1\n")  # what ../outside.txt would reach
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@contextmanager
def _watched(base: Path) -> Iterator[None]:
    """Watches time, memory, warnings, the log, opened files and started programs."""
    global _watch
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    _forget_peak()
    counter, root, before_mb = _Counter(), logging.getLogger(), _peak_mb()
    watch = _Watch(tuple(f"{base / name}" for name in (CASE, SCRATCH)), f"{base}{os.sep}")
    root.addHandler(counter)
    scratch = mock.patch.object(tempfile, "tempdir", str(base / SCRATCH))
    with scratch, warnings.catch_warnings(record=True) as warned, _limited(CASE_S):
        warnings.simplefilter("always")
        _watch = watch
        try:
            yield
        finally:
            _watch = None
            root.removeHandler(counter)
            # Raised here, it takes the place of an error that was made of the refusal.
            _judge(watch.seen, warned, counter.lines, _peak_mb() - before_mb)


_installed: list[bool] = []


def _judge(
    seen: list[str], warned: list[warnings.WarningMessage], log_lines: int, grown_mb: float
) -> None:
    if seen:
        raise Failure(f"left its folder: {seen[0]}")
    numeric = [each for each in warned if issubclass(each.category, RuntimeWarning)]
    if numeric or len(warned) > _MOST_WARNINGS:
        raise Failure(
            f"{len(warned)} warnings, such as {str((numeric or warned)[0].message)[:200]}"
        )
    if log_lines > _MOST_LOG_LINES:
        raise Failure(f"{log_lines} lines of log")
    if grown_mb > CASE_MB:
        raise Failure(f"memory grew by {grown_mb:.0f} MB")


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def end(*_: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _forget_peak() -> None:
    """Lets the peak start from the memory of now, or growth below an earlier peak goes unseen."""
    with suppress(OSError):  # only Linux can
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _check_message(text: str, named: str) -> None:
    if not re.search(named, text):
        raise Failure(f"an error that names no file ({named}): {text[:300]}")
    if len(text) > _MOST_CHARACTERS:
        raise Failure(f"an error of {len(text)} characters: {text[:100]}")
