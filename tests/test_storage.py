"""Full disks, read-only folders, and two jobs in one place: a message, never a traceback."""

import contextlib
import logging
import os
import resource
from pathlib import Path

import pytest

import seld.experiment  # noqa: F401 now: somebody else may not read its libraries
from common.cli.extract import main as extract
from common.cli.simulate import main as simulate
from common.io.files import TEMPORARY_PATTERN
from common.io.locks import only_one
from seld.cli import main

ROOT = Path(__file__).parents[1]
SMALL = (
    "simulation.preset=fixture",
    "simulation.recordings_per_split={1: 1, 2: 1, 3: 1, 4: 1}",
    "simulation.duration_s=2",
    "dataset.recording_s=2.0",
    "parallel.jobs=1",
    "network.n_filters=2",
    "network.gru_units=[2]",
    "network.dense_units=[2]",
    "pipeline.sequence_frames=50",
    "pipeline.batch_size=2",
    "training.epochs=1",
)


def arguments(folder: Path, *more: str) -> list[str]:
    folders = [f"{name}_dir={folder / name}" for name in ("dataset", "feature", "output")]
    options = [part for setting in (*SMALL, *folders, *more) for part in ("--set", setting)]
    return [*options, "--params", str(ROOT / "params.yaml")]


@contextlib.contextmanager
def largest_file(n_bytes: int):
    """Writing beyond fails, as on a full disk."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


@contextlib.contextmanager
def without_write_permission(folder: Path):
    """The folder is read-only, for the superuser, too, who is somebody else meanwhile."""
    folder.chmod(0o555)
    superuser = os.geteuid() == 0
    if superuser:
        for parent in folder.parents:  # pytest's own folders are closed to others
            if parent.stat().st_uid == 0 and parent.stat().st_mode & 0o055 != 0o055:
                parent.chmod(0o755)
        os.seteuid(65534)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)
        folder.chmod(0o755)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a dataset and its features."""
    folder = tmp_path_factory.mktemp("storage")
    folder.chmod(0o755)
    assert simulate(["demo", *arguments(folder)]) == 0
    assert extract(["demo", *arguments(folder)]) == 0
    return folder


@pytest.mark.parametrize(
    ("command", "place"),
    [(simulate, "dataset_dir"), (extract, "feature_dir"), (main, "output_dir")],
)
def test_a_read_only_folder_is_named_with_a_remedy(command, place, data, tmp_path, capsys):
    with without_write_permission(tmp_path):
        ids = ["demo", "a"] if command is main else ["demo"]
        assert command([*ids, *arguments(data, f"{place}={tmp_path / 'closed'}")]) == 2
    message = capsys.readouterr().err
    assert f"Cannot write {tmp_path / 'closed'}" in message and "open to you" in message
    assert not list(tmp_path.iterdir())


def test_a_dataset_that_is_read_only_is_enough_to_extract(data, tmp_path):
    tmp_path.chmod(0o777)
    with without_write_permission(data / "dataset"):
        assert extract(["demo", *arguments(data, f"feature_dir={tmp_path}")]) == 0
    assert (tmp_path / "foa_dev_logmel_intensity" / "manifest.json").is_file()


def test_a_full_disk_ends_training_and_the_job_resumes_later(data, capsys, monkeypatch):
    # one of another test may write into a longer file
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    options = arguments(data)
    with largest_file(20_000):
        assert main(["demo", "full", *options]) == 2
    message = capsys.readouterr().err
    run = data / "output" / "demo_full"
    assert f"Cannot write {run}" in message and "Traceback" not in message
    assert not list(run.rglob(TEMPORARY_PATTERN)) and not list(run.rglob("*.keras"))
    assert main(["demo", "full", *options]) == 0
    assert (run / "scores.json").is_file()


def test_a_second_job_with_the_same_ids_names_the_first(data, capsys):
    with only_one(data / "output" / "demo_twice", "wait"):
        assert main(["demo", "twice", *arguments(data)]) == 2
    message = capsys.readouterr().err
    assert f"in use by process {os.getpid()} on" in message and "another job id" in message


def test_a_second_simulation_of_a_dataset_names_the_first(tmp_path, capsys):
    with only_one(tmp_path / "dataset", "wait"):
        assert simulate(["demo", *arguments(tmp_path)]) == 2
    assert f"in use by process {os.getpid()} on" in capsys.readouterr().err
