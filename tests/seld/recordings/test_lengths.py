"""Padding is never scored: by run, report, score command, validation, baselines and figures."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml

from common.audio.stream import FileSource
from common.cli.predict import load_predictor
from common.inference.outputs import predict_file
from common.io.files import load_json, write_json
from common.settings.tasks import check_task
from common.training.evaluation import Prediction
from common.training.system import Stage
from seld import report as seld_report
from seld.cli import main
from seld.dataset import DatasetConfig, Events
from seld.extraction import open_store, place_of, run, store_folder
from seld.figures import overlap_shares, read_lengths, read_metadata
from seld.metrics.dcase2019 import DEFINITIONS
from seld.recordings.lengths import frames_of_recordings
from seld.score import main as score_main
from seld.score import score_folder
from seld.scores.scoring import scoring_of
from seld.submission import SUBMISSIONS, submission_files, write_submission
from seld.validation import ValidationScorer
from tests.runs import PARAMS, SELDNET

RATE = 16000
HEADER = "sound_event_recording,start_time,end_time,ele,azi,dist\n"
SECONDS = {"a": 2.0, "b": 2.4, "c": 1.83, "d": 0.5, "e": 1.999, "f": 2.009}
FRAMES = {"a": 100, "b": 120, "c": 92, "d": 25, "e": 100, "f": 101}


def write_office(folder: Path, seconds=SECONDS, past_s: float = 0.0, suffix: str = ".wav") -> Path:
    """Recordings of two channels in splits 1, 2, 3, 3 ..., each with one event from its beginning
    to its end."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = "filename,split,overlap\n"
    for number, (name, length) in enumerate(seconds.items()):
        audio = np.random.default_rng(number).normal(0, 0.1, (round(length * RATE), 2)).clip(-1, 1)
        soundfile.write(folder / f"{name}{suffix}", audio, RATE)
        (folder / f"{name}.csv").write_text(
            f"{HEADER}kettle,0,{length + past_s},0,{10 * number},1\n"
        )
        listed += f"{name}{suffix},{min(number + 1, 3)},1\n"
    (folder / "recordings.csv").write_text(listed)
    return folder


def settings_of(folder: Path, recording_s: float, **changes) -> dict:
    settings = yaml.safe_load(PARAMS.read_text())["tasks"]["seldnet-foa"]
    settings["dataset"] |= {
        "format": "mic",
        "classes": ["kettle", "door"],
        "sample_rate_hz": RATE,
        "channels": 2,
        "recording_s": recording_s,
    } | changes
    settings["features"] |= {"n_fft": 1024}
    settings["network"] |= {
        name.removeprefix("network."): yaml.safe_load(str(each)) for name, each in SELDNET.items()
    } | {"pool_bands": [64], "pool_frames": [1], "gru_units": []}
    settings["training"] |= {"epochs": 1, "passes_per_epoch": 1}
    return settings | {
        "description": "own",
        "published": None,
        "dataset_dir": str(folder / "data"),
        "parallel": {"jobs": 1},
        "feature_dir": str(folder / f"features_{recording_s}"),
        "output_dir": str(folder / f"runs_{recording_s}"),
        "folds": [{"name": "only", "train": [1], "validate_on": [2], "test": [3]}],
        "pipeline": {"sequence_frames": 50, "batch_size": 2},
    }


def task_of(folder: Path, recording_s: float, **changes):
    return check_task(settings_of(folder, recording_s, **changes), "test")


def silent(folder: Path, names) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.csv").write_text("")
    return folder


@pytest.mark.parametrize("recording_s", [2.0, 6.0, 60.0])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_silence_has_no_frame_recall_whatever_recordings_are_padded_to(
    tmp_path, recording_s, suffix
):
    data = write_office(tmp_path / "data", suffix=suffix)
    dataset = task_of(tmp_path, recording_s).dataset
    report = score_folder(silent(tmp_path / "none", SECONDS), data, dataset)
    for definition in DEFINITIONS:
        assert report.score(definition, "frame_recall") == 0.0
        assert report.score(definition, "frame_recall", "always silent") == 0.0
        frames = sum(min(each, dataset.n_frames) for each in FRAMES.values())
        assert report.counts[definition]["directions"]["n_frames"] == frames
    assert not report.notes


