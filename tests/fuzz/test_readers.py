"""The short form of `python -m tests.fuzz`: a few damaged files for every reader."""

from pathlib import Path

import hypothesis
import pytest

from tests.fuzz.crew import Tally, plan, report
from tests.fuzz.engine import Failure, Files, Target, run_case
from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_gives_a_valid_result_or_a_naming_error(name, tmp_path):
    target = TARGETS[name]
    settings = hypothesis.settings(
        max_examples=target.examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    def one(files: Files) -> None:
        run_case(target, files, tmp_path)

    settings(hypothesis.given(target.cases())(one))()


def _raises(error: Exception):
    def read(folder: Path) -> None:
        raise error

    return read


def _writes_outside(folder: Path) -> None:
    (folder / "../x").write_text("")


def _reads_outside(folder: Path) -> None:
    (folder / "../outside.txt").read_text()


def _fills_memory(folder: Path) -> None:
    bytearray(b"x") * (600 << 20)


def _warns(folder: Path) -> None:
    import numpy as np

    np.array([1e300]) * np.array([1e300])


def _starts_a_program(folder: Path) -> None:
    import subprocess

    subprocess.run(["true"], check=True)


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (_raises(KeyError("x")), "KeyError"),
        (_raises(AssertionError("not sorted")), "AssertionError"),
        (_writes_outside, "left its folder: writes"),
        (_reads_outside, "left its folder: reads"),
        (_starts_a_program, "left its folder: subprocess"),
        (_fills_memory, "memory grew"),
        (_warns, "warnings, such as overflow"),
    ],
)
def test_each_thing_that_no_input_may_cause_is_a_failure(read, what, tmp_path):
    with pytest.raises(Failure, match=what):
        run_case(Target("x", lambda: None, read), {"a.txt": b""}, tmp_path)


def test_a_hang_is_a_failure_even_if_errors_are_caught(tmp_path, monkeypatch):
    def spin(folder: Path) -> None:
        while True:
            try:
                while True:
                    pass
            except Exception:
                pass

    monkeypatch.setattr("tests.fuzz.engine.CASE_S", 0.2)
    with pytest.raises(Failure, match="no end after"):
        run_case(Target("x", lambda: None, spin), {"a.txt": b""}, tmp_path)


def test_an_error_must_name_a_file_of_the_case(tmp_path):
    from common.errors import DataError

    files = {"a.txt": b""}
    assert not run_case(
        Target("x", lambda: None, _raises(DataError("a.txt is bad."))), files, tmp_path
    )
    with pytest.raises(Failure, match="names no file"):
        run_case(Target("x", lambda: None, _raises(DataError("It is bad."))), files, tmp_path)


def test_cases_are_spread_by_weight_and_none_is_lost():
    chunks = plan({"cheap": 9, "dear": 1}, 1000, seed=3)
    assert sum(chunk.cases for chunk in chunks if chunk.target == "cheap") == 900
    assert sum(chunk.cases for chunk in chunks if chunk.target == "dear") == 100
    assert len({chunk.seed for chunk in chunks}) == len(chunks)
    assert (
        plan({"cheap": 9, "dear": 1}, 1000, seed=3)
        == chunks
        != plan({"cheap": 9, "dear": 1}, 1000, seed=4)
    )


def test_the_table_counts_refused_cases():
    tallies = [Tally("wav", 1, 10, 4, [], 0, 1.0), Tally("wav", 2, 5, 1, ["KeyError: x"], 1, 0.5)]
    lines = report(tallies).splitlines()
    assert lines[1].split() == ["wav", "15", "5", "9", "1", "100.0"]
    assert lines[-1] == "wav, seed 2: KeyError: x"
