"""Devices, and processes, that share each batch learn what one that has the whole batch learns."""

import contextlib
import json
import socket
from pathlib import Path

import numpy as np
import pytest

from tests.forks import Fork, server
from tests.histories import history_rows
from tests.joint_training import TRAINING, write_features
from tests.patience import wait_until


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    write_features(folder)
    return folder


@pytest.fixture
def start(tmp_path):
    """Starts programs whose temporary folder is `tmp_path`/scratch; none outlives the test."""
    (tmp_path / "scratch").mkdir()
    started: list[Fork] = []

    def start(backend: str, *arguments, **environment) -> Fork:
        log = tmp_path / f"{len(started)}.txt"
        files = {"log": log, "errors": log.with_suffix(".errors")}
        environment = {"TMPDIR": str(tmp_path / "scratch"), **environment}
        command = ["-m", "tests.joint_training", *arguments]
        started.append(server(backend).start(command, **files, **environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def finished(process: Fork) -> str:
    """The last line that a program printed."""
    assert process.wait() == 0, process.log.with_suffix(".errors").read_text()[-3000:]
    return process.log.read_text().splitlines()[-1]


def free_port(among=(0,)) -> int:
    for port in among:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("localhost", port))
            return probe.getsockname()[1]
    raise OSError("no free port")


def assert_same_training(received: Path, expected: Path) -> None:
    """Compares weights, normalisation statistics, optimizer state, and histories."""
    last = f"resume/epoch-{TRAINING.epochs:05d}/variables.npz"
    with np.load(expected / last) as wanted, np.load(received / last) as given:
        assert len(given.files) == len(wanted.files) > 20
        for name in wanted.files:
            np.testing.assert_allclose(given[name], wanted[name], rtol=1e-3, atol=2e-5)
    rows = [
        [list(map(float, row.values())) for row in history_rows(folder)]
        for folder in (received, expected)
    ]
    assert len(rows[0]) == TRAINING.epochs
    np.testing.assert_allclose(*rows, rtol=1e-4)


def test_two_mirrored_devices_train_like_one_with_the_global_batches(features, tmp_path, start):
    refusal = finished(start("tensorflow", "mirrored", features, tmp_path))
    # of the batches asked for in the end
    assert "divisible by their number, 2. Received: 3." in refusal
    assert_same_training(tmp_path / "mirrored", tmp_path / "alone")


def test_two_processes_train_like_one_also_when_one_is_killed(features, tmp_path, start):
    run, alone = tmp_path / "run", tmp_path / "alone"
    address = f"localhost:{free_port()}"
    places = [
        json.dumps({"address": address, "n_processes": 2, "process": number}) for number in range(2)
    ]
    first = start("jax", "process", features, run, places[0], "null")
    second = start("jax", "process", features, run, places[1], "2")  # hangs in epoch 3
    wait_until(
        (run / "resume/epoch-00002").exists, lambda: first.poll() is None and second.poll() is None
    )
    second.kill()
    # while the other notices
    one = start("jax", "process", features, alone, "null", "null")
    assert first.wait() != 0  # it ends by itself

    job = str(free_port(range(61440, 65536)) - 61440)  # JAX makes the port of the job's number
    slurm = {"SLURM_JOB_ID": job, "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    again = [
        start(
            "jax",
            "process",
            features,
            run,
            "{}",
            "null",
            SLURM_PROCID=number,
            SLURM_LOCALID=number,
            **slurm,
        )
        for number in "01"
    ]
    outputs = [json.loads(finished(process)) for process in (*again, one)]
    assert outputs[0]["folder"] == str(run)
    assert outputs[1]["folder"].startswith(str(tmp_path / "scratch"))
    assert outputs[0]["history"] == outputs[1]["history"]  # to the last digit
    assert_same_training(run, alone)
