"""The CNN from simulated clips to tables of scores, by the programs themselves."""

import json

import keras
import pytest

from common.cli.simulate import main as simulate
from sed_task4.cli import main
from sed_task4.score import main as score
from tests.evaluations import check_own_scores
from tests.sed_task4.tiny_runs import CNN, arguments

SYNTHETIC = {"sets.train": "synthetic", "sets.statistics": "[synthetic]"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with simulated clips, and the runs and features of all tests here."""
    folder = tmp_path_factory.mktemp("cnn")
    assert simulate(["cnn9-demo", *arguments(folder, CNN)]) == 0
    return folder


@pytest.fixture(scope="module")
def weak(folder):
    """A run that learned from the tags of a few strongly labelled clips, stored as audio."""
    few = {
        "dataset.max_clips": "4",
        "sets.validate_on": "validation",
        "training.batches_per_pass": "1",
    }
    changes = {"features.frontend": "device", "network.strong_training": "false"}
    settings = CNN | SYNTHETIC | few | changes
    assert main(["cnn9-demo", "weak", *arguments(folder, settings)]) == 0
    return folder / "output" / "cnn9-demo_weak"


@pytest.fixture(scope="module")
def strong(folder):
    """A run that learned from the events of the clips, stored as features."""
    settings = CNN | SYNTHETIC | {"network.strong_training": "true", "scoring.score_files": "true"}
    assert main(["cnn9-demo", "strong", *arguments(folder, settings)]) == 0
    return folder / "output" / "cnn9-demo_strong"


@pytest.mark.parametrize("labels", ["weak", "strong"])
def test_the_cnn_learns_from_weak_and_strong_labels(labels, request):
    run = request.getfixturevalue(labels)
    first = json.loads((run / "scores.json").read_text())["rows"][0]
    assert first["label"] == "cnn" and 0 <= first["scores"]["map"] <= 1
    assert len((run / "cnn" / "history.csv").read_text().splitlines()) == 3


def test_a_few_clips_train_and_log_the_training_f(weak):
    header = (weak / "cnn" / "history.csv").read_text().splitlines()[0].split(",")
    assert {"clip_macro_f", "val_clip_macro_f", "val_map"} <= set(header)
    assert json.loads((weak / "scores.json").read_text())["n_clips"] == 4


def test_the_cnn_learns_from_audio(weak):
    assert 0 <= json.loads((weak / "scores.json").read_text())["rows"][0]["scores"]["map"] <= 1
    assert (weak / "clip.png").stat().st_size
    model = keras.saving.load_model(weak / "cnn" / "best.keras", compile=False)
    assert model.inputs[0].dtype == "int16"


def test_score_files_of_a_run_have_its_psds(strong, folder, tmp_path):
    (truth,) = (folder / "dataset").rglob("validation.tsv")
    places = [str(strong / "cnn" / "scores"), str(truth), "--json", str(tmp_path / "s.json")]
    assert score([*places, "--no-strict"]) == 0
    found = json.loads((tmp_path / "s.json").read_text())["rows"][0]["scores"]
    wanted = json.loads((strong / "scores.json").read_text())["rows"][0]["scores"]
    for name in ("psds1", "psds2", "best_f"):
        assert found[name] == pytest.approx(wanted[name]), name


def test_the_cnn_learns_from_weakly_labelled_clips(folder):
    few = {"training.batches_per_pass": "1", "training.epochs": "1"}
    assert main(["cnn9-demo", "tags", *arguments(folder, CNN | few)]) == 0
    scores = json.loads((folder / "output" / "cnn9-demo_tags" / "scores.json").read_text())
    assert 0 <= scores["rows"][0]["scores"]["map"] <= 1


def test_a_subset_that_is_learned_from_cannot_be_tested_on(tmp_path, capsys):
    assert main(["cnn9-demo", "a", *arguments(tmp_path, {"sets.test": "[weak]"})]) == 2
    assert "must not name a subset to train on" in capsys.readouterr().err


def test_an_unknown_subset_lists_the_known_ones(tmp_path, capsys):
    assert (
        main(["cnn9-demo", "a", *arguments(tmp_path, {"sets.train": "unlabel_out_of_domain"})]) == 2
    )
    assert (
        "the layout dcase2019 does not have: unlabel_out_of_domain. Expected: some of weak"
        in capsys.readouterr().err
    )


PARTS = (
    "[{name: weak, subsets: [weak], batch_size: 1, labels: weak, validation_fraction: 0.4},"
    " {name: unlabelled, subsets: [unlabel_in_domain], batch_size: 2, labels: none},"
    " {name: strong, subsets: [synthetic], batch_size: 2, labels: strong,"
    " validation_fraction: 0.3}]"
)


def test_a_system_trains_on_batches_of_parts(folder, capsys):
    few = {"training.epochs": "1", "training.iterations_per_epoch": "null"}
    parts = {"sets.parts": PARTS, "sets.epoch_part": "strong"}
    both = {"sets.statistics": "[weak, synthetic, unlabel_in_domain]"}
    assert main(["cnn9-demo", "parts", *arguments(folder, CNN | few | parts | both)]) == 0
    run = folder / "output" / "cnn9-demo_parts"
    held_out = json.loads((run / "validation_split.json").read_text())
    assert {subset: len(names) for subset, names in held_out.items()} == {"weak": 2, "synthetic": 2}
    finished = json.loads((run / "cnn" / "training.json").read_text())
    assert finished["iterations_per_epoch"] == 2  # four clips, two in each batch


def test_an_evaluation_of_the_test_data_gives_the_scores_of_the_run(strong):
    check_own_scores(strong)
