"""Searches: trials are runs, they resume, and suggestions do not depend on interruptions."""

import contextlib
import csv
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, TextIO

import optuna
import pytest
import yaml
from matplotlib import pyplot

from common.cli.train import main as train
from common.cli.tune import main
from common.errors import CheckpointError, ConfigError, DataError
from common.search.results import (
    FIGURES,
    Target,
    _part_ticks,
    best_settings,
    draw_study,
    trials_table,
)
from common.search.space import Choice, Range
from common.search.study import STORAGE, Search, run_search, score_of
from common.settings.tasks import check_task
from common.training.callbacks import ScoreOnValidation
from common.training.run_directory import read_settings
from seld.experiment import Experiment

ROOT = Path(__file__).parents[3]
SMALL = {
    "simulation.preset": "fixture",
    "simulation.duration_s": "3",
    "simulation.recordings_per_split": "{1: 1, 2: 1, 3: 1, 4: 1}",
    "dataset.recording_s": "3",
    "dataset.classes": "[knock, keysDrop]",
    "network.pool_bands": "[8]",
    "network.pool_frames": "[5]",
    "network.gru_units": "[]",
    "network.dense_units": "[8]",
    "pipeline.sequence_frames": "50",
    "pipeline.batch_size": "4",
    "parallel.jobs": "1",
    "training.epochs": "2",
}
OVER = ["--over", "training.learning_rate=1e-4:1e-2:log", "--over", "network.n_filters=2:4"]
SPACE = {"x": Range(0.0, 1.0), "n": Range(1, 8, whole=True), "kind": Choice(("a", "b"))}


def arguments(folder: Path, *options: str) -> list[str]:
    folders = {f"{name}_dir": str(folder / name) for name in ("dataset", "feature", "output")}
    settings = [
        part for key, value in (SMALL | folders).items() for part in ("--set", f"{key}={value}")
    ]
    return ["demo", *settings, "--params", str(ROOT / "params.yaml"), *options]


class Killed(Exception):
    """Stands for the end of the process of a trial."""


def kill_in_second_epoch(self: ScoreOnValidation, epoch: int, logs: object = None) -> None:
    if epoch == 1:
        raise Killed


def run_here(call: list[str], stdout: TextIO, **_: object) -> SimpleNamespace:
    """Stands for `subprocess.run`: the same program in this process, which has its imports."""
    assert call[1:3] == ["-m", "common.cli.train"]
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stdout):
        try:
            return SimpleNamespace(returncode=train(call[3:]))
        except Killed:
            return SimpleNamespace(returncode=-9)


@pytest.fixture(scope="module")
def trials_here():
    here = SimpleNamespace(run=run_here, STDOUT=subprocess.STDOUT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("common.search.study.subprocess", here)
        yield


@pytest.fixture(scope="module")
def search(tmp_path_factory, trials_here):
    """A finished search of two trials whose first trial was killed after its first epoch."""
    folder = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScoreOnValidation, "on_epoch_begin", kill_in_second_epoch)
        assert main(arguments(folder, *OVER, "--trials", "2")) == 2
    assert main(arguments(folder, *OVER, "--trials", "2")) == 0
    return folder / "output" / "demo_tune"


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_killed_trial_resumes_and_each_trial_is_a_run(search):
    rows = rows_of(search)
    assert [(row["trial"], row["state"], row["run"]) for row in rows] == [
        (str(number), "finished", f"demo_{number:03d}") for number in range(2)
    ]
    environment = json.loads((search / "trials" / "demo_000" / "environment.json").read_text())
    assert len(environment["earlier"]) == 1, "the first trial was started twice"
    for row in rows:
        settings = yaml.safe_load((search / "trials" / row["run"] / "settings.yaml").read_text())
        assert settings["training"]["learning_rate"] == float(row["training.learning_rate"])
        assert settings["network"]["n_filters"] == int(row["network.n_filters"])


def test_the_score_is_the_kept_models_on_validation(search):
    for row in rows_of(search):
        finished = json.loads(
            (search / "trials" / row["run"] / "fold1" / "seld" / "training.json").read_text()
        )
        assert float(row["val_seld_error"]) == pytest.approx(
            min(finished["history"]["val_seld_error"]), abs=5e-5
        )


def test_the_best_settings_are_written_as_params_yaml_takes_them(search):
    best = min(rows_of(search), key=lambda row: float(row["val_seld_error"]))
    assert yaml.safe_load((search / "best.yaml").read_text()) == {
        "training": {"learning_rate": float(best["training.learning_rate"])},
        "network": {"n_filters": int(best["network.n_filters"])},
    }
    assert all((search / f"{name}.png").stat().st_size for name in FIGURES)
    assert (search / STORAGE).stat().st_size


