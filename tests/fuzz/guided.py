"""Cases guided by coverage: atheris changes the bytes from which the strategies draw."""

import multiprocessing
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.fuzz.engine import CASE

READERS = ("common", "seld", "sed_task4")  # whose lines count
_FIRST_INPUTS, _INPUT_BYTES = 30, 8192


def guide(only: Sequence[str], seconds: int, kept: Path) -> int:
    """Tries targets one after another, each for some time in a process of its own.

    Args:
        only: names of targets; none: all.
        seconds: for each.
        kept: gets the files of a case that fails, which ends its target.

    Returns:
        Exit status: 1 if a case failed.
    """
    from tests.fuzz.targets import TARGETS

    failed = []
    for name in only or TARGETS:
        process = multiprocessing.get_context("spawn").Process(
            target=_guided, args=(name, seconds, kept)
        )
        process.start()
        process.join()
        print(
            f"{name}: {'failed' if process.exitcode else 'nothing found'} in {seconds} s",
            flush=True,
        )
        failed += [name] if process.exitcode else []
    return 1 if failed else 0


def _guided(name: str, seconds: int, kept: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=list(READERS)):
        from tests.fuzz.targets import TARGETS

    import hypothesis

    from tests.fuzz.engine import Failure, Files, run_case

    target, base = TARGETS[name], Path(tempfile.mkdtemp(prefix="fuzz_"))

    @hypothesis.settings(
        database=None, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    @hypothesis.given(target.cases())
    def one(files: Files) -> None:
        try:
            run_case(target, files, base)
        except Failure:
            (base / CASE).rename(kept / f"{name}-atheris")
            raise

    kept.mkdir(parents=True, exist_ok=True)
    # strategies draw thousands of bytes: from nothing, they would take too long to grow
    corpus = base / "corpus"
    corpus.mkdir()
    for number in range(_FIRST_INPUTS):
        (corpus / str(number)).write_bytes(np.random.default_rng(number).bytes(_INPUT_BYTES))
    limits = [
        f"-max_total_time={seconds}",
        f"-max_len={_INPUT_BYTES}",
        "-len_control=0",
        "-verbosity=0",
    ]
    atheris.Setup(["fuzz", str(corpus), *limits], one.hypothesis.fuzz_one_input)
    atheris.Fuzz()
