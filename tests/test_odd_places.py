"""Odd surroundings: names of any kind, links, thousands of files, clocks that jump."""

import json
import os
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from common.cli.steps.prepare import run_folder
from common.data.extraction import Item, plan_shards
from common.data.feature_store import FeatureStore, ShardEntry
from common.data.pipeline import evaluation_stream, train_stream
from common.data.selection import Selection
from common.data.sequences import SequenceFormat
from common.data.tfrecord import ArraySpec, ExampleSchema, read_shard
from common.errors import DataError
from common.features.statistics import RunningStatistics
from common.settings.pipeline import PipelineConfig
from common.settings.tasks import load_task
from common.training.run_directory import open_run, read_settings
from common.training.stage import finished_epochs
from sed_task4.dataset import DatasetConfig as ClipConfig
from sed_task4.dataset import find_clips
from sed_task4.submission import read_submission as read_events
from sed_task4.submission import write_submission as write_events
from seld.dataset import DatasetConfig, find_recordings
from seld.extraction import open_store, run
from seld.submission import read_submission, write_submission
from tests.common.training.test_stage import (
    Killed,
    MeanOutput,
    history_rows,
    killed_in_epoch,
    train,
)
from tests.sed_task4.test_extraction import Task as ClipTask
from tests.sed_task4.test_extraction import run as run_clips
from tests.sed_task4.test_extraction import write_clip, write_metadata
from tests.seld.test_extraction import NAMES, Task, write_recording

PARAMS = Path(__file__).parents[1] / "params.yaml"
ODD = 'with space/Grüße 音 e\u0301/it\'s "so" {0} {x} %s [1] *? $HOME ~/-rf/' + "long" * 60
MANY = 3_000


@pytest.fixture
def odd(tmp_path) -> Path:
    folder = tmp_path / ODD
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Task:
    """Four recordings and their features, in plain folders."""
    root = tmp_path_factory.mktemp("plain")
    for seed, name in enumerate(NAMES):
        write_recording(root / "data", name, seed=seed)
    task = Task(root / "data", root / "features")
    run(task, progress=False)
    return task


def shards_of(task: Task) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in open_store(task, "dev", verify=True).shards()}


def test_features_do_not_depend_on_the_names_of_folders(odd, plain):
    for seed, name in enumerate(NAMES):
        write_recording(odd / "data", name, seed=seed)
    task = Task(odd / "data", odd / "features")
    (store,) = run(task, progress=False)
    assert shards_of(task) == shards_of(plain)
    selection, sequence_format = Selection(store), SequenceFormat({"sed": ("activity",)})
    pipeline = PipelineConfig(sequence_frames=20, batch_size=2)
    stream = train_stream(selection, sequence_format, pipeline, seed=0)
    assert next(iter(stream))[0].shape == (2, 20, 64, 7)
    assert len(list(evaluation_stream(selection, sequence_format, pipeline))) == 4


