"""Files that a run of task 4 reads again are checked."""

import json
from pathlib import Path

import numpy as np
import pytest

from common.errors import CheckpointError, ConfigError
from common.settings.tasks import load_task
from sed_task4.clips.training_sets import read_split
from sed_task4.experiment import Experiment, read_thresholds

PARAMS = Path(__file__).resolve().parents[2] / "params.yaml"
NAMES = ["a.wav", "b.wav", "c.wav"]


def test_split_and_thresholds_come_back_as_they_were_written(tmp_path):
    (tmp_path / "split.json").write_text('{"validation": ["b.wav"]}')
    assert read_split(tmp_path / "split.json", NAMES) == {"b.wav"}
    (tmp_path / "thresholds.json").write_text('{"Dog": 0.25, "Cat": 0.5}')
    np.testing.assert_array_equal(
        read_thresholds(tmp_path / "thresholds.json", ("Cat", "Dog")), [0.5, 0.25]
    )


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"validation": []},
        {"validation": "a.wav"},
        {"validation": ["x.wav"]},
        {"validation": NAMES},
    ],
)
def test_a_split_of_other_clips_is_refused(tmp_path, content):
    (tmp_path / "split.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"split\.json"):
        read_split(tmp_path / "split.json", NAMES)


@pytest.mark.parametrize(
    "content", [[], {}, {"Cat": 0.5}, {"Cat": 0.5, "Dog": "x"}, {"Cat": 0.5, "Dog": None}]
)
def test_thresholds_of_other_classes_are_refused(tmp_path, content):
    (tmp_path / "thresholds.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"thresholds\.json"):
        read_thresholds(tmp_path / "thresholds.json", ("Cat", "Dog"))


@pytest.mark.parametrize("key", ["teacher", "batch_augmentation.mixup"])
def test_systems_that_learn_from_labels_only_refuse_a_teacher(key):
    task = load_task(PARAMS, "crnn-demo", [f"training.{key}={{}}"])
    with pytest.raises(ConfigError, match=r"is of the system mean_teacher"):
        Experiment.prepare(task)


@pytest.mark.parametrize(
    ("task_id", "setting", "message"),
    [
        ("desed-2021", "training.monitor=weak_intersection_and_maestro_auc", "needs windows of"),
        ("desed-2024", "dataset.classes=[Dog, shopping cart]", "needs evaluated classes of"),
        ("desed-2024", "decoding.search_thresholds=true", "has classes of its own"),
    ],
)
def test_data_sets_with_classes_of_their_own_are_checked_before_any_work(task_id, setting, message):
    with pytest.raises(ConfigError, match=message):
        load_task(PARAMS, task_id, [setting])
