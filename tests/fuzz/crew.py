"""Cases spread over targets and processes, and what became of them."""

import collections
import faulthandler
import json
import multiprocessing
import resource
import shutil
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

CHUNK = 250  # cases that share a seed
FAILURES_SHOWN = 3  # of one chunk
ADDRESS_SPACE = 12 << 30  # of a process; TensorFlow maps several gigabytes
DEADLOCK_S = 90  # without an end that Python could bring about


@dataclass
class Tally:
    """Results of the cases of a chunk.

    Attributes:
        target: name.
        seed: of the chunk.
        cases: how many were tried.
        accepted: how many gave a valid result; the others were refused with an error that names the
            file.
        failures: what happened in those that did neither.
        elapsed_s: time of all.
    """

    target: str
    seed: int
    cases: int = 0
    accepted: int = 0
    failures: list[str] = field(default_factory=list)
    n_failures: int = 0
    elapsed_s: float = 0.0


@dataclass(frozen=True)
class Chunk:
    """Cases of one target that share a seed."""

    target: str
    seed: int
    cases: int


def plan(weights: dict[str, int], cases: int, seed: int) -> list[Chunk]:
    """Distributes cases over targets by weight, at least one each, in chunks; slow ones first."""
    total = sum(weights.values())
    chunks = []
    for name, weight in sorted(weights.items(), key=lambda item: item[1]):
        wanted = max(1, round(cases * weight / total))
        for number, start in enumerate(range(0, wanted, CHUNK)):
            own = zlib.crc32(f"{seed} {name} {number}".encode())
            chunks.append(Chunk(name, own, min(CHUNK, wanted - start)))
    return chunks


def run_chunk(chunk: Chunk, base: Path, kept: Path) -> Tally:
    """Tries the cases of a chunk.

    Args:
        chunk: target, seed and number.
        base: folder of only this process.
        kept: gets the files of cases that fail.
    """
    import hypothesis

    from tests.fuzz.engine import CASE, Failure, Files, run_case
    from tests.fuzz.targets import TARGETS

    target = TARGETS[chunk.target]
    tally = Tally(chunk.target, chunk.seed)
    started_s = time.monotonic()

    def one(files: Files) -> None:
        faulthandler.dump_traceback_later(DEADLOCK_S, exit=True)
        tally.cases += 1
        try:
            tally.accepted += run_case(target, files, base)
        except Failure as failure:
            tally.n_failures += 1
            if len(tally.failures) < FAILURES_SHOWN:
                place = kept / f"{chunk.target}-{chunk.seed}-{tally.cases}"
                shutil.copytree(base / CASE, place, dirs_exist_ok=True, symlinks=True)
                tally.failures.append(f"{failure} [files: {place}]")

    settings = hypothesis.settings(
        max_examples=chunk.cases,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.seed(chunk.seed)(settings(hypothesis.given(target.cases())(one)))()
    faulthandler.cancel_dump_traceback_later()
    tally.elapsed_s = time.monotonic() - started_s
    return tally


def work(chunks: Sequence[Chunk], base: Path, kept: Path, results: Path) -> None:
    """Tries chunks one after another in a process; writes a line for each, before and after."""
    faulthandler.enable()
    base.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(
        resource.RLIMIT_AS, (ADDRESS_SPACE, resource.getrlimit(resource.RLIMIT_AS)[1])
    )
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with results.open("a", encoding="utf-8") as file:
        for chunk in chunks:
            print(json.dumps({"begun": asdict(chunk)}), file=file, flush=True)
            print(json.dumps({"done": asdict(run_chunk(chunk, base, kept))}), file=file, flush=True)


class Crew:
    """Processes that share the chunks; one that dies is replaced, its last case is a failure."""

    def __init__(self, chunks: Sequence[Chunk], jobs: int, folder: Path, kept: Path) -> None:
        self.kept, self.folder = kept, folder
        self.shares = [list(chunks[number::jobs]) for number in range(jobs)]
        self.results = [folder / f"results{number}" for number in range(jobs)]

    def run(self) -> list[Tally]:
        """Tries all chunks."""
        processes = [self._start(number) for number in range(len(self.shares))]
        tallies: list[Tally] = []
        while any(process is not None for process in processes):
            time.sleep(0.2)
            for number, process in enumerate(processes):
                if process is not None and not process.is_alive():
                    tallies += self._died(number, process.exitcode)
                    processes[number] = self._start(number) if self.shares[number] else None
        lines = [line for path in self.results for line in self._lines(path)]
        return tallies + [Tally(**line["done"]) for line in lines if "done" in line]

    def _start(self, number: int) -> BaseProcess | None:
        if not self.shares[number]:
            return None
        arguments = (
            self.shares[number],
            self.folder / f"worker{number}",
            self.kept,
            self.results[number],
        )
        process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
        process.start()
        return process

    def _died(self, number: int, status: int | None) -> list[Tally]:
        """Leaves to the next process what is left; a chunk that was begun ended the process."""
        begun = [line["begun"] for line in self._lines(self.results[number]) if "begun" in line]
        fatal = begun[-1] if begun and status else None
        self.shares[number] = (
            []
            if not status
            else [each for each in self.shares[number] if asdict(each) not in begun]
        )
        if fatal is None:  # it did not get as far as a case
            self.shares[number] = []
            return (
                [
                    Tally(
                        "start", 0, failures=[f"a process ended with status {status}"], n_failures=1
                    )
                ]
                if status
                else []
            )
        place = self.kept / f"{fatal['target']}-{fatal['seed']}-fatal"
        shutil.copytree(self.folder / f"worker{number}" / "case", place, dirs_exist_ok=True)
        failure = f"the process ended with status {status} [files: {place}]"
        return [Tally(fatal["target"], fatal["seed"], 1, failures=[failure], n_failures=1)]

    def _lines(self, path: Path) -> Iterator[dict[str, Any]]:
        return map(
            json.loads, path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        )


def report(tallies: Sequence[Tally]) -> str:
    """A line for each target, and one for each failure that is shown."""
    by_target: dict[str, list[Tally]] = collections.defaultdict(list)
    for tally in tallies:
        by_target[tally.target].append(tally)
    lines = [
        f"{'target':<24}{'cases':>8}{'accepted':>10}{'refused':>9}{'failures':>10}{'ms a case':>11}"
    ]
    sums = [0] * 4
    for name in sorted(by_target):
        own = by_target[name]
        cases, accepted, failed = (
            sum(getattr(each, key) for each in own) for key in ("cases", "accepted", "n_failures")
        )
        numbers = cases, accepted, cases - accepted - failed, failed
        sums = [total + number for total, number in zip(sums, numbers, strict=True)]
        milliseconds = 1000 * sum(each.elapsed_s for each in own) / max(cases, 1)
        lines.append(
            f"{name:<24}{numbers[0]:>8}{numbers[1]:>10}{numbers[2]:>9}{numbers[3]:>10}{milliseconds:>11.1f}"
        )
    lines.append(f"{'all':<24}{sums[0]:>8}{sums[1]:>10}{sums[2]:>9}{sums[3]:>10}")
    failures = [
        f"{each.target}, seed {each.seed}: {text}" for each in tallies for text in each.failures
    ]
    return "\n".join([*lines, *sorted(failures)])