def test_a_trial_of_other_features_extracts_and_removes_its_own(search, trials_here):
    folder, feature_files = (
        search.parents[1],
        lambda: sorted((search.parents[1] / "feature").rglob("*")),
    )
    shared = feature_files()
    job = (
        "--job",
        "bands",
        "--over",
        "features.n_mels=32,96",
        "--trials",
        "1",
        "--set",
        "training.epochs=1",
    )
    assert main(arguments(folder, *job)) == 0
    own = search.parent / "demo_bands"
    (row,) = rows_of(own)
    run = own / "trials" / row["run"]
    settings = yaml.safe_load((run / "settings.yaml").read_text())
    assert row["state"] == "finished" and settings["features"]["n_mels"] == int(
        row["features.n_mels"]
    )
    assert settings["feature_dir"] == str(own / "features" / row["run"])
    assert (run / "data.json").read_text() != (
        search / "trials" / "demo_000" / "data.json"
    ).read_text()
    assert not list((own / "features").iterdir()) and feature_files() == shared


def test_a_trial_is_a_process_whose_output_and_mistake_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr("common.search.study.subprocess", subprocess)
    task_id, *command = arguments(tmp_path)
    space = {"training.epochs": Range(1, 8, whole=True)}
    search = Search(None, (task_id, *command), space, Target("val_x", "min"), "seld", tmp_path)
    reason = r"Trial 3 stopped: error: .*Its output is in .*demo_003\.log"
    with pytest.raises(DataError, match=reason):
        search.run_trial(3, {"training.epochs": "0"})
    assert "epochs" in (tmp_path / "trials" / "demo_003.log").read_text()


def test_another_search_in_the_same_folder_is_refused(search, capsys):
    folder = search.parents[1]
    assert main(arguments(folder, "--over", "training.learning_rate=1e-4:1e-3:log")) == 2
    assert "search.over" in capsys.readouterr().err


def test_a_score_missing_in_the_history_is_named_with_others(search):
    with pytest.raises(ConfigError, match=r"one of .*val_seld_error.* Received: 'val_fscore'"):
        score_of(search / "trials" / "demo_000", "seld", "val_fscore")


