"""Runs of the two-stage system: both stages, joint network, single stages, all data."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from common.cli.simulate import main as simulate
from common.models.layers import weights_by_name
from seld.cli import main
from seld.submission import read_submission
from tests.evaluations import check_own_scores

PARAMS = Path(__file__).parents[2] / "params.yaml"
SMALL = {
    "simulation.preset": "fixture",
    "parallel.jobs": 1,  # a process more takes longer to start than this work
    "dataset.recording_s": 6.0,
    "dataset.classes": "[knock, keysDrop, speech]",
    "network.filters": "[4]",
    "network.architecture": "vgg9",
    "network.gru_units": 4,
    "pipeline.batch_size": 4,
    "pipeline.sequence_frames": 50,
    "training.iterations_per_epoch": 2,
    "training.stage_epochs": "{sed: 2, doa: 2, seld: 1}",
}
EVALUATION = {
    "dataset__mode": "eval",
    "folds": "[{name: evaluation, train: [1, 2, 3, 4], validate_on: [], test: [0]}]",
    "network__mode": "sed_only",
    "network__also_joint": "false",
}


def arguments(folder: Path, **changes: object) -> list[str]:
    folders = {f"{name}_dir": folder / name for name in ("dataset", "feature", "output")}
    settings = {
        **SMALL,
        **folders,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    return [
        "--params",
        str(PARAMS),
        *(part for item in settings.items() for part in ("--set", "{}={}".format(*item))),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with recordings of all splits, and one finished run of both stages and the joint
    network."""
    folder = tmp_path_factory.mktemp("run")
    assert simulate(["two-stage-demo", *arguments(folder, **EVALUATION)]) == 0
    assert main(["two-stage-demo", "a", *arguments(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def fold(folder):
    return folder / "output" / "two-stage-demo_a" / "fold1"


def weights(path: Path) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(weight)
        for name, weight in weights_by_name(keras.saving.load_model(path)).items()
    }


def test_both_stages_and_the_joint_network_stand_in_one_table(fold):
    rows = json.loads((fold.parent / "scores.json").read_text())["rows"]
    labels = [row["label"] for row in rows]
    assert {"all", "joint", "always silent"} <= set(labels)
    assert rows[0]["n_recordings"] == rows[labels.index("joint")]["n_recordings"] == 2


def test_every_part_has_submissions_and_the_run_its_figures(fold):
    for part in ("submissions", "submissions_joint"):
        assert len(list((fold / part).glob("split4_*.csv"))) == 2
    for name in (
        "recording.png",
        "recording_overlap2.png",
        "features.png",
        "sed/curves.png",
        "doa/curves.png",
    ):
        assert (fold / name).stat().st_size > 0, name


def test_only_detection_is_scored_in_the_first_stage(fold):
    detection, direction = (
        json.loads((fold / stage / "training.json").read_text()) for stage in ("sed", "doa")
    )
    assert (
        "val_sed_error" in detection["history"] and "val_doa_error_deg" not in detection["history"]
    )
    assert detection["best_epoch"] == 1 + int(np.argmin(detection["history"]["val_sed_error"]))
    best = detection["history"]["val_er"][detection["best_epoch"] - 1]
    assert (
        direction["history"]["val_er"] == [pytest.approx(best)] * 2
    )  # the detections of the first stage


def test_single_directions_start_from_a_file_and_use_true_activity(folder, fold):
    start = f"{{doa: {fold / 'sed' / 'best.keras'}}}"
    options = arguments(
        folder,
        network__mode="doa_only",
        network__also_joint="false",
        training__start_from=start,
        training__learning_rate=1e-30,
        training__stage_epochs="{doa: 1}",
    )
    assert main(["two-stage-demo", "doa", *options]) == 0
    run = folder / "output" / "two-stage-demo_doa"
    scores = json.loads((run / "scores.json").read_text())["rows"][0]["scores"]["corrected"]
    assert scores["f"] > 0.9 and scores["er"] < 0.2
    given, learned = (
        weights(fold / "sed" / "best.keras"),
        weights(run / "fold1" / "doa" / "best.keras"),
    )
    moved = {
        name: np.abs(given[name] - learned[name]).max() for name in given if name.endswith("kernel")
    }
    assert all(value < 1e-12 for name, value in moved.items() if name.startswith("block")), moved
    assert moved["event_fc/kernel"] > 1e-4  # fresh


def test_all_data_train_and_predict_the_evaluation_set(folder):
    options = arguments(folder, **EVALUATION, training__training_recordings=2)
    assert main(["two-stage-demo", "all", *options]) == 0
    fold = folder / "output" / "two-stage-demo_all" / "evaluation"
    history = json.loads((fold / "sed" / "training.json").read_text())["history"]
    assert len(history["train_er"]) == len(history["val_er"]) == 2
    for path in (fold / "submissions").glob("split0_*.csv"):
        rows = read_submission(path, 3)
        assert (rows[:, 0] < 300).all() and (rows[:, 2] % 10 == 0).all()


def test_settings_of_unknown_stages_are_refused_before_any_work(tmp_path, capsys):
    assert (
        main(["two-stage-demo", "x", *arguments(tmp_path, training__stage_epochs="{sde: 3}")]) == 2
    )
    assert "Expected: some of sed, doa, seld. Received: sde" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_form_to_start_from_is_refused(folder, fold, capsys):
    start = f"{{sed: {fold / 'sed' / 'best.keras'}}}"
    options = arguments(
        folder, training__start_from=start, network__filters="[8]", network__also_joint="false"
    )
    assert main(["two-stage-demo", "other", *options]) == 2
    assert "The model to start from does not fit" in capsys.readouterr().err


def test_a_missing_start_model_is_named_with_the_setting(folder, capsys):
    options = arguments(
        folder, training__start_from="{sed: nowhere.keras}", network__also_joint="false"
    )
    assert main(["two-stage-demo", "nowhere", *options]) == 2
    assert re.search(
        r"nowhere\.keras.*Give another file in `training.start_from`", capsys.readouterr().err
    )


def test_an_evaluation_of_the_test_data_gives_the_scores_of_the_run(folder):
    check_own_scores(folder / "output" / "two-stage-demo_a")
