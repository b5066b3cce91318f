"""Kills a command at random times, restarts it, compares with an uninterrupted run."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from common.io.files import TEMPORARY_PATTERN
from common.io.locks import LOCK
from tests.soak.files import check_whole

ROOT = Path(__file__).parents[2]
MOMENTS = ("before any file", "between files", "within a file")
EARLY_SHARE = 0.2  # of the kills come before a run has written anything
_LOOK_S = 0.005
_ORPHANS_S = 600.0
_LONGEST_S = 900.0
_SHARED = Path("/dev/shm")


class Job(Protocol):
    """A command that runs."""

    pid: int

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""


@dataclass(frozen=True)
class Target:
    """A command that may be killed at any moment and started again.

    Attributes:
        name: of the work, as it is printed.
        command: from a folder to the command that fills it, or resumes there.
        contents: from a finished folder to what it holds, by name; the same for each run.
        once: patterns of files that are written once: they stay as they are.
        lasting: patterns of files that stay, in whatever version.
        workers: whether it starts processes of its own; every other kill then leaves those without
            a parent.
        place: progress of a killed run, from its folder.
        comparison: text of two finished folders, the uninterrupted one first.
    """

    name: str
    command: Callable[[Path], list[str]]
    contents: Callable[[Path], dict[str, Any]]
    once: tuple[str, ...] = ()
    lasting: tuple[str, ...] = ()
    workers: bool = False
    place: Callable[[Path], str] | None = None
    comparison: Callable[[Path, Path], str] | None = None


@dataclass
class Report:
    """Kills and results of a target.

    Attributes:
        name: of the target.
        kills: runs that were killed.
        orphaned: those of them whose own processes were left alive.
        runs: times it was started.
        compared: finished folders that equal the one of an uninterrupted run.
        moments: kills by `MOMENTS`: before the run had written anything, between two files, within
            one.
        places: kills by `Target.place`.
        whole_s: time that an uninterrupted run took.
        comparison: see `Target.comparison`, of the run that was killed most often.
    """

    name: str
    kills: int = 0
    orphaned: int = 0
    runs: int = 0
    compared: int = 0
    moments: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    whole_s: float = 0.0
    comparison: str = ""


def new_process(command: Sequence[str], log: Path) -> subprocess.Popen:
    """Starts a command as a user does, in a process group of its own."""
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


class Survivor:
    """One target under fire: see `survive`."""

    def __init__(
        self, target: Target, folder: Path, start: Callable[[Sequence[str], Path], Job]
    ) -> None:
        self.target, self.start, self.log = target, start, folder / "log.txt"
        self.whole, self.killed = folder / "whole", folder / "killed"
        self.report = Report(target.name)
        self.known: set[str] = set()  # digests of files that were found whole
        self.once: dict[Path, int] = {}  # when they were written
        self.lasting: set[Path] = set()
        self.groups: list[int] = []
        self.kills_here = self.most_kills = 0

    def run_whole(self) -> float:
        """Runs without interruption; notes the seconds, and returns those until the first file."""
        started, first_s = time.monotonic(), None
        with self._job(self.whole) as job:
            while job.poll() is None:
                if first_s is None and written_since(self.whole, 0.0):
                    first_s = time.monotonic() - started
                time.sleep(_LOOK_S)
        self.report.whole_s = time.monotonic() - started
        self._check_status(job)
        self.expected = self.target.contents(self.whole)
        assert self.expected and first_s is not None, f"{self.target.name} left nothing"
        return first_s

    def kill_at(self, moment_s: float, spare_workers: bool) -> bool:
        """Kills the command after some seconds; False if it ended before, and was compared."""
        started = time.time()
        with self._job(self.killed) as job:
            if not self._ended_within(job, moment_s):
                kill(job, spare_workers)
        if job.poll() != -signal.SIGKILL:  # it ended before, or while the signal was on its way
            self.compare(job)
            return False
        self.groups.append(job.pid)
        self.kills_here += 1
        self._note_kill(started, spare_workers)
        self.check()
        return True

    def finish(self) -> None:
        """Lets the command end, and compares its work."""
        with self._job(self.killed) as job:
            assert self._ended_within(job, _LONGEST_S), f"{self.target.name} does not end"
        self.compare(job)

    def check(self) -> None:
        """Files under final names are complete, none is lost, nothing was repeated."""
        check_whole(self.killed, self.known)
        self._look()
        again = [path for path, written in self.once.items() if path.stat().st_mtime_ns != written]
        assert not again, f"{again[0]} was finished and is written again"
        once, lasting = (
            self._found(patterns) for patterns in (self.target.once, self.target.lasting)
        )
        self.once |= {path: path.stat().st_mtime_ns for path in once}
        self.lasting |= once | lasting

    def compare(self, job: Job) -> None:
        """Compares a finished folder with that of the uninterrupted run, then removes it."""
        self._check_status(job)
        await_orphans(self.groups)
        self.check()
        differences = different(self.expected, self.target.contents(self.killed))
        assert not differences, (
            f"after {self.kills_here} kills these files differ:\n  " + "\n  ".join(differences)
        )
        self.report.compared += 1
        if self.target.comparison is not None and self.kills_here >= self.most_kills:
            shown = self.target.comparison(self.whole, self.killed)
            self.report.comparison = (
                f"one run, and one that was killed {self.kills_here} times:\n{shown}"
            )
            self.most_kills = self.kills_here
        shutil.rmtree(self.killed)
        self.once.clear()
        self.lasting.clear()
        self.kills_here = 0

    def _found(self, patterns: Sequence[str]) -> set[Path]:
        return {path for pattern in patterns for path in self.killed.glob(pattern)}

    @contextmanager
    def _job(self, folder: Path) -> Iterator[Job]:
        """Starts the command; whatever happens meanwhile, it does not outlive the block."""
        folder.mkdir(parents=True, exist_ok=True)
        self.report.runs += 1
        job = self.start(self.target.command(folder), self.log)
        try:
            yield job
        finally:
            if job.poll() is None:
                kill(job, spare_workers=False)

    def _ended_within(self, job: Job, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if job.poll() is not None:
                return True
            self._look()
            time.sleep(max(0.0, min(_LOOK_S, until - time.monotonic())))
        return False

    def _look(self) -> None:
        gone = [path for path in self.lasting if not path.exists()]
        assert not gone, f"{gone[0]} was there and is gone"

    def _check_status(self, job: Job) -> None:
        assert job.poll() == 0, (
            f"it ended with status {job.poll()}:\n{self.log.read_text(errors='replace')[-4000:]}"
        )

    def _note_kill(self, started: float, spare_workers: bool) -> None:
        report = self.report
        report.kills += 1
        report.orphaned += spare_workers
        fresh = written_since(self.killed, started)
        within = any(
            path.match(TEMPORARY_PATTERN) or path.parent.match(".epoch-*") for path in fresh
        )
        report.moments[MOMENTS[2] if within else MOMENTS[1] if fresh else MOMENTS[0]] += 1
        if self.target.place is not None:
            report.places[self.target.place(self.killed)] += 1


def survive(
    target: Target,
    folder: Path,
    kills: int,
    seed: int,
    start: Callable[[Sequence[str], Path], Job] = new_process,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Kills a command repeatedly; checks each time that nothing is lost, partial or different.

    A run that ends before its kill is compared with the uninterrupted one and its folder removed;
    the same moment then meets new work.

    Args:
        target: what is killed.
        folder: an empty one.
        kills: number of runs to kill, at least 2.
        seed: of the times. The progress of a run by then depends on the machine.
        start: starts a command.
        say: takes lines of progress.

    Raises:
        AssertionError: something was lost or differs.
    """
    survivor = Survivor(target, folder, start)
    first_s = survivor.run_whole()
    say(
        f"an uninterrupted run takes {survivor.report.whole_s:.1f} s, {first_s:.1f} s of it before"
        " its first file"
    )
    moments = draw_moments(kills, first_s, survivor.report.whole_s, np.random.default_rng(seed))
    for number, moment in enumerate(moments, start=1):
        spare_workers = target.workers and number % 2 == 0
        while not survivor.kill_at(moment, spare_workers):
            moment *= 0.97  # by and by earlier, should the machine be faster now
        if number % 10 == 0:
            say(f"{number} of {kills} kills survived")
    survivor.finish()
    return survivor.report