def test_labels_of_another_recording_are_cut_or_padded(tmp_path):
    data = write_office(tmp_path / "data", {"a": 1.0, "b": 2.0})
    report = score_folder(silent(tmp_path / "none", "ab"), data, task_of(tmp_path, 60.0).dataset)
    # 50 frames of a have one direction each from b, and of 100 frames of b 50 have one from a.
    assert report.score(
        "corrected", "frame_recall", "labels of another recording"
    ) == pytest.approx(100 / 150)


@pytest.mark.parametrize("place", ["foa_dev", "mic_dev", "metadata_dev", None])
def test_lengths_are_those_of_the_sounds_or_reported_unknown(tmp_path, place):
    name = "split1_ir0_ov1_1"
    for folder in ("metadata_dev", place or "metadata_dev"):
        (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / "metadata_dev" / f"{name}.csv").write_text(f"{HEADER}kettle,0,2,0,0,1\n")
    if place:
        soundfile.write(tmp_path / place / f"{name}.wav", np.zeros((2 * 8000, 4)), 8000)
    dataset = task_of(tmp_path, 6.0).dataset
    report = score_folder(silent(tmp_path / "none", [name]), tmp_path / "metadata_dev", dataset)
    assert report.score("corrected", "frame_recall") == (0.0 if place else pytest.approx(2 / 3))
    assert any("Length of 1 recording(s): unknown" in note for note in report.notes) == (
        place is None
    )


def test_old_and_new_stores_have_the_lengths_of_recordings(tmp_path, caplog):
    write_office(tmp_path / "data")
    task = task_of(tmp_path, 6.0)
    (store,) = run(task, progress=False)
    assert frames_of_recordings(store, task.dataset) == FRAMES
    assert frames_of_recordings(open_store(task, "dev"), task.dataset) == FRAMES
    assert place_of(store, "c", DatasetConfig()) == (3, None, 1)
    path = store_folder(task, "dev") / "manifest.json"
    manifest = dict(load_json(path))
    shards = json.dumps(manifest["shards"])
    for facts in manifest["facts"].values():
        del facts["samples"]
    path.write_text(json.dumps(manifest))
    assert (
        frames_of_recordings(open_store(task, "dev"), task.dataset) == FRAMES
    )  # read from the sounds
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    with caplog.at_level(logging.WARNING):
        unknown = frames_of_recordings(open_store(task, "dev"), task.dataset)
    assert set(unknown.values()) == {300} and "lacks the lengths of 6 recording(s)" in caplog.text
    (tmp_path / "elsewhere").rename(tmp_path / "data")
    run(task, progress=False)  # features are kept, the lengths are added
    again = load_json(path)
    assert json.dumps(again["shards"]) == shards and again["facts"]["d"]["samples"] == RATE // 2


def test_recordings_that_are_cut_or_filled_up_are_counted(tmp_path, caplog):
    write_office(tmp_path / "data")
    with caplog.at_level(logging.INFO):
        run(task_of(tmp_path, 2.0), progress=False)
    assert "1 recording(s) are longer than 2 s: the rest is cut off" in caplog.text
    assert "2 recording(s) are shorter than 2 s: their padding is not scored" in caplog.text


