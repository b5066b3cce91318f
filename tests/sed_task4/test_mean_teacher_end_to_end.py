"""Mean teacher from simulated clips to scores, predictions and exports, and its supervised twin."""

import csv
import json
import shutil

import numpy as np
import pytest

from common.cli.export import main as export
from common.cli.score import main as score
from common.cli.tune import main as tune
from common.errors import ConfigError
from common.inference.loading import load_run
from common.reports.run import stored_task
from common.settings.tasks import load_task
from common.training.checkpoints import load_checkpoint
from common.training.mean_teacher import chosen_network
from common.training.stage import load_model, load_trained
from sed_task4.cli import main
from sed_task4.config import Task4Training
from sed_task4.experiment import Experiment
from tests.evaluations import check_own_scores
from tests.pages import check_scores, read_report
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
    "decoding.search_medians": "true",
    "decoding.threshold": "0.3",  # as little as they have learned, the networks find something
    "scoring.score_files": "true",
    "training.checkpoint_every_epochs": "1",
}
SUPERVISED = SETTINGS | {"sets.parts": f"[{', '.join(PARTS)}]", "training.epochs": "1"}


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


def test_scores_named_before_training_are_those_of_the_history(folder):
    run = folder / "output" / f"{TASK}_a"
    experiment = Experiment.prepare(stored_task(run))
    (stage,) = experiment.system.stages(experiment.task)
    history = json.loads((run / "mean_teacher" / "training.json").read_text())["history"]
    scores = {name for name in history if name.startswith("val_") and not name.endswith("_loss")}
    assert {f"val_{name}" for name in experiment.score_names(stage)} == scores


def test_the_report_shows_student_and_teacher(folder):
    run = folder / "output" / f"{TASK}_a"
    page = read_report(run / "report.html")
    check_scores(page, run / "scores.json")
    assert "mean_teacher: the student, which chose the model" in page.text
    assert "event F: mean_teacher, teacher" in page.text
    curves = [each["alt"] for each in page.named("img") if "mean_teacher, teacher" in each["alt"]]
    assert [each.split(" of ")[0] for each in curves] == ["Curves", "F against the threshold"]
    (learning,) = (each["alt"] for each in page.named("img") if "Learning" in each["alt"])
    assert "Weak and strong clips of validation" in learning
    assert learning.endswith("Consistency of student and teacher")


def test_each_network_keeps_and_uses_its_own_median_lengths(folder, tmp_path):
    run = folder / "output" / f"{TASK}_a"
    places = {"student": run / "mean_teacher", "teacher": run / "mean_teacher" / "teacher"}
    before, tables = rows(run), {name: written(each) for name, each in places.items()}
    task = stored_task(run)
    lengths = dict(zip(task.dataset.classes, range(1, 21, 2), strict=True))
    path = places["teacher"] / "median_frames.json"
    assert path.read_text() != json.dumps(lengths)
    path.write_text(json.dumps(lengths))
    assert main([TASK, "a", *arguments(folder, TEACHER)]) == 0
    assert json.loads(path.read_text()) == lengths, "searched once"
    assert written(places["student"]) == tables["student"]
    assert written(places["teacher"]) != tables["teacher"]
    assert rows(run)["mean_teacher"] == before["mean_teacher"]
    stored = json.loads((places["student"] / "median_frames.json").read_text())
    predictor = load_run(run).predictor
    assert predictor._decoding.windows == tuple(stored[name] for name in task.dataset.classes)
    (truth,) = (folder / "dataset").rglob("validation.tsv")
    files = [str(places["teacher"] / "scores"), str(truth), "--json", str(tmp_path / "s.json")]
    assert score(["--task", TASK, *arguments(folder, TEACHER), *files, "--no-strict"]) == 0
    found = json.loads((tmp_path / "s.json").read_text())["rows"][0]["scores"]
    teacher = rows(run)["mean_teacher, teacher"]["scores"]
    for name in ("psds1", "psds2", "best_f"):
        assert found[name] == pytest.approx(teacher[name]), name


def written(place):
    """Score files of a network, by name."""
    return {path.name: path.read_text() for path in (place / "scores").iterdir()}


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


def test_the_last_model_in_training_is_that_of_the_epoch(folder, tmp_path):
    stage = folder / "output" / f"{TASK}_a" / "mean_teacher"
    shutil.copytree(stage / "resume", tmp_path / "resume")
    found = load_checkpoint(tmp_path, "last")
    expected = load_model(stage / "models" / "epoch-00002.keras")
    for network in ("student", "teacher"):
        weights = (getattr(model, network).get_weights() for model in (found, expected))
        for weight, other in zip(*weights, strict=True):
            np.testing.assert_array_equal(weight, other)


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


def test_a_search_refuses_a_score_that_some_trials_lack(tmp_path, capsys):
    over = ["--over", "training.teacher.use=student,teacher", "--metric", "teacher_map"]
    assert tune([TASK, *arguments(tmp_path, TEACHER), *over]) == 2
    message = capsys.readouterr().err
    assert "student_map" in message
    assert "Received with training.teacher.use=teacher: 'teacher_map'" in message
    assert not list(tmp_path.iterdir())


def test_other_systems_refuse_settings_of_the_mean_teacher():
    assert Task4Training().of_mean_teacher == []
    task = load_task(PARAMS, "crnn-demo", ["training.loss=asymmetric_focal"])
    with pytest.raises(ConfigError, match="is of the system mean_teacher"):
        Experiment.prepare(task)


def test_an_evaluation_of_the_test_data_gives_the_scores_of_the_run(folder):
    check_own_scores(folder / "output" / f"{TASK}_a")