def draw_moments(
    kills: int, first_s: float, whole_s: float, rng: np.random.Generator
) -> np.ndarray:
    """Draws the times of kills, in any order: some before the first file, most after it."""
    early = round(EARLY_SHARE * kills)
    spans = [(early, 0.0, first_s), (kills - early, first_s, whole_s)]
    drawn = [
        begin + (np.arange(n) + rng.random(n)) / n * (end - begin) for n, begin, end in spans if n
    ]
    return rng.permutation(np.concatenate(drawn))


def kill(job: Job, spare_workers: bool) -> None:
    """Kills a job, with the processes it has started or without, and waits until it is gone."""
    try:
        (os.kill if spare_workers else os.killpg)(job.pid, signal.SIGKILL)
    except ProcessLookupError:  # so young that it has no group yet, or just ended
        if job.poll() is None:
            os.kill(job.pid, signal.SIGKILL)
    while job.poll() is None:
        time.sleep(_LOOK_S)


def await_orphans(groups: list[int]) -> None:
    """Waits until no process of killed groups is alive, as far as the system shows them."""
    for waited in itertools.count():
        alive = [
            path for path in Path("/proc").glob("[0-9]*/stat") if _group_of_living(path) in groups
        ]
        if not alive:
            break
        assert waited < _ORPHANS_S / _LOOK_S, f"processes live on without their parent: {alive}"
        time.sleep(_LOOK_S)
    for pid in groups:  # joblib's, which its own process would remove were it not killed too
        for path in (
            *_SHARED.glob(f"sem.loky-{pid}-*"),
            *_SHARED.glob(f"joblib_memmapping_folder_{pid}_*"),
        ):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    groups.clear()


def _group_of_living(path: Path) -> int | None:
    try:
        state, _, group = path.read_text().rpartition(")")[2].split()[:3]
    except OSError:  # it has just ended
        return None
    return None if state in "ZX" else int(group)


def written_since(folder: Path, time_s: float) -> list[Path]:
    """Files that were written after a time, but for the lock."""

    def is_fresh(path: Path) -> bool:
        try:
            return path.is_file() and path.name != LOCK and path.stat().st_mtime > time_s
        except OSError:  # it has just gone
            return False

    return [path for path in folder.rglob("*") if is_fresh(path)]


def different(expected: dict[str, Any], received: dict[str, Any]) -> list[str]:
    """Names what only one of both has, and what is not the same in both."""
    missing = [f"{name} is missing" for name in expected if name not in received]
    extra = [f"{name} is too much" for name in received if name not in expected]
    both = [name for name in expected if name in received and received[name] != expected[name]]
    return missing + extra + both
