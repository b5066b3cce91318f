"""From simulated sounds to tables of scores and separated sounds, by the programs themselves."""

import json
import shutil
from pathlib import Path

import pytest
import soundfile

from common.cli.evaluate import main as evaluate
from common.cli.extract import main as extract
from sed_task4.segmentation.cli import main
from sed_task4.segmentation.dataset import Mixture, MixtureEvent
from sed_task4.segmentation.experiment import example_names
from sed_task4.segmentation.segmenter import main as separate
from tests.browser import BROWSER, NO_BROWSER, check_layout
from tests.evaluations import check_own_scores, first_scores
from tests.pages import check_scores, read_report

ROOT = Path(__file__).parents[3]
SMALL = {
    "simulation.preset": "fixture",
    "dataset.classes": "[Bark, Knock, Meow]",
    "dataset.clip_s": "3.0",
    "dataset.events_per_mixture": "1",
    "dataset.mixtures_per_fold": "4",
    "dataset.n_folds": "3",
    "folds": (
        "[{name: fold1, train: [2], validate_on: [3], test: [1]}, {name: fold2, train: [3],"
        " validate_on: [], test: [2]}]"
    ),
    "pipeline.sequence_frames": "45",
    "pipeline.batch_size": "2",
    "network.filters": "[2, 2, 2, 2]",
    "network.compared": "[gap]",
    "training.epochs": "1",
    "training.iterations_per_epoch": "2",
    "training.training_recordings": "2",
    "parallel.jobs": "1",
}


