"""Work on other machines: items of a killed worker are repeated, missing parts are named."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import dask
import distributed
import numpy as np
import pytest

from common.cli.simulate import main as simulate
from common.data.extraction import Item, Recipe, extract
from common.data.tfrecord import ArraySpec, ExampleSchema
from common.errors import ConfigError, DataError
from common.runtime.parallel import parallel_map
from common.settings.parallel import ParallelConfig
from tests.common.runtime.test_parallel import threads_of_libraries
from tests.patience import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = ExampleSchema({"features": ArraySpec("float32", (None, 3, 2))})


def run_dask(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments], cwd=ROOT, stderr=subprocess.DEVNULL
    )


def stop(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


@contextlib.contextmanager
def running_scheduler(file: Path):
    """A scheduler on this machine: its process and its address."""
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file")
    process = run_dask("scheduler", *options, str(file))
    try:
        wait_until(
            lambda: file.exists() and file.read_text().strip().endswith("}"),
            lambda: process.poll() is None,
        )
        yield process, json.loads(file.read_text())["address"]
    finally:
        stop(process)


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    with running_scheduler(tmp_path_factory.mktemp("dask") / "scheduler.json") as (_, address):
        yield address


def run_worker(address: str) -> subprocess.Popen:
    return run_dask("worker", address, "--no-nanny", "--no-dashboard", "--nthreads", "2")


@contextlib.contextmanager
def running_workers(address: str, count: int):
    started = [run_worker(address) for _ in range(count)]
    try:
        yield started
    finally:
        for process in started:
            stop(process)


@pytest.fixture(scope="module")
def started(scheduler):
    """All workers that tests have started and may have killed."""
    processes: list[subprocess.Popen] = []
    yield processes
    for process in processes:
        stop(process)


@pytest.fixture
def workers(scheduler, started):
    """Two workers that wait for work: those that an earlier test has left, or new ones."""
    alive = [process for process in started if process.poll() is None]
    new = [run_worker(scheduler) for _ in range(2 - len(alive))]
    started += new
    await_workers(scheduler, 2, lambda: all(process.poll() is None for process in new))
    return alive + new


@pytest.fixture
def no_workers(scheduler, started):
    """No worker, also after other tests."""
    for process in started:
        stop(process)
    await_workers(scheduler, 0)


def await_workers(scheduler: str, count: int, alive: Callable[[], bool] = lambda: True) -> None:
    with distributed.Client(scheduler) as client:
        wait_until(lambda: len(client.ncores()) == count, alive)


def features_of(item: Item) -> dict[str, np.ndarray]:
    return {
        "features": (
            np.random.default_rng(item.payload[0]).normal(size=(20, 3, 2)).astype(np.float32)
        )
    }


def features_unless_first(item: Item) -> dict[str, np.ndarray]:
    """The same, but the first worker at an item with a marker writes it and waits to be killed."""
    _, marker = item.payload
    if marker is not None:
        try:
            with marker.open("x") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(PATIENCE_S)
        except FileExistsError:
            pass
    return features_of(item)


def kill_once_there_is_a_recording(folder: Path, worker: subprocess.Popen) -> None:
    wait_until(lambda: list(folder.rglob("*.wav")))
    worker.kill()


def kill_who_wrote(marker: Path, killed: list[int]) -> None:
    wait_until(lambda: marker.exists() and marker.read_text().endswith("\n"))
    killed.append(int(marker.read_text()))
    os.kill(killed[0], signal.SIGKILL)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def where_and_how(_: int) -> tuple[str, int, int]:
    return os.getcwd(), threads_of_libraries(8), os.getpid()


def test_a_scheduler_without_reply_or_workers_is_a_quick_error(scheduler, no_workers, monkeypatch):
    monkeypatch.setattr("common.runtime.parallel.CONNECTING_S", 1)
    monkeypatch.setattr("common.runtime.parallel.WORKERS_S", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense://"):
        with pytest.raises(
            ConfigError, match=r"No dask scheduler replies at `parallel\.address: .*Start the sched"
        ):
            list(parallel_map(abs, [1, 2], ParallelConfig(backend="dask", address=address)))
    with pytest.raises(
        ConfigError, match=r"had no worker for 1 s\. Start some, .*`python -m dask worker tcp:"
    ):
        list(parallel_map(abs, [1, 2], ParallelConfig(backend="dask", address=scheduler)))


def test_a_killed_worker_does_not_change_extracted_shards(
    scheduler, workers, tmp_path, monkeypatch
):
    monkeypatch.chdir(
        tmp_path
    )  # the workers were started elsewhere: relative paths must still mean the same
    items = [Item(f"r{number:02d}", "1", payload=(number, None)) for number in range(16)]
    recipe = Recipe(Path("local"), features_of, SCHEMA, {}, recordings_per_shard=2)
    extract(recipe, items, parallel=ParallelConfig(jobs=1), progress=False)
    items[5] = Item("r05", "1", payload=(5, tmp_path / "marker"))
    cluster, killed = ParallelConfig(backend="dask", address=scheduler), []
    killer = threading.Thread(
        target=kill_who_wrote, args=(tmp_path / "marker", killed), daemon=True
    )
    killer.start()
    recipe = Recipe(Path("cluster"), features_unless_first, SCHEMA, {}, recordings_per_shard=2)
    extract(recipe, items, parallel=cluster, progress=False)
    killer.join(timeout=PATIENCE_S)
    assert contents(tmp_path / "cluster") == contents(tmp_path / "local")
    assert killed[0] in [process.pid for process in workers]
    found = set(parallel_map(where_and_how, list(range(8)), cluster))
    assert {place[:2] for place in found} == {(str(tmp_path), 1)}
    assert killed[0] not in {pid for _, _, pid in found}


def test_a_killed_worker_does_not_change_simulated_files(scheduler, workers, tmp_path):
    sizes = [
        "simulation.preset=fixture",
        "simulation.recordings_per_split={1: 4, 2: 0, 3: 0, 4: 0}",
    ]

    def simulated(name: str, *more: str) -> dict[str, bytes]:
        settings = [*sizes, "simulation.duration_s=2.0", f"dataset_dir={tmp_path / name}", *more]
        options = [part for setting in settings for part in ("--set", setting)]
        assert simulate(["demo", *options, "--params", str(ROOT / "params.yaml")]) == 0
        files = [
            path
            for path in (tmp_path / name).rglob("*.*")
            if path.is_file() and path.name[0] != "."
        ]
        return {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files}

    local = simulated("local", "parallel.jobs=1")
    killer = threading.Thread(
        target=kill_once_there_is_a_recording, args=(tmp_path / "cluster", workers[0]), daemon=True
    )
    killer.start()
    assert simulated("cluster", "parallel.backend=dask", f"parallel.address={scheduler}") == local
    assert workers[0].wait(timeout=PATIENCE_S) == -signal.SIGKILL and len(local) == 10
    assert {path.name for path in tmp_path.iterdir()} == {
        "local",
        "cluster",
    }  # what the workers shared is gone


def test_losing_all_workers_is_an_error(scheduler, workers, monkeypatch):
    monkeypatch.setattr("common.runtime.parallel.LOOKING_S", 1)
    with pytest.raises(
        DataError,
        match=r"All workers of the dask cluster are gone, .*start workers and run the same",
    ):
        list(
            parallel_map(
                signal.raise_signal,
                2 * [signal.SIGKILL],
                ParallelConfig(backend="dask", address=scheduler),
            )
        )


def test_losing_the_scheduler_is_an_error(tmp_path, capfd):
    with (
        running_scheduler(tmp_path / "scheduler.json") as (process, address),
        running_workers(address, 1),
    ):
        kill = partial(os.kill, process.pid)
        with pytest.raises(
            DataError, match=r"connection to the dask scheduler was lost\. What is finished stays"
        ):
            list(
                parallel_map(
                    kill, [signal.SIGKILL], ParallelConfig(backend="dask", address=address)
                )
            )
    assert "Traceback" not in capfd.readouterr().err


def test_an_item_that_kills_its_workers_is_an_error():
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        pytest.raises(
            DataError, match=r"Several workers of the dask cluster died of one item .*more memory"
        ),
    ):
        list(
            parallel_map(
                signal.raise_signal, 2 * [signal.SIGKILL], ParallelConfig(backend="dask", jobs=1)
            )
        )