@pytest.mark.parametrize("scorer", DEFINITIONS)
def test_validation_scores_the_frames_of_the_recording_alone(tmp_path, scorer):
    task = task_of(tmp_path, 6.0).model_copy(update={"scoring": SimpleNamespace(scorer=scorer)})
    events = Events.from_array([[0, 0.0, 2.0, 10.0, 0.0, 1.0]]).to_array()
    outputs = {"sed": np.zeros((300, 2)), "doa": np.zeros((300, 4))}
    outputs["sed"][100:, 0] = 0.9  # what a network makes of silence
    targets = {"sed": np.repeat([[1.0, 0.0]], 300, axis=0) * (np.arange(300) < 100)[:, None]}
    prediction = Prediction("r", 300, True, events, targets, outputs)
    answers = SimpleNamespace(joined=lambda each: each)
    asked = []

    def decode(prediction, stage, n_frames):
        asked.append(n_frames)
        return np.array([[frame, 0, 10.0, 0.0] for frame in range(100, 300)], np.float64)

    stage = Stage("seld", lambda shape: None, {}, {}, {})
    files = submission_files(task.dataset, {})
    found = ValidationScorer(scoring_of(task), files, stage, answers, decode, {"r": 100})
    found.update(prediction)
    scores = found.result()
    assert asked == [100]
    assert (scores["frame_recall"], scores["f"], scores["er"]) == (0.0, 0.0, 1.0)
    assert scores["map_micro"] == pytest.approx(0.5)  # of 100 frames and 2 classes alone


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    """A run of an epoch on recordings of all lengths, whose events exceed them, padded to
    6 s."""
    folder = tmp_path_factory.mktemp("office")
    write_office(folder / "data", past_s=0.3)
    (folder / "params.yaml").write_text(
        yaml.safe_dump({"tasks": {"own": settings_of(folder, 6.0)}})
    )
    assert main(["own", "a", "--params", str(folder / "params.yaml")]) == 0
    return folder, folder / "runs_6.0" / "own_a"


def rows_of(path: Path) -> str:
    return json.dumps(json.loads(path.read_text())["rows"])


def test_run_and_score_command_give_the_same_table(office, tmp_path):
    folder, finished = office
    places = [str(finished / "only" / SUBMISSIONS), str(folder / "data")]
    options = ["--splits", "3", "--task", "own", "--params", str(folder / "params.yaml")]
    assert score_main([*places, *options, "--json", str(tmp_path / "scores.json")]) == 0
    assert rows_of(tmp_path / "scores.json") == rows_of(finished / "scores.json")
    counts = json.loads((finished / "scores.json").read_text())["counts"]["corrected"]["directions"]
    assert counts["n_frames"] == sum(FRAMES[name] for name in "cdef") == counts["n_reference"]


def test_predicted_recordings_give_the_same_table(office, tmp_path):
    folder, finished = office
    predictor = load_predictor(finished)
    (tmp_path / "again").mkdir()
    for name in "cdef":
        predict_file(
            predictor, FileSource.open(folder / "data" / f"{name}.wav"), tmp_path / name, finished
        )
        rows = json.loads((tmp_path / f"{name}.json").read_text())["frames"]
        write_submission(
            tmp_path / "again" / f"{name}.csv", np.array(rows, np.float64).reshape(-1, 4)
        )
        written = (finished / "only" / SUBMISSIONS / f"{name}.csv").read_text()
        assert (tmp_path / "again" / f"{name}.csv").read_text() == written
    report = score_folder(
        tmp_path / "again", folder / "data", task_of(folder, 6.0).dataset, splits=[3]
    )
    write_json(tmp_path / "scores.json", report.to_dict())
    assert rows_of(tmp_path / "scores.json") == rows_of(finished / "scores.json")


def test_submissions_and_reports_end_with_the_recording(office):
    folder, finished = office
    for name in "cdef":
        text = (finished / "only" / SUBMISSIONS / f"{name}.csv").read_text()
        assert all(int(line.split(",")[0]) < FRAMES[name] for line in text.splitlines())
    task = task_of(folder, 6.0)
    tested = seld_report.tested_recordings(task, finished)
    assert {each.scored.name: each.scored.n_frames for each in tested} == {
        name: FRAMES[name] for name in "cdef"
    }
    assert all(len(each.reference) == each.scored.n_frames for each in tested)
    assert seld_report.confusions(tested, task.dataset).rows


def test_shares_of_a_dataset_are_of_what_was_recorded(tmp_path):
    data = write_office(tmp_path / "data")
    dataset = task_of(tmp_path, 60.0).dataset
    events, _ = read_metadata(data, dataset)
    n_frames = read_lengths(data, events, dataset)
    shares, active, _ = overlap_shares(
        list(events.values()), dataset, [n_frames[name] for name in events]
    )
    assert n_frames == FRAMES
    np.testing.assert_allclose(shares, [0.0, 1.0])
    assert active.tolist() == [sum(FRAMES.values()), 0]
