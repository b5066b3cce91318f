"""A stage with a mean teacher: killed and resumed, saved, and started from another network."""

import itertools

import numpy as np
import pytest

from common.models.layers import weights_by_name
from common.settings.batch_augmentation import BatchAugmentation
from common.settings.mean_teacher import MeanTeacherConfig
from common.settings.tasks import RateSchedule, RunConfig, TrainingConfig
from common.training.callbacks import ScoreOnValidation
from common.training.mean_teacher import MeanTeacher, build_augmented, chosen_network
from common.training.stage import Goal, ScoredSets, StageData, _new_model, train_stage
from common.training.system import ModelParts, Stage
from tests.common.training.teacher_networks import BANDS, LOSSES, PARTS, STRIDE, batch, network
from tests.histories import finished_text, history_rows

TRAINING = TrainingConfig(
    epochs=3,
    iterations_per_epoch=2,
    patience_epochs=0,
    learning_rate=0.01,
    clip_global_norm=1.0,
    schedule=RateSchedule(ramp_epochs=1, fall="quarter_cosine", fall_from_epoch=2),
)


CHANGES = BatchAugmentation.model_validate(
    {"mixup": {"groups": [["strong"], ["weak"]]}, "filter_augment": {"max_bands": 2}}
)


class Killed(Exception):
    """Stands for the end of the process."""


class TeacherScore:
    """Scores a set by the teacher's mean output."""

    def update(self, prediction):
        self.mean = float(prediction.outputs["teacher_frames"].mean())

    def result(self):
        return {"error": self.mean}


def join(parts: ModelParts) -> MeanTeacher:
    return build_augmented(
        parts.build,
        config=MeanTeacherConfig(ramp_epochs=2.0),
        augmentation=CHANGES,
        parts=PARTS,
        stride=STRIDE,
        iterations_per_epoch=parts.iterations_per_epoch,
        frontend=parts.frontend,
    )


STAGE = Stage(
    "teacher",
    lambda shape: network(dropout=0.5),
    {"clip": ("tags",), "frames": ("activity",)},
    LOSSES,
    {"clip": 1.0, "frames": 1.0},
    target_stride=STRIDE,
    join=join,
)


def batches(trained):
    yield from map(batch, itertools.count(trained))


def recordings():
    x, y = batch(1000)
    return [
        {
            "name": np.array(b"a"),
            "features": x[:1],
            "targets": {name: values[:1] for name, values in y.items()},
            "events": np.zeros((0, 3)),
            "labelled": 1,
            "frames": 24,
            "sequence_frames": 24,
        }
    ]


def stage_data():
    sets = ScoredSets(lambda draw: {"val": recordings()})
    shape, statistics = (None, BANDS, 1), (np.zeros((BANDS, 1)), np.ones((BANDS, 1)))
    return StageData(batches, 2, sets, shape, *statistics)


def train(folder):
    goal = Goal("val_error", "min", TeacherScore, panels=[])
    return train_stage(STAGE, stage_data(), goal, TRAINING, RunConfig(), folder, seed=3)


def test_a_teacher_killed_within_an_epoch_resumes_to_the_same_weights(tmp_path, monkeypatch):
    whole, numbers = train(tmp_path / "whole"), itertools.count(1)

    def kill(self, number, logs=None):
        if next(numbers) == 4:  # the second batch of the second epoch
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(ScoreOnValidation, "on_train_batch_end", kill)
        train(tmp_path / "parts")
    parts = train(tmp_path / "parts")
    assert history_rows(tmp_path / "parts") == history_rows(tmp_path / "whole")
    assert finished_text(tmp_path / "parts") == finished_text(tmp_path / "whole")
    assert isinstance(parts, MeanTeacher) and len(history_rows(tmp_path / "whole")) == 3
    for expected, received in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
    networks = [chosen_network(parts, use) for use in ("student", "teacher")]
    assert not np.array_equal(*(weights_by_name(each)["conv/kernel"] for each in networks))


def test_both_networks_start_from_the_chosen_one_of_a_teacher():
    first = join(ModelParts(network, None, 3))
    second = _new_model(STAGE, stage_data(), 3, first)
    assert second.ramp_iterations == 2.0 * 3
    for model in (second.student, second.teacher):
        for expected, received in zip(
            first.student.get_weights(), model.get_weights()[2:], strict=True
        ):
            np.testing.assert_array_equal(received, expected)
