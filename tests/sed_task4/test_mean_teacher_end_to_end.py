"""Mean teacher from simulated clips to scores, predictions and exports, and its supervised twin."""

import csv
import json

import numpy as np
import pytest

from common.cli.export import main as export
from common.errors import ConfigError
from common.inference.loading import load_run
from common.settings.tasks import load_task
from common.training.mean_teacher import chosen_network
from common.training.stage import load_trained
from sed_task4.cli import main
from sed_task4.config import Task4Training
from sed_task4.experiment import Experiment
from tests.sed_task4.tiny_runs import PARAMS, arguments

SETTINGS = {
    "dataset.clip_s": "2.0",
    "simulation.clips_per_subset": (
        "{weak: 6, unlabel_in_domain: 4, synthetic: 6, validation: 4, test: 0, eval: 0}"
    ),
    "pipeline.sequence_frames": "51",
    "network.n_filters": "[2, 2, 4]",
    "network.gru_units": "[4]",
    "training.epochs": "2",
    "scoring.sed_eval": "false",
}
TASK = "mean-teacher-demo"


def part(name, subset, labels, fraction=0.0):
    return (
        f"{{name: {name}, subsets: [{subset}], batch_size: 2, labels: {labels},"
        f" validation_fraction: {fraction}}}"
    )


PARTS = (part("weak", "weak", "weak", 0.34), part("strong", "synthetic", "strong", 0.34))
TEACHER = SETTINGS | {
    "sets.parts": f"[{', '.join([*PARTS, part('unlabelled', 'unlabel_in_domain', 'none')])}]",
    "training.batch_augmentation": (
        "{frame_shift: {std_frames: 4}, mixup: {groups: [[weak], [strong]]},"
        " time_mask: {parts: [strong]}, filter_augment: {}, noise: {}}"
    ),
}
SUPERVISED = SETTINGS | {"sets.parts": f"[{', '.join(PARTS)}]"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with finished runs of the mean teacher and of its supervised twin."""
    folder = tmp_path_factory.mktemp("teacher")
    assert main([TASK, "a", *arguments(folder, TEACHER)]) == 0
    assert main(["crnn-supervised-demo", "a", *arguments(folder, SUPERVISED)]) == 0
    return folder


def rows(run):
    return {row["label"]: row for row in json.loads((run / "scores.json").read_text())["rows"]}


def test_student_and_teacher_are_scored_side_by_side(folder):
    run = folder / "output" / f"{TASK}_a"
    found = rows(run)
    assert list(found)[:4] == [
        "mean_teacher",
        "mean_teacher, tags over the clip",
        "mean_teacher, teacher",
        "mean_teacher, teacher, tags over the clip",
    ]
    assert found["mean_teacher"]["scores"] != found["mean_teacher, teacher"]["scores"]
    for events in ("mean_teacher/events.tsv", "mean_teacher/teacher/events.tsv"):
        assert (run / events).read_text().startswith("filename\tonset")
    with open(run / "mean_teacher" / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    names = {"val_weak_and_event_f", "val_teacher_weak_and_event_f", "clip_consistency"}
    assert len(history) == 2 and names <= history[0].keys()


def test_the_supervised_twin_has_the_same_network_and_no_teacher(folder):
    runs = [folder / "output" / f"{name}_a" for name in (TASK, "crnn-supervised-demo")]
    teacher = chosen_network(load_trained(runs[0] / "mean_teacher"))
    alone = load_trained(runs[1] / "supervised")
    assert [weight.shape for weight in teacher.weights] == [w.shape for w in alone.weights]
    assert "supervised" in rows(runs[1])


def test_predictions_are_those_of_the_network_that_is_used(folder):
    run = folder / "output" / f"{TASK}_a"
    audio = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
    loaded = load_run(run)
    session = loaded.predictor.stream(sample_rate_hz=16000)
    session.feed(audio[:, None])
    session.finish()
    model = load_trained(run / "mean_teacher")
    (stage, network), *_ = loaded.predictor.models.stages
    for own, student in zip(network.get_weights(), model.student.get_weights(), strict=True):
        np.testing.assert_array_equal(own, student)
    assert stage.name == "mean_teacher"


def test_an_export_holds_one_network(folder, tmp_path):
    run = folder / "output" / f"{TASK}_a"
    assert export([str(run), "--out", str(tmp_path / "model"), "--format", "saved_model"]) == 0
    assert (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.batch_augmentation={mixup: {groups: [[weak, absent]]}}", "absent"),
        ("training.teacher.consistency_parts=[absent]", "absent"),
        ("training.batch_augmentation={noise: {min_snr_db: 9, max_snr_db: 3}}", "min_snr_db"),
        ("training.monitor=weak_and_intersection_f", None),
    ],
)
def test_settings_of_batches_are_checked_before_any_work(setting, message):
    if message is None:
        Experiment.prepare(load_task(PARAMS, TASK, [setting]))
        return
    with pytest.raises(ConfigError, match=message):
        Experiment.prepare(load_task(PARAMS, TASK, [setting]))


def test_other_systems_refuse_settings_of_the_mean_teacher():
    assert Task4Training().of_mean_teacher == []
    task = load_task(PARAMS, "crnn-demo", ["training.loss=asymmetric_focal"])
    with pytest.raises(ConfigError, match="is of the system mean_teacher"):
        Experiment.prepare(task)