def test_a_run_in_an_odd_folder_is_killed_and_resumed(odd, tmp_path):
    whole = train(tmp_path / "plain")
    with pytest.raises(Killed):
        train(odd / "run", new_scorer=killed_in_epoch(3, MeanOutput))
    model = train(odd / "run")
    assert history_rows(odd / "run") == history_rows(tmp_path / "plain")
    for expected, received in zip(whole.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
    assert finished_epochs(odd / "run")["epochs"] == 5
    assert {path.name for path in (odd / "run").iterdir()} == {
        path.name for path in (tmp_path / "plain").iterdir()
    }
    assert isinstance(keras.saving.load_model(odd / "run/best.keras", compile=False), keras.Model)


def test_runs_and_submissions_keep_odd_names(odd):
    task = load_task(PARAMS, "1", [f"output_dir={json.dumps(str(odd))}"])
    folder = run_folder(task, "1", "Grüße 音 'x' {0}")
    open_run(folder, task.model_dump(mode="json"), ["seld.py"])
    assert read_settings(folder)["output_dir"] == str(odd)
    rows = np.array([[0, 1, 10, 20]])
    write_submission(folder / "Grüße 音.csv", rows)
    np.testing.assert_array_equal(read_submission(folder / "Grüße 音.csv", 11), rows)
    names = ['it\'s "so".wav', "Grüße 音.wav"]
    write_events(folder / "events.tsv", names, [np.array([[0, 0.5, 1.5]])] * 2, ("Cat",))
    assert read_events(folder / "events.tsv", ("Cat",))[1] == names


CLIPS = [
    "with space.wav",
    "Grüße 音.wav",
    'it\'s "so" {0} %s.wav',
    "e\u0301.wav",
    "é.wav",
    "n" * 240 + ".wav",
    "-rf.wav",
]


def test_clips_of_any_name_keep_it_and_their_labels(odd):
    labels = {name: ("Cat", "Dog", "Speech")[number % 3] for number, name in enumerate(CLIPS)}
    for seed, name in enumerate(CLIPS):
        write_clip(odd / "audio/train/weak" / name, seconds=0.5, seed=seed)
    if len(list((odd / "audio/train/weak").iterdir())) < len(CLIPS):
        pytest.skip("this file system takes both forms of a letter for one")
    text = "".join(f"{name}\t{label}\n" for name, label in labels.items())
    write_metadata(odd, "train/weak", "filename\tevent_labels\n" + text)
    (store,) = run_clips(ClipTask(odd, odd / "features"), ["weak"], progress=False)
    records = [record for path in store.shards() for record in read_shard(path, store.schema)]
    assert sorted(record["name"] for record in records) == sorted(CLIPS)
    assert all(store.path(entry).name.isascii() for entry in store.entries)
    for record in records:
        assert record["tags"].tolist().index(1) == ("Cat", "Dog", "Speech").index(
            labels[record["name"]]
        )


def test_linked_datasets_and_linked_files_are_read_like_others(tmp_path, plain):
    (tmp_path / "linked").symlink_to(plain.dataset_dir, target_is_directory=True)
    for path in (*plain.dataset_dir.glob("*/*"),):
        place = tmp_path / "files" / path.relative_to(plain.dataset_dir)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    for root in ("linked", "files"):
        task = Task(tmp_path / root, tmp_path / f"{root} features")
        run(task, progress=False)
        assert shards_of(task) == shards_of(plain)


def test_a_link_to_nothing_is_a_recording_that_is_missing(tmp_path):
    for name in NAMES[:2]:
        write_recording(tmp_path, name)
    sound = tmp_path / "foa_dev" / f"{NAMES[0]}.wav"
    sound.unlink()
    sound.symlink_to(tmp_path / "nowhere.wav")
    with pytest.raises(DataError, match=rf"no recording in .*{NAMES[0]}\.csv"):
        find_recordings(tmp_path, DatasetConfig(), "dev")


def test_thousands_of_recordings_among_as_many_other_files_are_listed(tmp_path):
    for folder, suffixes in (("foa_dev", (".wav", ".txt")), ("metadata_dev", (".csv",))):
        (tmp_path / folder).mkdir()
        for number in range(MANY):
            for suffix in suffixes:
                (tmp_path / folder / f"split{1 + number % 4}_ir0_ov1_{number}{suffix}").touch()
    recordings = find_recordings(tmp_path, DatasetConfig(), "dev")
    assert len(recordings) == len({recording.name for recording in recordings}) == MANY
    items = [
        Item(recording.name, str(recording.split), (recording.audio_path,))
        for recording in recordings
    ]
    assert sum(len(plan.items) for plan in plan_shards(items, 3)) == MANY


def test_thousands_of_clips_and_their_shards_are_listed(tmp_path):
    names = [f"clip {number}.wav" for number in range(MANY)]
    folder = tmp_path / "audio/train/weak"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"-")
    write_metadata(
        tmp_path,
        "train/weak",
        "filename\tevent_labels\n" + "".join(f"{name}\tDog\n" for name in names),
    )
    clips, missing = find_clips(tmp_path, ClipConfig(), "weak")
    assert [clip.name for clip in clips] == names and not missing
    schema = ExampleSchema({"features": ArraySpec("float32", (None, 2, 1))})
    entries = [ShardEntry(name, "weak", (name,), (5,), 1, 0) for name in names]
    statistics = RunningStatistics.empty((2, 1))
    statistics.update(np.ones((4, 2, 1)))
    FeatureStore(folder, {}, schema, entries).write({"weak": statistics})
    store = FeatureStore.open(folder)
    assert sorted(store.names()) == sorted(names) and len(store.shards(["weak"])) == MANY


@pytest.mark.parametrize("now_s", [0.0, 4e9])
def test_a_clock_that_jumps_repeats_nothing(tmp_path, monkeypatch, now_s):
    for seed, name in enumerate(NAMES[:2]):
        write_recording(tmp_path / "data", name, seed=seed)
        os.utime(tmp_path / "data/foa_dev" / f"{name}.wav", (4e9, 4e9))  # written in the future
    task = Task(tmp_path / "data", tmp_path / "features")
    (store,) = run(task, progress=False)
    monkeypatch.setattr(time, "time", lambda: now_s)
    for path in store.folder.iterdir():
        os.utime(path, (now_s, now_s))
    run(task, progress=False)
    assert all(path.stat().st_mtime == now_s for path in store.shards())


def test_a_job_resumes_although_the_clock_was_set_back(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole")
    with pytest.raises(Killed):
        train(tmp_path / "parts", new_scorer=killed_in_epoch(3, MeanOutput))
    for path in tmp_path.rglob("*"):
        os.utime(path, (4e9, 4e9))
    monkeypatch.setattr(time, "time", lambda: 1.0)
    parts = train(tmp_path / "parts")
    assert history_rows(tmp_path / "parts") == history_rows(tmp_path / "whole")
    for expected, received in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