def test_scores_named_before_training_are_those_of_the_history(search):
    run = search / "trials" / "demo_000"
    experiment = Experiment.prepare(check_task(read_settings(run), "the trial"))
    (stage,) = experiment.system.stages(experiment.task)
    history = json.loads((run / "fold1" / "seld" / "training.json").read_text())["history"]
    scores = {name for name in history if name.startswith("val_") and not name.endswith("_loss")}
    assert {f"val_{name}" for name in experiment.score_names(stage)} == scores


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Spares the tests of quick searches their figures; that of the real one is drawn before."""
    monkeypatch.setattr("common.search.study.draw_study", lambda study, target, folder: None)


class Quick(Search):
    """A search whose trials are a formula; `broken` ones stop once, `diverging` ones diverge."""

    broken: ClassVar[set[int]] = set()
    diverging: ClassVar[set[int]] = set()

    def run_trial(self, number, values):
        if number in self.broken:
            self.broken.remove(number)
            raise DataError("stopped")
        if number in self.diverging:
            return float("nan")
        return abs(float(values["x"]) - 0.3) + abs(int(values["n"]) - 5) + (values["kind"] == "a")


def table_of(search: Quick, trials: int) -> list[dict]:
    """Does a quick search; returns the rows of its table."""
    study = run_search(search, trials)
    return trials_table(study, SPACE, search.target, search.run_name).to_dict("records")


def quick(folder: Path, seed: int = 0, mode: str = "min") -> Quick:
    task = type("Task", (), {"seed": seed})
    folder.mkdir(exist_ok=True)
    return Quick(task, ("demo",), SPACE, Target("val_x", mode), "seld", folder)


def test_interrupted_and_uninterrupted_searches_suggest_the_same(tmp_path):
    whole, cut = quick(tmp_path / "whole"), quick(tmp_path / "cut")
    cut.broken.update({0, 7, 13})
    rows = None
    for _ in range(4):
        try:
            rows = table_of(cut, 16)
        except DataError:
            continue
    assert rows == table_of(whole, 16) and len(rows) == 16


def test_more_trials_continue_a_finished_search(tmp_path):
    first = table_of(quick(tmp_path), 12)
    assert table_of(quick(tmp_path), 14)[:12] == first
    assert len(table_of(quick(tmp_path), 3)) == 14


def test_another_seed_suggests_otherwise(tmp_path):
    assert table_of(quick(tmp_path / "a", 0), 3) != table_of(quick(tmp_path / "b", 1), 3)


def test_a_diverging_trial_is_noted_and_the_search_continues(tmp_path):
    search = quick(tmp_path)
    search.diverging.add(1)
    rows = table_of(search, 3)
    assert [row["state"] for row in rows] == ["finished", "failed", "finished"]
    assert math.isnan(rows[1]["val_x"])
    search.diverging.clear()


def test_a_damaged_study_is_named_with_the_remedy(tmp_path):
    (tmp_path / STORAGE).write_text("no database")
    with pytest.raises(CheckpointError, match=r"search.sqlite3 cannot be read"):
        run_search(quick(tmp_path), 1)


def study_of(scores: Sequence[float | None], mode: str) -> optuna.Study:
    """A study of trials with these scores, failed ones None, whose x is the number of the trial."""
    study = optuna.create_study(direction="minimize" if mode == "min" else "maximize")
    distributions = {
        "x": optuna.distributions.FloatDistribution(0.0, 9.0),
        "n": optuna.distributions.IntDistribution(1, 8),
        "kind": optuna.distributions.CategoricalDistribution(("a", "b")),
    }
    for number, score in enumerate(scores):
        study.enqueue_trial({"x": float(number), "n": number + 1, "kind": "ab"[number % 2]})
        study.ask(distributions)
        failed = None if score is not None else optuna.trial.TrialState.FAIL
        study.tell(number, score, state=failed)
    return study


def test_the_best_of_scores_to_maximise_is_the_highest():
    high, low = Target("val_f", "max"), Target("val_er", "min")
    study = study_of([0.2, 0.7, 0.7, None], "max")
    assert high.best(study.trials) == study.trials[1] and low.best(study.trials) == study.trials[0]
    assert low.best([]) is None
    table = trials_table(study, SPACE, high, "r{}".format)
    assert list(table.columns) == ["trial", "state", "val_f", "run", "x", "n", "kind"]
    assert list(table.iloc[1]) == [1, "finished", 0.7, "r1", 1.0, 2, "b"]
    text = best_settings(study.trials[1], SPACE, high, "r1")
    assert text == "# val_f 0.7000: r1\nx: 1.0\nn: 2\nkind: b\n"


@pytest.mark.parametrize("scores", [[0.5], [0.5, 0.5], [0.5, None, 0.4, 0.9]])
def test_the_figures_of_a_study_are_drawn_for_any_scores(scores, tmp_path):
    draw_study(study_of(scores, "min"), Target("val_er", "min"), tmp_path)
    drawn = {path.stem for path in tmp_path.iterdir()}
    varied = len(set(scores) - {None}) > 1
    assert drawn == set(FIGURES) - (set() if varied else {"param_importances"})


def test_choices_below_an_axis_do_not_overlap():
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(4.0, 3.0))
    left.set_xticks(range(4), [f"'[{n}, {n}, {n}]'" for n in (32, 64, 96, 128)])
    right.set_xticks(range(3), "abc")
    _part_ticks(figure, 2)
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in left.get_xticklabels()]
    assert all(one.x1 <= other.x0 for one, other in pairwise(boxes))
    assert {label.get_rotation() for label in right.get_xticklabels()} == {0.0}
    assert figure.get_size_inches()[0] == pytest.approx(2 * 2.4)
    pyplot.close(figure)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--over", "network.n_filtres=1:3"], "Did you mean `n_filters`"),
        (["--over", "network.pool_bands=[8],[5]"], "must divide the bands"),
        (["--over", "training.epochs=1:3", "--trials", "0"], "--trials expects"),
        (["--over", "training.epochs=1:3", "--job", "a/b"], "job id"),
        (
            ["--over", "training.epochs=1:3", "--metric", "val_fscore"],
            "--metric: expected one of loss, sed_loss, doa_loss, er, f,",
        ),
    ],
)
def test_a_mistake_is_reported_before_any_work(tmp_path, capsys, options, message):
    assert main(arguments(tmp_path, *options)) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_missing_optuna_is_named_with_its_extra(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(arguments(tmp_path, *OVER)) == 2
    assert 'pip install ".[tune]"' in capsys.readouterr().err
