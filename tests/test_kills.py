"""Jobs that are killed at random moments lose nothing: the short form of `make soak`."""

import keras
import numpy as np
import pytest
from matplotlib.figure import Figure

from common.audio.files import write_wav
from common.data.feature_store import write_arrays
from common.data.tfrecord import ArraySpec, ExampleSchema, write_shard
from common.display.plotting import save_figure
from common.io.files import write_json
from common.training.callbacks import save_model
from tests.forks import server
from tests.patience import wait_until
from tests.soak.files import check_whole, contents
from tests.soak.kills import (
    Target,
    await_orphans,
    different,
    draw_moments,
    kill,
    new_process,
    survive,
)
from tests.soak.targets import TARGETS

SCHEMA = ExampleSchema({"x": ArraySpec("float32", (None,))})
SHORT = {  # by one process: others, which would import everything again, are for the long form
    "extraction-recordings": {"copies": 5},
    "simulation-recordings": {"jobs": 1},
    "mixing": {"jobs": 1},
    "training-seldnet": {"epochs": 3},
}
KILLS = 3


@pytest.mark.parametrize(("name", "options"), SHORT.items(), ids=SHORT)
def test_killed_jobs_leave_the_files_of_an_uninterrupted_run(name, options, tmp_path):
    def run(command):
        server("tensorflow").run(command, tmp_path / "preparation.txt")

    target = TARGETS[name](tmp_path / "data", run, **options)
    report = survive(target, tmp_path, kills=KILLS, seed=0, start=server("tensorflow").start)
    assert report.kills == sum(report.moments.values()) == KILLS
    assert report.compared >= 1


SLOPPY = """
import sys, time
with open(sys.argv[1] + "/a.json", "w") as file:
    for part in ("[1", ", 2", ", 3]"):
        file.write(part)
        file.flush()
        time.sleep(0.5)  # many times what a program takes to start
"""


def test_a_job_that_writes_in_place_is_found_out(tmp_path):
    target = Target("sloppy", lambda folder: ["-c", SLOPPY, str(folder)], lambda folder: {"a": 1})
    with pytest.raises(AssertionError, match=r"a\.json is half-written"):
        survive(target, tmp_path, kills=5, seed=0)


FORGETFUL = """
import pathlib, sys, time
path = pathlib.Path(sys.argv[1], "a.txt")
if path.exists() and sys.argv[2] == "loses":
    path.unlink()
    time.sleep(1)
path.touch()
time.sleep(0.5)
"""


@pytest.mark.parametrize(
    ("what", "message"), [("loses", "is gone"), ("repeats", "is written again")]
)
def test_a_job_that_loses_or_repeats_finished_work_is_detected(what, message, tmp_path):
    target = Target(
        what,
        lambda folder: ["-c", FORGETFUL, str(folder), what],
        lambda folder: {"a": 1},
        once=("*.txt",),
    )
    with pytest.raises(AssertionError, match=rf"a\.txt was .* {message}"):
        survive(target, tmp_path, kills=5, seed=0)


WRITERS = {
    "a.wav": lambda path: write_wav(path, np.zeros((800, 2)), 8000),
    "a.json": lambda path: write_json(path, {"a": [1, 2]}),
    "a.yaml": lambda path: path.write_text("- a: 1\n- b: 2\n"),
    "a.npz": lambda path: write_arrays(path, {"a": np.arange(5)}),
    "a.tfrecord": lambda path: write_shard(path, [("a", {"x": np.zeros(3, np.float32)})], SCHEMA),
    "a.keras": lambda path: save_model(
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]), path
    ),
    "a.png": lambda path: save_figure(Figure((1, 1)), path),
    "a.html": lambda path: path.write_text("<html></html>\n"),
    "history.csv": lambda path: path.write_text("epoch,loss\n0,0.5\n"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_truncated_file_is_detected_unless_its_name_is_temporary(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path)
    check_whole(tmp_path, set())
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(AssertionError, match=rf"{name} is half-written"):
        check_whole(tmp_path, set())
    path.rename(tmp_path / f".{name}.7.tmp")
    check_whole(tmp_path, set())
    assert list(contents(tmp_path)) == [f".{name}.7.tmp"]  # but the end of a run must not leave it


def test_differences_are_named():
    one, other = {"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 0, "d": 4}
    assert different(one, other) == ["c is missing", "d is too much", "b"]
    assert different(one, dict(one)) == []


def test_times_are_spread_over_the_run_some_before_its_files():
    moments = np.sort(draw_moments(50, first_s=5.0, whole_s=9.0, rng=np.random.default_rng(0)))
    assert len(moments) == 50 and np.searchsorted(moments, 5.0) == 10
    assert np.all(np.diff(moments[:10]) < 1.0) and np.all(np.diff(moments[10:]) < 0.2)
    assert moments[0] < 0.5 and moments[-1] > 8.9


WORK = """
import os, sys, time
from pathlib import Path
from common.runtime.parallel import parallel_map
from common.settings.parallel import ParallelConfig

def work(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(100_000)  # killed long before

list(parallel_map(work, [sys.argv[1]] * 2, ParallelConfig(jobs=2)))
"""


def test_processes_end_when_the_one_that_started_them_is_killed(tmp_path):
    job = new_process(["-c", WORK, str(tmp_path)], tmp_path / "log.txt")
    with_log = 3  # the log, and a file of each process
    wait_until(lambda: len(list(tmp_path.iterdir())) >= with_log, lambda: job.poll() is None)
    kill(job, spare_workers=True)
    await_orphans([job.pid])
