"""Systems of 2020 to 2025 on simulated moving scenes: trained, scored, reported, predicted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from common.cli.export import main as export
from common.cli.predict import main as predict
from common.data.pipeline import evaluation_stream
from common.data.selection import Selection
from common.inference.export import runner
from common.settings.tasks import check_task
from common.training.run_directory import read_settings
from common.training.stage_data import ModelInput
from seld.cli import main
from seld.experiment import Experiment
from seld.extraction import open_store
from seld.recordings.csv_formats import read_rows
from seld.recordings.lengths import frames_of_recordings
from seld.score import main as score_years
from tests.evaluations import check_own_scores
from tests.pages import check_scores, read_report
from tests.runs import task_of

ROOT = Path(__file__).parents[2]
SMALL = {
    "dataset.layout": "starss2024",
    "simulation.preset": "fixture",
    "simulation.recordings_per_split": "{1: 1, 2: 1, 3: 1, 4: 2}",
    "simulation.duration_s": "6.0",
    "pipeline.sequence_frames": "40",
    "pipeline.batch_size": "4",
    "training.epochs": "1",
    "parallel.jobs": "1",
}
ACCDOA = {
    "network.n_filters": "4",
    "network.pool_bands": "[8]",
    "network.pool_frames": "[2]",
    "network.gru_units": "[8]",
    "network.dense_units": "[8]",
}
EINV2 = {
    "network.filters": "[8]",
    "network.pool_frames": "[2]",
    "network.n_tracks": "2",
    "network.encoder_layers": "1",
    "network.encoder_units": "8",
}
SYSTEMS = {
    "multi-accdoa-demo": {
        **ACCDOA,
        "scoring.scorer": "dcase2024",
        "scoring.intervals": "true",
        "network.attention": "2023",
        "network.attention_layers": "1",
        "network.distance": "true",
        "network.end_activation": "linear",
        "training.augmentation": "foa_axes",
    },
    # Own recordings: free names and classes, in a list.
    "einv2-demo": {
        **EINV2,
        "features.n_mels": "16",
        "dataset.layout": "list",
        "dataset.classes": f"[{', '.join(f'own {number}' for number in range(13))}]",
        "simulate_missing_dataset": "false",
    },
}
DATASETS = {"multi-accdoa-demo": "scenes", "einv2-demo": "own"}


def arguments(folder: Path, task_id: str) -> list[str]:
    folders = {f"{name}_dir": str(folder / name) for name in ("feature", "output")}
    settings = {**SMALL, **SYSTEMS[task_id], **folders}
    settings["dataset_dir"] = str(folder / DATASETS[task_id])
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [*options, "--params", str(ROOT / "params.yaml")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("years")
    for task_id in SYSTEMS:
        assert main([task_id, "a", *arguments(folder, task_id)]) == 0
        if task_id == "multi-accdoa-demo":
            write_own(folder / "scenes", folder / "own")
    return folder


def write_own(scenes: Path, own: Path) -> None:
    """Lists the scenes as own recordings, with other names, next to their annotations."""
    (own / "at home").mkdir(parents=True)
    lines = ["filename,split,overlap"]
    for number, path in enumerate(sorted((scenes / "foa_dev").rglob("*.wav"))):
        labels = next((scenes / "metadata_dev").rglob(f"{path.stem}.csv"))
        copy = own / "at home" / f"take {number}.wav"
        shutil.copyfile(path, copy)
        shutil.copyfile(labels, copy.with_suffix(".csv"))
        lines.append(f"at home/{copy.name},{path.stem[4]},")
    (own / "recordings.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("task_id", SYSTEMS)
def test_a_run_has_the_scores_of_its_year_and_a_report(folder, task_id):
    run = folder / "output" / f"{task_id}_a"
    scores = json.loads((run / "scores.json").read_text())
    labels = [row["label"] for row in scores["rows"]]
    assert {"all", "split 4", "always silent", "labels of another recording"} <= set(labels)
    year = "dcase2024" if "multi" in task_id else "dcase2023"
    official = scores["rows"][0]["scores"][year]["macro"]
    assert 0 <= official["f"] <= 1
    assert ("relative_distance_error" in official) == (year == "dcase2024")
    history = (run / "fold1" / "seld" / "history.csv").read_text().splitlines()
    assert {"val_f", "val_er", "val_doa_error_deg", "val_map_macro"} <= set(history[0].split(","))
    page = read_report(run / "report.html")
    check_scores(page, run / "scores.json")
    assert ("Distance" in page.text) == (year == "dcase2024")
    assert ("In brackets: 95 % intervals" in page.text) == (year == "dcase2024")


@pytest.mark.parametrize("task_id", SYSTEMS)
def test_an_exported_model_is_decoded_as_in_the_test(folder, task_id, tmp_path):
    run = folder / "output" / f"{task_id}_a"
    assert export([str(run), "--format", "saved_model", "--out", str(tmp_path / "model")]) == 0
    experiment = Experiment.prepare(check_task(read_settings(run), "the run"))
    task, place = experiment.task, "fold1/submissions"
    (stage,) = experiment.system.stages(task)
    store, run_model = open_store(task, "dev"), runner(tmp_path / "model", "saved_model")
    n_frames = frames_of_recordings(store, task.dataset)
    stream = evaluation_stream(
        Selection.among([store], (4,)), ModelInput().sequence_format(stage), task.pipeline
    )
    for element in stream.as_numpy_iterator():
        name, used = element["name"].decode(), -(-int(element["frames"]) // stage.target_stride)
        outputs = run_model(element["features"].astype(np.float32))
        joined = {name: np.concatenate(list(each))[:used] for name, each in outputs.items()}
        hop_ratio = task.dataset.label_hop_s / task.features.hop_s
        rows = experiment.rows(joined, n_frames[name], hop_ratio)
        files = experiment.files
        stored = files.read(run / place / f"{name}.csv")
        np.testing.assert_allclose(files.as_written(rows), stored, atol=1e-3, equal_nan=True)


@pytest.mark.parametrize(
    ("task_id", "scorer", "reference"),
    [("multi-accdoa-demo", "dcase2024", "scenes/metadata_dev"), ("einv2-demo", "dcase2023", "own")],
)
def test_the_folder_of_submissions_gives_the_scores_of_the_run(
    folder, tmp_path, task_id, scorer, reference
):
    run = folder / "output" / f"{task_id}_a"
    places = [str(run / "fold1" / "submissions"), str(folder / reference)]
    options = ["--scorer", scorer, "--splits", "4", "--json", str(tmp_path / "s.json")]
    assert score_years([*places, *options]) == 0
    stored, again = (
        json.loads((place).read_text())["rows"][0]["scores"][scorer]
        for place in (run / "scores.json", tmp_path / "s.json")
    )
    assert again["macro"] == pytest.approx(stored["macro"], nan_ok=True)


def test_submission_files_hold_unit_vectors_and_distances_in_metres(folder):
    submissions = folder / "output" / "multi-accdoa-demo_a" / "fold1" / "submissions"
    files = sorted(submissions.glob("fold4_*.csv"))
    assert len(files) == 2
    rows = np.concatenate([read_rows(path, "submission2024", 13) for path in files])
    assert (rows[:, 5] >= 0).all()


@pytest.mark.parametrize("task_id", SYSTEMS)
def test_a_recording_is_predicted_as_in_the_test(folder, task_id, tmp_path):
    run = folder / "output" / f"{task_id}_a"
    submission = sorted((run / "fold1" / "submissions").glob("*.csv"))[0]
    name = submission.stem.removeprefix("at home_")
    audio = next((folder / DATASETS[task_id]).rglob(f"{name}.wav"))
    assert predict([str(run), str(audio), "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / f"{audio.stem}.json").read_text())
    columns = ["frame", "class", "azimuth_deg", "elevation_deg", "source"]
    columns += ["distance_m"] if "multi" in task_id else []
    assert found["columns"] == columns
    fmt = "submission2024" if "multi" in task_id else "submission2023"
    submitted = read_rows(submission, fmt, 13)
    rows = np.array(found["frames"]).reshape(-1, len(columns))
    np.testing.assert_allclose(rows[:, :4], submitted[:, :4], atol=0.011)
    assert all(event["offset"] > event["onset"] for event in found["events"])


@pytest.mark.parametrize(
    ("task_id", "settings"),
    [
        ("seldnet2020-foa", {"network__n_filters": 4}),
        ("seldnet2021-foa-published", {"network__n_filters": 4}),
        ("seldnet2024-foa-multi", {"network__n_filters": 4}),
        ("seldnet2025-stereo", {"network__n_filters": 4}),
        ("salsa-foa", {"network__filters": "[4, 4, 4, 4]", "network__gru_units": 4}),
    ],
)
def test_outputs_targets_and_rows_of_a_task_fit_together(task_id, settings, tmp_path):
    task = task_of(task_id, tmp_path, **settings)
    experiment = Experiment.prepare(task)
    (stage,) = experiment.system.stages(task)
    frames = 20 * stage.target_stride  # any number fits; those of sequences take longer
    features = np.random.default_rng(0).normal(size=(1, frames, *experiment.feature_shape(task)))
    outputs = stage.build((None, *features.shape[2:]))(features.astype(np.float32))
    events = np.array([[1, 0.3, 2.0, 40.0, 10.0, 2.0, 1.0, 0.0], [1, 1.0, 1.5, -90, 0, 1, 2, 0]])
    made, n_outputs = stage.event_targets, frames // stage.target_stride
    middles = stage.target_stride * np.arange(n_outputs) + stage.target_stride // 2
    targets = made.make(made.table(events, frames, True), middles)
    for name, loss in stage.losses.items():
        assert outputs[name].shape[1] == len(targets[name])
        assert 0 < float(loss(targets[name][None], outputs[name])) < 1000
    values = {name: np.asarray(output)[0] for name, output in outputs.items()}
    hop_ratio = task.dataset.label_hop_s / task.features.hop_s
    rows = experiment.rows(values, round(frames / hop_ratio), hop_ratio)
    assert rows.shape[1] == 7


@pytest.mark.parametrize("task_id", SYSTEMS)
def test_an_evaluation_of_the_test_data_gives_the_scores_of_the_run(folder, task_id):
    check_own_scores(folder / "output" / f"{task_id}_a")
