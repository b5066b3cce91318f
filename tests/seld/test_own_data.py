"""Own recordings, classes, microphones and names: a task in params.yaml and a list, no code."""

import json
from pathlib import Path

import numpy as np
import pytest

from common.audio.files import write_wav
from common.cli.check_dataset import main as check_main
from common.cli.extract import main as extract
from common.settings.tasks import load_task
from seld.cli import main
from seld.extraction import open_store
from seld.figures import main as figures_main
from seld.score import main as score_main

ROOT = Path(__file__).parents[2]
RATE, SECONDS = 16000, 3.0
TONES_HZ = {"kettle": 700.0, "door": 1500.0, "steps": 2600.0}
TASK = """
  office:
    description: Our own office
    inherits: seldnet-foa
    dataset_dir: {folder}/recordings
    feature_dir: {folder}/features
    output_dir: {folder}/runs
    published: null
    dataset:
      format: mic
      classes: [kettle, door, steps]
      sample_rate_hz: 16000
      channels: 2
      microphones_m: [[0, 0.1, 0], [0, -0.1, 0]]
      recording_s: 3.0
      azimuth_range_deg: [-90, 90]
      elevation_range_deg: [-10, 10]
    folds: [{{name: only, train: [1], validate_on: [2], test: [3]}}]
    features: {{n_fft: 1024}}
    pipeline: {{sequence_frames: 50, batch_size: 4}}
    network: {{n_filters: 4, pool_bands: [8], pool_frames: [1], gru_units: [], dense_units: [8]}}
    training: {{epochs: 1, passes_per_epoch: 1}}
    parallel: {{jobs: 1}}
"""


def write_recording(path: Path, events: list[tuple[str, float, float, int]]) -> None:
    """A tone for each event, louder in the channel that it comes from."""
    time_s = np.arange(round(SECONDS * RATE)) / RATE
    audio = np.random.default_rng(sum(path.name.encode())).normal(0, 0.001, (len(time_s), 2))
    for name, onset_s, offset_s, azimuth_deg in events:
        inside = (time_s >= onset_s) & (time_s < offset_s)
        gains = 0.1 + 0.1 * np.array([1, -1]) * np.sin(np.radians(azimuth_deg))
        audio += (np.sin(2 * np.pi * TONES_HZ[name] * time_s) * inside)[:, None] * gains
    write_wav(path, audio, RATE)
    rows = [f"{name},{onset},{offset},0,{azimuth},1.5\n" for name, onset, offset, azimuth in events]
    path.with_suffix(".csv").write_text(
        "sound_event_recording,start_time,end_time,ele,azi,dist\n" + "".join(rows)
    )


@pytest.fixture(scope="module")
def office(tmp_path_factory) -> Path:
    """The folder of an office's recordings, and a params.yaml with one more task."""
    folder = tmp_path_factory.mktemp("office")
    listed = ["filename,split,overlap,room"]
    for number, split in enumerate((1, 1, 1, 1, 2, 3, 3)):
        azimuth = (-60, 0, 40)[number % 3]
        events = [
            ("kettle", 0.2, 1.2, azimuth),
            ("door", 1.4, 2.0, -azimuth),
            ("steps", 2.2, 2.9, 20),
        ]
        overlap = 1 + number % 2
        if overlap == 2:
            events.append(("steps", 0.5, 1.5, 70))
        name = f"{('kitchen', 'hall')[number % 2]}/take {number}.wav"
        (folder / "recordings" / name).parent.mkdir(parents=True, exist_ok=True)
        write_recording(folder / "recordings" / name, events)
        listed.append(f"{name},{split},{overlap},{number % 2}")
    (folder / "recordings" / "recordings.csv").write_text("\n".join(listed) + "\n")
    text = (ROOT / "params.yaml").read_text() + TASK.format(folder=folder)
    (folder / "params.yaml").write_text(text)
    return folder


@pytest.fixture(scope="module")
def run(office) -> Path:
    assert main(["office", "a", "--params", str(office / "params.yaml")]) == 0
    return office / "runs" / "office_a"


def test_seldnet_learns_own_classes_from_two_channels_at_16_khz(run):
    rows = {row["label"]: row for row in json.loads((run / "scores.json").read_text())["rows"]}
    assert rows["all"]["n_recordings"] == 2
    assert {"split 3", "overlap 1", "overlap 2", "room 0", "room 1"} <= set(rows)
    assert np.isfinite(rows["all"]["scores"]["dcase2019"]["er"])
    names = {path.stem for path in (run / "only" / "submissions").glob("*.csv")}
    assert names == {"hall_take 5", "kitchen_take 6"}
    assert (run / "only" / "recording_overlap1.png").is_file() and (
        run / "only" / "features.png"
    ).is_file()


def test_the_submissions_of_own_recordings_give_the_same_table(office, run, tmp_path):
    places = [str(run / "only" / "submissions"), str(office / "recordings")]
    options = ["--splits", "3", "--task", "office", "--params", str(office / "params.yaml")]
    assert score_main([*places, *options, "--json", str(tmp_path / "scores.json")]) == 0
    stored, made_now = (
        json.loads((place / "scores.json").read_text()) for place in (run, tmp_path)
    )
    assert made_now["rows"] == stored["rows"]


def test_the_events_of_own_recordings_are_drawn(office, tmp_path):
    options = ["--classes", "kettle,door,steps", "--recording-s", "3", "--sample-rate-hz", "16000"]
    assert (
        figures_main(["dataset", str(office / "recordings"), "--out", str(tmp_path), *options]) == 0
    )
    assert len(list(tmp_path.glob("*.png"))) == 3


def test_the_checker_warns_of_ambiguous_directions_of_two_microphones(office, tmp_path, capsys):
    options = ["--params", str(office / "params.yaml")]
    assert check_main(["office", "--deep", "--json", str(tmp_path / "report.json"), *options]) == 0
    text = capsys.readouterr().out
    assert "in one line: directions at the same angle to it cannot be distinguished" in text
    assert "The dataset can be used: 0 error(s)" in text
    table = next(
        t
        for t in json.loads((tmp_path / "report.json").read_text())["tables"]
        if t["title"] == "splits"
    )
    assert table["rows"] == [
        ["split 1", "4", "4", "-"],
        ["split 2", "1", "1", "-"],
        ["split 3", "2", "2", "-"],
    ]


def test_correlations_are_computed_of_as_many_microphones_as_there_are(office):
    kind = [
        "features={kind: logmel_gcc, n_mels: 32, sample_rate_hz: 16000}",
        f"feature_dir={office}/gcc",
    ]
    options = [part for setting in kind for part in ("--set", setting)]
    assert extract(["office", "--params", str(office / "params.yaml"), *options]) == 0
    task = load_task(office / "params.yaml", "office", kind)
    assert open_store(task, "dev").schema.arrays["features"].shape == (
        None,
        32,
        3,
    )  # two channels, one pair


def test_ambisonics_of_two_channels_is_refused(office, capsys):
    options = [
        "--params",
        str(office / "params.yaml"),
        "--set",
        "dataset={format: foa, microphones_m: null}",
    ]
    assert main(["office", "b", *options]) == 2
    assert "`dataset.format: foa` has 4 channels" in capsys.readouterr().err


def test_positions_of_other_microphones_than_there_are_channels_are_refused(office, capsys):
    options = [
        "--params",
        str(office / "params.yaml"),
        "--set",
        "dataset.microphones_m=[[0, 0, 0]]",
    ]
    assert main(["office", "b", *options]) == 2
    assert "one position for each of the 2 `channels`" in capsys.readouterr().err
