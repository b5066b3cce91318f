"""Settings that stand together and those that cannot."""

from pathlib import Path

import pytest

from common.errors import ConfigError
from common.settings.tasks import check_task, load_task, read_tasks

PARAMS = Path(__file__).parents[3] / "params.yaml"
TASKS = [name for name in read_tasks(PARAMS) if name.startswith("segmentation")]


@pytest.mark.parametrize("task_id", TASKS)
def test_each_task_of_the_family_is_in_order(task_id):
    task = load_task(PARAMS, task_id)
    assert task.pipeline.sequence_frames == task.features.n_frames(task.dataset.clip_s)
    assert task.set_names == task.known_sets == ["mixtures"]


def test_the_defaults_are_the_published_sizes():
    task = load_task(PARAMS, "segmentation")
    assert (task.dataset.n_classes, task.pipeline.sequence_frames, task.features.n_mels) == (
        41,
        311,
        64,
    )
    assert task.training.epochs * task.training.iterations_per_epoch == 10_000
    assert task.network["gwrp_decay"] == 0.9998
    assert [fold.test for fold in task.folds] == [(1,), (2,), (3,), (4,)]


def test_decoding_that_is_not_named_is_as_published():
    settings = load_task(PARAMS, "segmentation").model_dump(mode="json") | {
        "decoding": {"smooth_frames": 5}
    }
    decoding = check_task(settings, "here").decoding
    assert (decoding.decoder, decoding.high_threshold, decoding.smooth_frames) == (
        "kong2019",
        0.2,
        5,
    )


def test_the_demo_runs_with_other_classes():
    task = load_task(PARAMS, "segmentation-domestic-demo")
    assert "Vacuum_cleaner" in task.dataset.classes and task.dataset.n_classes == 10


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("features.kind=logmel_db", "masks need ln_mel_density. Received: logmel_db"),
        (
            "pipeline.sequence_frames=128",
            "tags are of whole clips. Expected: their 311 frames. Received: 128",
        ),
        (
            "dataset.n_folds=3",
            r"`folds` name 4. Expected: folds of the mixtures, 1 to `dataset.n_folds` = 3",
        ),
        ("features.hop_s=0.0321", "`features.hop_s` must be a whole number of samples"),
        (
            "folds=[{name: a, train: [1, 2], validate_on: [2], test: [3]}]",
            "uses split 2 more than once",
        ),
        ("decoding.median_frames=[1, 3]", "expected one number, or 41"),
    ],
)
def test_settings_that_cannot_stand_together_are_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        load_task(PARAMS, "segmentation", [override])
