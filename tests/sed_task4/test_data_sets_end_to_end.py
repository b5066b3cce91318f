"""DESED with embeddings, alone (2023) and with MAESTRO's soft labels (2024): clips to reports."""

import csv
import json
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from common.cli.predict import main as predict
from common.cli.simulate import main as simulate
from sed_task4.cli import main
from sed_task4.clips.layouts import LAYOUTS
from tests.sed_task4.tiny_runs import arguments

OF_DESED, OF_MAESTRO = ("Dishes", "Speech"), ("car", "people talking", "shopping cart")
FRAMES, WIDTH = 5, 3  # of the made-up embeddings
NUMBERS = {
    "weak": 4,
    "unlabel_in_domain": 2,
    "synthetic21_train": 2,
    "synthetic21_validation": 2,
    "audioset_strong": 1,
    "validation": 3,
    "maestro_real_train": 12,
    "maestro_real_validation": 4,
}


def part(name, subset, labels, fraction=0.0):
    learned = f"labels: {labels}, clip_labels: {str(labels == 'weak').lower()}"
    return (
        f"{{name: {name}, subsets: [{subset}], batch_size: 1, {learned},"
        f" validation_fraction: {fraction}}}"
    )


PARTS = [
    part("strong", "synthetic21_train", "strong"),
    part("weak", "weak", "weak", 0.5),
    part("unlabelled", "unlabel_in_domain", "none"),
]
OF_2024 = [
    part("maestro", "maestro_real_train", "soft", 0.5),
    part("synthetic", "synthetic21_train", "strong"),
    part("strong", "audioset_strong", "strong"),
    *PARTS[1:],
]


def settings(folder, classes, parts):
    return {
        "seed": "1",  # recordings of this one have labels above one half in both halves
        "dataset.classes": f"[{', '.join(classes)}]",
        "dataset.clip_s": "2.0",
        "dataset.embeddings": f"{{folder: {folder}, width: {WIDTH}, frames: {FRAMES}}}",
        "simulation.sample_rate_hz": "16000",
        "simulation.clips_per_subset": str(NUMBERS).replace("'", ""),
        "sets.parts": f"[{', '.join(parts)}]",
        "features.n_mels": "16",
        "pipeline.sequence_frames": "126",
        "network.n_filters": "[2]",
        "network.pool_bands": "[8]",
        "network.pool_frames": "[4]",
        "network.gru_units": "[4]",
        "network.embedding_size": str(WIDTH),
        "training.epochs": "1",
        "training.schedule.fall_from_epoch": "0",
        "scoring.sed_eval": "false",
        "scoring.operating_points": "0",
    }


def write_embeddings(folder: Path, data: Path, layout: str) -> None:
    """Writes made-up embeddings of all clips: .npz files of windows, HDF5 of other subsets."""
    rng = np.random.default_rng(0)
    for subset, place in LAYOUTS[layout].items():
        bases = [data, data / place.also_below]
        paths = sorted(path for base in bases for path in (base / place.audio).glob("*.wav"))
        values = rng.normal(size=(len(paths), WIDTH, FRAMES)).astype(np.float32)
        (folder / subset).mkdir(parents=True, exist_ok=True)
        if place.kind == "soft":
            for path, each in zip(paths, values, strict=True):
                np.savez(folder / subset / f"{path.stem}.npz", frame_embeddings=each)
        elif paths:
            with h5py.File(folder / f"{subset}.hdf5", "w") as file:
                file["filenames"] = list(dict.fromkeys(path.name for path in paths))
                file["frame_embeddings"] = values[: len(file["filenames"])]


def run(folder: Path, task: str, layout: str, classes, parts) -> Path:
    options = arguments(folder, settings(folder / "embeddings", classes, parts))
    assert simulate([task, *options]) == 0
    write_embeddings(folder / "embeddings", folder / "dataset", layout)
    assert main([task, "a", *options]) == 0
    return folder / "output" / f"{task}_a"


@pytest.fixture(scope="module")
def of_2024(tmp_path_factory):
    """A finished run of the task of 2024 in a tiny form."""
    folder = tmp_path_factory.mktemp("maestro")
    return run(folder, "desed-2024", "desed2024", (*OF_DESED, *OF_MAESTRO), OF_2024)


def history_of(run):
    with open(run / "mean_teacher" / "history.csv", newline="") as file:
        return list(csv.DictReader(file))[-1]


def test_each_data_set_is_scored_with_its_own_classes(of_2024):
    scores = json.loads((of_2024 / "scores.json").read_text())
    assert scores["n_clips"] == NUMBERS["validation"] and scores["n_recordings"] == 2
    rows = {row["label"]: row for row in scores["rows"]}
    for label in ("mean_teacher", "mean_teacher, student", "always active"):
        assert list(rows[label]["classes"]) == list(OF_DESED)
        assert set(rows[label]["maestro"]) == set(OF_MAESTRO[:2])
        assert {"psds1", "maestro_best_f", "maestro_pauc"} <= rows[label]["scores"].keys()
    assert rows["always active"]["scores"]["maestro_auc"] == pytest.approx(0.5)
    text = (of_2024 / "scores.txt").read_text()
    assert "MAESTRO real, seconds of recordings" in text and "pAUC (chance 0.05)" in text
    assert "Classes of MAESTRO real: mean_teacher" in text


def test_the_model_is_chosen_by_all_kinds_of_labels(of_2024):
    found = {name: float(value) for name, value in history_of(of_2024).items() if value}
    names = "weak_macro_f", "intersection_macro_f", "maestro_best_f"
    assert found["val_weak_intersection_and_maestro_best_f"] == pytest.approx(
        sum(found[f"val_{name}"] for name in names)
    )
    assert "val_student_maestro_pauc" in found


def test_the_report_shows_both_data_sets(of_2024):
    page = (of_2024 / "report.html").read_text()
    assert "MAESTRO real, seconds of recordings" in page and "Classes of MAESTRO real" in page


def test_a_network_with_embeddings_predicts_no_recordings_of_its_own(of_2024, capsys):
    audio = next((of_2024.parents[1] / "dataset").rglob("*.wav"))
    assert predict([str(of_2024), str(audio)]) == 2
    assert "takes embeddings and valid_classes beside its features" in capsys.readouterr().err


def fit_without_steps(model, batches, callbacks, **options):
    """An epoch that only reads a batch, in place of `keras.Model.fit`."""
    joined = keras.callbacks.CallbackList(callbacks, model=model, epochs=1, steps=1)
    joined.on_train_begin()
    joined.on_epoch_begin(0)
    inputs, _ = next(iter(batches))
    assert inputs["embeddings"].shape == (len(PARTS), FRAMES, WIDTH)
    joined.on_epoch_end(0, {"loss": 1.0})
    joined.on_train_end()


@pytest.fixture
def quick(monkeypatch):
    """No steps, which take most of the time, and no report: the run of 2024 has both."""
    monkeypatch.setattr("common.reports.run.report_finished_run", lambda folder, task: None)
    monkeypatch.setattr(keras.Model, "fit", fit_without_steps)


def test_the_task_of_2023_runs_with_embeddings(tmp_path, quick):
    found = run(tmp_path, "desed-2023-embeddings", "desed2021", OF_DESED, PARTS)
    rows = json.loads((found / "scores.json").read_text())["rows"]
    assert [row["label"] for row in rows if row["group"] == "system"][::2] == [
        "mean_teacher",
        "mean_teacher, student",
    ]
    assert "psds1" in rows[0]["scores"] and "maestro" not in rows[0]
    assert "val_weak_and_intersection_f" in history_of(found)
