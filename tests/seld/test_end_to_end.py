"""From simulated recordings to scores, with the commands."""

import csv
import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from common.cli.evaluate import main as evaluate
from common.cli.extract import main as extract
from common.cli.report import main as report
from common.cli.simulate import main as simulate
from seld.cli import main
from seld.score import main as score_main
from tests.browser import BROWSER, NO_BROWSER, check_layout
from tests.evaluations import check_own_scores, first_scores
from tests.histories import history_rows
from tests.pages import check_scores, read_report

ROOT = Path(__file__).parents[2]
KEYS = ["--set", "dataset.class_map={Keys: keysDrop}"]
FEW = "{0: 2, 1: 1, 2: 1, 3: 1, 4: 1}"  # recordings of each split
SMALL = {
    "simulation.preset": "fixture",
    "dataset.recording_s": "6.0",
    "dataset.classes": "[knock, keysDrop, speech]",
    "network.n_filters": "4",
    "network.pool_bands": "[8]",
    "network.pool_frames": "[5]",
    "network.gru_units": "[]",
    "network.dense_units": "[8]",
    "pipeline.sequence_frames": "50",
    "pipeline.batch_size": "4",
    "training.epochs": "2",
    "parallel.jobs": "1",  # a process more takes longer to start than this work
}


def arguments(folder: Path, **changes: str) -> list[str]:
    folders = {f"{name}_dir": str(folder / name) for name in ("dataset", "feature", "output")}
    settings = {
        **SMALL,
        **folders,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [*options, "--params", str(ROOT / "params.yaml")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one finished run of the demo in a tiny form."""
    folder = tmp_path_factory.mktemp("run")
    assert main(["demo", "a", *arguments(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def run(folder):
    return folder / "output" / "demo_a"


def test_one_command_simulates_extracts_trains_and_scores(folder, run):
    assert len(list((folder / "dataset" / "foa_dev").glob("*.wav"))) == 8
    scores = json.loads((run / "scores.json").read_text())
    labels = [row["label"] for row in scores["rows"]]
    assert {
        "all",
        "overlap 1",
        "overlap 2",
        "room 0",
        "always silent",
        "published, TAU 2019 FOA",
    } <= set(labels)
    assert all(
        0 <= scores["rows"][0]["scores"]["dcase2019"][name] <= 2
        for name in ("er", "f", "frame_recall")
    )
    assert (
        "dcase2019" in (run / "scores.txt").read_text()
        and "corrected" in (run / "scores.txt").read_text()
    )


def test_a_run_keeps_its_command_and_settings(run):
    environment = json.loads((run / "environment.json").read_text())
    assert environment["versions"]["keras"] == keras.__version__ and environment["python"]
    assert "epochs: 2" in (run / "settings.yaml").read_text()


def test_a_fold_leaves_weights_logs_curves_figures_and_submissions(run):
    fold = run / "fold1"
    for name in (
        "seld/best.keras",
        "seld/history.csv",
        "seld/curves.png",
        "seld/training.json",
        "recording.png",
    ):
        assert (fold / name).stat().st_size > 0, name
    assert any((fold / "seld" / "tensorboard").rglob("events.out.tfevents*"))
    assert len(list((fold / "submissions").glob("split4_*.csv"))) == 2
    with (fold / "seld" / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {
        "val_er",
        "val_f",
        "val_doa_error_deg",
        "val_frame_recall",
        "val_seld_error",
        "val_loss",
    } <= set(rows[0])


def test_the_folder_of_submissions_gives_the_same_table(folder, run, tmp_path):
    places = [str(run / "fold1" / "submissions"), str(folder / "dataset" / "metadata_dev")]
    options = ["--splits", "4", "--json", str(tmp_path / "scores.json"), "--task", "demo"]
    assert score_main([*places, *options, *arguments(folder)]) == 0
    stored, made_now = (
        json.loads((place / "scores.json").read_text()) for place in (run, tmp_path)
    )
    assert made_now["rows"] == stored["rows"] and made_now["counts"] == stored["counts"]


def test_the_saved_model_loads_in_safe_mode_for_raw_features(run):
    model = keras.saving.load_model(
        run / "fold1" / "seld" / "best.keras", safe_mode=True, compile=False
    )
    loud = np.full((1, 10, 64, 7), 40.0, np.float32)
    outputs = model.predict_on_batch(loud)
    assert outputs["sed"].shape == (1, 2, 3) and outputs["doa"].shape == (1, 2, 9)
    assert np.isfinite(outputs["doa"]).all()


def test_the_same_ids_again_only_print_the_same_table(folder, run, capsys):
    before = {path: path.stat().st_mtime_ns for path in (run / "fold1" / "seld").glob("*")}
    assert main(["demo", "a", *arguments(folder)]) == 0
    assert (run / "scores.txt").read_text().strip() in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (run / "fold1" / "seld").glob("*")} == before


def test_the_report_has_all_scores_and_best_and_worst_recordings(run):
    page = read_report(run / "report.html")
    check_scores(page, run / "scores.json")
    assert "best of 2" in page.text and "worst" in page.text
    assert all(
        name in page.text
        for name in ("demo_a", "learning_rate", "Azimuth", "Elevation", "keysDrop")
    )
    assert len(page.named("audio")) == len(page.pictures()) == 2
    directions = [path["d"] for path in page.named("path") if path["class"] == "wide"]
    assert len(directions) >= 4 and all(
        directions
    )  # azimuth and elevation of a class of each recording, at least


def test_a_report_made_again_names_missing_files(folder, run, capsys):
    gone = ["--set", f"dataset_dir={folder / 'gone'}"]
    before = (run / "scores.json").read_bytes()
    assert report([str(run), *gone]) == 0
    assert str(run / "report.html") in capsys.readouterr().out
    page = read_report(run / "report.html")
    assert "is not in the dataset's folder any more" in page.text
    assert not page.named("audio") and len(page.pictures()) == 2
    assert report([str(run), *gone, "--set", f"feature_dir={folder / 'gone'}"]) == 0
    page = read_report(run / "report.html")
    assert (
        "cannot be shown. No features in" in page.text and not page.pictures()
    )  # the learning curves
    check_scores(page, run / "scores.json")
    assert report([str(run)]) == 0 and (run / "scores.json").read_bytes() == before


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_the_report_fits_desktop_and_phone_without_browser_errors(run, tmp_path):
    check_layout(run / "report.html", tmp_path)


def test_the_same_ids_with_other_settings_are_refused(folder, capsys):
    assert main(["demo", "a", *arguments(folder, training__epochs="1")]) == 2
    message = capsys.readouterr().err
    assert "training.epochs: 2 there, 1 now" in message and "another job id" in message


def test_the_same_seed_gives_the_same_scores(folder, run):
    assert main(["demo", "twin", *arguments(folder)]) == 0
    twin = folder / "output" / "demo_twin"
    assert history_rows(twin / "fold1" / "seld") == history_rows(run / "fold1" / "seld")
    assert (twin / "scores.json").read_text() == (run / "scores.json").read_text()


def test_features_of_other_settings_are_refused_with_both_values(folder, capsys):
    assert main(["demo", "b", *arguments(folder, features__n_mels="32")]) == 2
    message = capsys.readouterr().err
    assert "n_mels" in message and "64" in message and "32" in message


def test_pools_that_do_not_divide_the_bands_are_refused(tmp_path, capsys):
    assert main(["demo", "a", *arguments(tmp_path, network__pool_bands="[5]")]) == 2
    assert "`network.pool_bands` must divide the bands" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_missing_dataset_is_named_with_the_remedy(tmp_path, capsys):
    assert main(["1", "a", *arguments(tmp_path)]) == 2
    assert "no recordings in" in capsys.readouterr().err


@pytest.mark.parametrize("job_id", ["a/b", " ", "../x"])
def test_a_job_id_that_cannot_name_a_folder_is_refused(job_id, tmp_path, capsys):
    assert main(["demo", job_id, *arguments(tmp_path)]) == 2
    assert "job id" in capsys.readouterr().err


def test_the_published_form_predicts_the_evaluation_set_of_microphones_without_labels(
    tmp_path, capsys
):
    options = arguments(
        tmp_path,
        network__gru_units="[6]",
        training__epochs="1",
        simulation__recordings_per_split=FEW,
        training__passes_per_epoch="1",
    )
    assert simulate(["3-published", *options]) == 0
    for path in (tmp_path / "dataset" / "metadata_eval").glob("*.csv"):
        path.unlink()
    (tmp_path / "dataset" / "metadata_eval").rmdir()
    assert extract(["3-published", *options]) == 0
    assert main(["3-published", "a", *options]) == 0
    assert "no labels" in capsys.readouterr().out
    run = tmp_path / "output" / "3-published_a"
    page = read_report(run / "report.html")
    assert "There are no scores" in page.text and len(page.named("audio")) == 2
    assert len(list((run / "evaluation" / "submissions").glob("split0_*.csv"))) == 2


def test_an_evaluation_of_the_test_data_gives_the_scores_of_the_run(folder, run, tmp_path):
    store = folder / "feature"
    store.rename(tmp_path / "feature")  # the features are computed anew, and removed
    try:
        found = check_own_scores(run)
    finally:
        (tmp_path / "feature").rename(store)
    assert not (found / "features").exists()


@pytest.fixture(scope="module")
def others(folder, tmp_path_factory):
    """Folders of the recordings with other names of classes, and at half the sample rate."""
    renamed, slow = (tmp_path_factory.mktemp(name) for name in ("renamed", "slow"))
    shutil.copytree(folder / "dataset", renamed, dirs_exist_ok=True)
    for path in renamed.rglob("*.csv"):
        path.write_text(path.read_text().replace("keysDrop", "Keys"))
    shutil.copytree(renamed, slow, dirs_exist_ok=True)
    for path in slow.rglob("*.wav"):
        audio, rate_hz = soundfile.read(path)
        soundfile.write(path, resample_poly(audio, 1, 2), rate_hz // 2)
    return {"renamed": renamed, "slow": slow}


def test_recordings_of_another_class_list_are_scored_as_mapped(run, others, caplog):
    caplog.set_level("INFO")
    place = f"dataset_dir={others['renamed']}"
    assert evaluate([str(run), "--name", "all", "--set", place, "--splits", "4", *KEYS]) == 0
    own, found = first_scores(run), first_scores(run / "evaluations" / "all")
    assert found == own
    none = ["--set", "dataset.class_map={Keys: null}"]
    assert evaluate([str(run), "--name", "none", "--set", place, "--splits", "4", *none]) == 0
    assert "of classes that `dataset.class_map` leaves out" in caplog.text
    assert first_scores(run / "evaluations" / "none")["scores"] != own["scores"]


def test_recordings_of_another_rate_are_resampled_and_compared(run, others, capsys):
    both = [part for name in others for part in ("--data", f"{name}={others[name]}")]
    rates = ["--set", "dataset.sample_rate_hz=24000"]
    assert evaluate([str(run), *both, *KEYS, *rates]) == 2
    assert "48000 Hz" in capsys.readouterr().err
    slow = ["--data", f"slow={others['slow']}"]
    assert evaluate([str(run), *slow, *KEYS, *rates]) == 0
    assert first_scores(run / "evaluations" / "slow")["n_recordings"] == 8  # of all splits
    assert evaluate([str(run), *both[:2], "--data", f"again={others['renamed']}", *KEYS]) == 0
    table = capsys.readouterr().out.split("Results: ")[-1].splitlines()[2:]
    assert [line.split()[0] for line in table] == ["run", "renamed", "again"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "crnn-demo"], "Expected: a dataset of the family of"),
        (["--set", "training.epochs=1"], "--set training: the run keeps the settings"),
        (["--splits", "1"], "--splits 1: the run has learned from them"),
        (["--fold", "fold9"], "--fold: expected one of fold1"),
        (["--set", "dataset_dir=nowhere"], "There are no recordings in nowhere/"),
        (["--set", "dataset.classes=[knock, bell]"], "no class of `classes` for 'bell'"),
        (["--name", "a/b"], "--name: expected the name of a folder"),
        (["--data", "here"], "--data expects NAME=DIR"),
    ],
)
def test_an_evaluation_that_cannot_be_is_refused_before_work(run, options, message, capsys):
    before = sorted(run.rglob("*"))
    assert evaluate([str(run), *options]) == 2
    assert message in capsys.readouterr().err
    assert sorted(run.rglob("*")) == before


def copied(run: Path, job: str, *left_out: str) -> Path:
    """Copies a run without some files, to be gone on with or evaluated."""
    copy = run.with_name(f"demo_{job}")
    return shutil.copytree(run, copy, ignore=shutil.ignore_patterns("evaluations", *left_out))


def test_a_run_without_an_epoch_is_not_evaluated(run, capsys):
    copy = copied(run, "empty", "training.json", "resume")
    assert evaluate([str(copy)]) == 2
    assert "holds no finished training, and no epoch" in capsys.readouterr().err
    assert not (copy / "evaluations").exists()


def test_a_run_in_training_is_evaluated_by_its_best_model_so_far(run, capsys):
    copy = copied(run, "training", "training.json", "scores.*")
    assert evaluate([str(copy), "--name", "so_far"]) == 0
    best = json.loads((run / "fold1" / "seld" / "training.json").read_text())["best_epoch"]
    said = f"run is in training: best model after epoch 2 of 2, that of epoch {best}"
    table = capsys.readouterr().out
    assert f"fold1/seld: {said}." in table
    found, scored = (each / "scores.json" for each in (copy / "evaluations" / "so_far", run))
    rows = [json.loads(path.read_text())["rows"] for path in (found, scored)]
    assert rows[0] == rows[1], "here it is the model that the run scored at its end"
    assert evaluate([str(copy), "--checkpoint", "7"]) == 2
    assert "keeps no model of epoch 7. Expected: best (epoch" in capsys.readouterr().err


def test_a_run_that_goes_on_is_scored_again(folder, run):
    copy = copied(run, "longer")
    assert main(["demo", "longer", *arguments(folder, training__epochs="3")]) == 0
    assert len(history_rows(copy / "fold1" / "seld")) == 3
    assert history_rows(copy / "fold1" / "seld")[:2] == history_rows(run / "fold1" / "seld")
    assert (copy / "earlier-scores.json").read_bytes() == (run / "scores.json").read_bytes()
    assert first_scores(copy)["scores"] and "epochs: 3" in (copy / "settings.yaml").read_text()
    assert "training.epochs: 2 there, 3 now" in read_report(copy / "report.html").text


def test_a_stopped_run_that_shall_end_is_scored_with_a_note(folder, run):
    copy = copied(run, "ended", "training.json", "scores.*")
    options = arguments(folder, training__epochs="9")
    assert main(["demo", "ended", "--finish", *options]) == 0
    note = "fold1/seld: stopped after epoch 2 of 9 on request"
    scores = json.loads((copy / "scores.json").read_text())
    assert f"{note}." in scores["notes"]
    assert scores["rows"] == json.loads((run / "scores.json").read_text())["rows"]
    assert note in read_report(copy / "report.html").text
    check_own_scores(copy)


@pytest.fixture(scope="module")
def device(folder):
    """A run on the same recordings whose model computes the features."""
    settings = {
        "features__frontend": "device",
        "training__augmentation": "foa_rotation",
        "training__epochs": "1",
    }
    assert main(["demo", "device", *arguments(folder, **settings)]) == 0
    return folder / "output" / "demo_device"


def test_a_model_with_a_frontend_learns_from_rotated_audio(folder, device):
    assert json.loads((device / "scores.json").read_text())["rows"][0]["n_recordings"] == 2
    fold = device / "fold1"
    assert (fold / "features.png").stat().st_size and (fold / "recording.png").stat().st_size
    store = folder / "feature" / "foa_dev_logmel_intensity_audio"
    # a recording of 6 s and 3 pieces of context, 4 channels of 16 bits
    assert (store / "split1_ir0_ov1_1.tfrecord").stat().st_size == pytest.approx(
        303 * 960 * 8, rel=0.02
    )
    model = keras.saving.load_model(fold / "seld" / "best.keras", safe_mode=True, compile=False)
    audio = np.random.default_rng(0).integers(-3000, 3000, (1, 12 * 960, 4)).astype(np.int16)
    assert model.predict_on_batch(audio)["sed"].shape == (1, 2, 3)


def test_extraction_and_model_have_the_same_feature_statistics(folder, device):
    stores = [folder / "feature" / f"foa_dev_logmel_intensity{suffix}" for suffix in ("", "_audio")]
    with (
        np.load(stores[0] / "statistics.npz") as one,
        np.load(stores[1] / "statistics.npz") as other,
    ):
        assert one.files == other.files and len(one.files)
        assert all(np.array_equal(one[name], other[name]) for name in one.files)