def arguments(folder: Path, settings: dict[str, str] | None = None) -> list[str]:
    folders = {f"{name}_dir": str(folder / name) for name in ("dataset", "feature", "output")}
    chosen = SMALL | folders | (settings or {})
    options = [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    return [*options, "--params", str(ROOT / "params.yaml")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a finished run of the demo in a tiny form, two folds of two poolings."""
    folder = tmp_path_factory.mktemp("segmentation")
    assert main(["segmentation-demo", "a", *arguments(folder)]) == 0
    return folder


def test_each_pooling_of_each_fold_leaves_model_history_and_events(folder):
    for fold in ("fold1", "fold2"):
        for pooling in ("gwrp", "gap"):
            place = folder / "output" / "segmentation-demo_a" / fold / pooling
            assert (
                (place / "events.tsv")
                .read_text()
                .startswith("filename\tonset\toffset\tevent_label")
            )
            header, *rows = (place / "history.csv").read_text().splitlines()
            wanted = {
                f"{kind}_{name}"
                for kind in ("train", "val")
                for name in ("loss", "map", "auc", "clip_macro_f")
            }
            assert wanted <= set(header.split(",")) and len(rows) == 1
            assert (place / "best.keras").exists() and (place / "curves.png").stat().st_size


def test_the_tables_average_folds_next_to_baselines(folder):
    run = folder / "output" / "segmentation-demo_a"
    scores = json.loads((run / "scores.json").read_text())
    labels = [row["label"] for row in scores["rows"]]
    assert labels[:2] == ["gwrp", "gap"] and {
        "all classes everywhere",
        "true times, all bands",
    } <= set(labels)
    assert scores["n_clips"] == 8
    assert json.loads((run / "fold1" / "scores.json").read_text())["n_clips"] == 4
    assert {"tag_ap", "sed_f", "mask_f", "gain_db"} <= set(scores["rows"][0]["scores"])
    text = (run / "scores.txt").read_text()
    assert "Tagging" in text and "Separation" in text


def test_a_test_clip_of_each_fold_is_separated_and_drawn(folder):
    for fold in ("fold1", "fold2"):
        (place,) = (folder / "output" / "segmentation-demo_a" / fold / "separated").iterdir()
        assert all(
            (place / f"{name}.png").stat().st_size
            for name in ("mixture", "masks", "curves", "separated")
        )
        sounds = {path.stem: soundfile.info(path) for path in place.glob("*.wav")}
        assert "mixture" in sounds and len(sounds) >= 2
        assert {info.frames for info in sounds.values()} == {96000}


def test_the_report_holds_every_score_masks_and_separated_sounds(folder):
    run = folder / "output" / "segmentation-demo_a"
    page = read_report(run / "report.html")
    check_scores(page, run / "scores.json")
    masks = [image["alt"] for image in page.named("img") if image["alt"].startswith("Mask of ")]
    assert "best of 8" in page.text and set(masks) <= {
        f"Mask of {name}" for name in ("Bark", "Knock", "Meow")
    }
    assert len(masks) >= 6  # one for each class of each of the six clips
    assert len(page.named("audio")) >= 6 + 4  # and each example's mixture and one class at least


@pytest.mark.skipif(BROWSER is None, reason=NO_BROWSER)
def test_the_report_fits_desktop_and_phone_without_browser_errors(folder, tmp_path):
    check_layout(folder / "output" / "segmentation-demo_a" / "report.html", tmp_path)


def test_finished_poolings_are_not_trained_again(folder, capsys):
    run = folder / "output" / "segmentation-demo_a"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.keras")}
    scores = (run / "scores.txt").read_text()
    assert main(["segmentation-demo", "a", *arguments(folder)]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.keras")} == before
    assert scores.strip() in capsys.readouterr().out


def test_a_run_separates_any_recording(folder, tmp_path):
    recording = tmp_path / "mine.wav"
    soundfile.write(
        recording, 0.1 * soundfile.read(next(folder.rglob("audio_train/*.wav")))[0], 22050
    )
    run = folder / "output" / "segmentation-demo_a"
    assert (
        separate([str(run), str(recording), "--classes", "Bark", "--out", str(tmp_path / "out")])
        == 0
    )
    written = {path.name for path in (tmp_path / "out" / "mine").iterdir()}
    assert {"Bark.wav", "events.tsv", "masks.npz"} <= written


def test_extraction_mixes_missing_mixtures_and_keeps_the_others(folder):
    mixtures = sorted((folder / "dataset").rglob("mixed_audios/*/*.wav"))
    assert len(mixtures) == 12
    kept = mixtures[1].stat().st_mtime_ns
    content = mixtures[0].read_bytes()
    mixtures[0].unlink()
    assert extract(["segmentation-demo", *arguments(folder)]) == 0
    assert mixtures[0].read_bytes() == content and mixtures[1].stat().st_mtime_ns == kept


def test_the_clips_with_the_most_different_classes_are_shown():
    def mixture(name: str, *labels: str) -> Mixture:
        events = tuple(MixtureEvent("a.wav", label, 0.0, 1.0) for label in labels)
        return Mixture(name, 1, Path(name), "park.wav", events)

    mixtures = [
        mixture("b", "Bark", "Meow"),
        mixture("c", "Bark", "Bark"),
        mixture("a", "Meow", "Bark"),
    ]
    assert example_names(mixtures, 2) == ["a", "b"]
    assert example_names(mixtures, 0) == []


def test_segmentation_learns_from_audio_and_separates_as_from_features(folder, tmp_path):
    settings = {
        "folds": "[{name: fold1, train: [2], validate_on: [], test: [1]}]",
        "features.frontend": "device",
        "network.compared": "[]",
    }
    assert main(["segmentation-demo", "device", *arguments(folder, settings)]) == 0
    run = folder / "output" / "segmentation-demo_device"
    assert json.loads((run / "scores.json").read_text())["rows"]
    recording = next((folder / "dataset").rglob("mixed_audios/**/*.wav"))
    assert (
        separate([str(run), str(recording), "--out", str(tmp_path / "out"), "--classes", "Bark"])
        == 0
    )
    assert next((tmp_path / "out").rglob("Bark.wav")).stat().st_size


def test_an_evaluation_of_the_test_data_gives_the_scores_of_the_run(folder):
    found = check_own_scores(folder / "output" / "segmentation-demo_a")
    assert "No masks" not in read_report(found / "report.html").text


def test_one_fold_or_the_mean_of_all_predicts_other_mixtures(folder, tmp_path):
    run = folder / "output" / "segmentation-demo_a"
    shutil.copytree(folder / "dataset", tmp_path / "copy")
    place = ["--set", f"dataset_dir={tmp_path / 'copy'}", "--splits", "1"]
    assert evaluate([str(run), *place, "--name", "one", "--fold", "fold1"]) == 0
    assert evaluate([str(run), *place, "--name", "mean"]) == 0
    one, mean = (first_scores(run / "evaluations" / name) for name in ("one", "mean"))
    assert one == first_scores(run / "fold1") != mean
