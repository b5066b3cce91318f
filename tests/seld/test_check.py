"""Findings of the checker on SELD datasets with one fault each."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from common.audio.files import write_wav
from common.cli.check_dataset import check_dataset, main
from common.settings.tasks import load_task
from seld.recordings.layouts import LAYOUTS

PARAMS = Path(__file__).parents[2] / "params.yaml"
HEADER = "sound_event_recording,start_time,end_time,ele,azi,dist\n"
SETTINGS = (
    "dataset={classes: [a, b], sample_rate_hz: 8000, recording_s: 1.0}",
    "parallel.jobs=1",
    "pipeline.batch_size=1",
    "folds=[{name: only, train: [1], validate_on: [2], test: [3]}]",
)


def make_dataset(root: Path) -> Path:
    """Three recordings of a second in the published layout, with one event of each class."""
    (root / "metadata_dev").mkdir()
    for split in (1, 2, 3):
        name = f"split{split}_ir0_ov1_1"
        audio = np.random.default_rng(split).uniform(-0.1, 0.1, (8000, 4))
        write_wav(root / "foa_dev" / f"{name}.wav", audio, 8000)
        (root / "metadata_dev" / f"{name}.csv").write_text(
            HEADER + "a,0,0.4,0,10,1\nb,0.5,0.9,-10,20,1\n"
        )
    return root


def findings(
    root: Path, *overrides: str, task_id: str = "1", deep: bool = False
) -> list[tuple[str, str]]:
    task = load_task(PARAMS, task_id, [*SETTINGS, f"dataset_dir={root}", *overrides])
    return [(each.level, each.text) for each in check_dataset(task, deep).findings]


@pytest.fixture
def root(tmp_path) -> Path:
    return make_dataset(tmp_path)


def labels(root: Path, rows: str) -> None:
    (root / "metadata_dev" / "split1_ir0_ov1_1.csv").write_text(HEADER + rows)


@pytest.mark.parametrize("deep", [False, True])
def test_a_good_dataset_has_no_finding(root, deep):
    assert findings(root, deep=deep) == []


@pytest.mark.parametrize(
    ("rows", "level", "text"),
    [
        ("c,0,1,0,10,1\n", "error", "line 2: unknown class 'c'"),
        ("a,0,1,0,200,1\n", "error", "line 2: azi is outside the dataset's range"),
        ("a,1.5,2,0,10,1\n", "error", "line 2: the event starts at 1.5 s"),
        (
            "a,0,0.6,0,10,1\na,0.5,1,0,20,1\nb,0.9,1,0,0,1\n",
            "warning",
            "events of one class at the same time",
        ),
        (
            "a,0,0.6,0,10,1\nb,0.5,1,0,20,1\n",
            "warning",
            "more events at a time than their overlap allows",
        ),
        ("a,0,0.6,0,10,1\n", "warning", "split 1: no event of 1 class(es)"),
    ],
)
def test_labels_that_are_wrong_or_odd_are_told(root, rows, level, text):
    labels(root, rows)
    assert any(each == level and text in told for each, told in findings(root))


def test_labels_beyond_a_short_recording_are_told(root):
    write_wav(root / "foa_dev" / "split1_ir0_ov1_1.wav", np.full((4400, 4), 0.1), 8000)
    told = findings(root)
    assert [level for level, _ in told] == ["warning", "warning"]
    assert (
        "shorter than 1 s" in told[0][1]
        and "events that last longer than they do: split1_ir0_ov1_1" in told[1][1]
    )
    labels(root, "a,0.6,0.9,0,10,1\nb,0,0.5,0,0,1\n")
    (error,) = [text for level, text in findings(root) if level == "error"]
    assert (
        "split1_ir0_ov1_1.csv, line 2: the event starts at 0.6 s" in error
        and "below 0.55 s" in error
    )


def test_recordings_without_labels_and_the_reverse_are_told(root):
    (root / "metadata_dev" / "split1_ir0_ov1_1.csv").rename(
        root / "metadata_dev" / "split1_ir0_ov1_2.csv"
    )
    ((level, text),) = findings(root)
    assert level == "error" and "split1_ir0_ov1_1.wav" in text and "split1_ir0_ov1_2.csv" in text


def test_a_fold_with_a_split_without_recordings_is_an_error(root):
    folds = "folds=[{name: only, train: [1, 4], validate_on: [2], test: [3]}]"
    assert ("error", "fold 'only' uses split 4, of which there is no recording.") in findings(
        root, folds
    )


def test_a_recording_that_is_in_two_splits_is_an_error(root):
    one, other = (root / "foa_dev" / f"split{split}_ir0_ov1_1.wav" for split in (1, 2))
    other.write_bytes(one.read_bytes())
    assert findings(root) == []
    ((level, text),) = findings(root, deep=True)
    assert (
        level == "error"
        and "split2_ir0_ov1_1.wav (split 2) = split1_ir0_ov1_1.wav (split 1)" in text
    )


def test_missing_recordings_are_reported_only_for_the_published_classes(root):
    rows = "".join(f"{name},0,0.1,0,0,1\n" for name in ("knock", "drawer"))
    for path in (root / "metadata_dev").iterdir():
        path.write_text(HEADER + rows)
    classes = load_task(PARAMS, "1").dataset.classes
    told = findings(root, f"dataset.classes={list(classes)}")
    assert sum("1 recordings, 100 were published" in text for _, text in told) == 3


def test_lags_that_do_not_reach_across_the_array_are_told(root):
    settings = "dataset={format: foa}", "features={n_mels: 32}"
    assert not any("lags" in text for _, text in findings(root, *settings, task_id="two-stage"))
    (root / "foa_dev").rename(root / "mic_dev")
    array = "dataset={format: mic, microphones_m: [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0.5]]}"
    told = [text for _, text in findings(root, array, "features={n_mels: 32}", task_id="two-stage")]
    assert (
        "delays up to 132 samples" in told[0] and "Set it to 264 or more" in told[0]
    )  # 1.41 m at 32 kHz


def test_the_command_returns_0_or_1_and_writes_its_findings(root, tmp_path, capsys):
    options = [
        part for setting in (*SETTINGS, f"dataset_dir={root}") for part in ("--set", setting)
    ]
    path = tmp_path / "out" / "found.json"
    command = ["1", *options, "--params", str(PARAMS), "--json", str(path)]
    assert main(command) == 0
    assert json.loads(path.read_text())["usable"] is True
    labels(root, "c,0,1,0,10,1\n")
    assert main(command) == 1
    assert json.loads(path.read_text())["usable"] is False
    assert "error: " in capsys.readouterr().out
    assert main(["1", "--set", f"dataset_dir={tmp_path}/nowhere", "--params", str(PARAMS)]) == 1
    assert main(["no-such-task", "--params", str(PARAMS)]) == 2


LATER = (
    "dataset={classes: [a, b], sample_rate_hz: 24000}",
    "parallel.jobs=1",
    "pipeline={batch_size: 1, sequence_frames: 5}",
    "folds=[{name: only, train: [3], validate_on: [4], test: [4], validate_on_test: true}]",
)


def make_starss(root: Path) -> Path:
    """A recording of 0.6 s in each folder of real recordings, with a moving and a still source."""
    for number, folder in enumerate(("train-tau", "train-sony", "test-tau", "test-sony")):
        name = f"fold{3 if number < 2 else 4}_room{number}_mix001"
        audio = np.random.default_rng(number).uniform(-0.1, 0.1, (14400, 4))
        write_wav(root / "foa_dev" / f"dev-{folder}" / f"{name}.wav", audio, 24000)
        labels = root / "metadata_dev" / f"dev-{folder}" / f"{name}.csv"
        labels.parent.mkdir(parents=True)
        labels.write_text("0,0,0,10,0\n1,0,0,20,0\n2,0,0,30,0\n2,1,0,-90,0\n5,0,0,30,0\n")
    return root


@pytest.fixture
def starss(tmp_path) -> Path:
    return make_starss(tmp_path)


def later_report(root: Path, *overrides: str):
    settings = [*LATER, f"dataset_dir={root}", *overrides]
    return check_dataset(load_task(PARAMS, "seldnet2022-foa-multi", settings))


def later_findings(root: Path, *overrides: str) -> list[tuple[str, str]]:
    return [(each.level, each.text) for each in later_report(root, *overrides).findings]


def test_recordings_of_any_length_and_moving_sources_have_no_finding(starss):
    report = later_report(starss)
    assert report.findings == []
    (events,) = (table for table in report.tables if table.title.startswith("events"))
    assert events.rows[0] == ["a", "4 / 1 s", "4 / 1 s"]  # twice in each recording
    assert events.rows[1] == ["b", "2 / 0 s", "2 / 0 s"]


def test_folders_of_the_layout_that_are_absent_are_named(starss):
    for kind in ("foa", "metadata"):
        shutil.rmtree(starss / f"{kind}_dev" / "dev-test-sony")
    ((level, text),) = later_findings(starss)
    assert level == "warning" and "lacks 2 folder(s) of the layout starss2022" in text
    assert "foa_dev/dev-test-sony, metadata_dev/dev-test-sony" in text
    for kind in ("foa", "metadata"):
        shutil.rmtree(starss / f"{kind}_dev" / "dev-test-tau")
    told = later_findings(starss)
    assert ("error", "fold 'only' uses split 4, of which there is no recording.") in told
    assert any("foa_dev/dev-test-tau" in text for _, text in told)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda audio, labels: labels.unlink(), "no .csv file in .*metadata_dev for 1 file"),
        (lambda audio, labels: audio.unlink(), "no recording in .*foa_dev for 1 file"),
        (
            lambda audio, labels: labels.write_text("0,0,0,10,0,150\n"),
            "format metadata2022 is .* This looks like metadata2023 or metadata2024",
        ),
        (
            lambda audio, labels: write_wav(audio, np.full((9600, 4), 0.1), 16000),
            "1 file.s. do not have 24000 Hz, as in `dataset.sample_rate_hz`, but 16000",
        ),
        (
            lambda audio, labels: write_wav(audio, np.full((14400, 2), 0.1), 24000),
            "1 file.s. do not have 4 channels, as in `dataset.channels`, but 2",
        ),
    ],
)
def test_faults_of_later_years_are_told_with_their_file(starss, change, text):
    place = Path("dev-train-sony") / "fold3_room1_mix001"
    change(starss / "foa_dev" / f"{place}.wav", starss / "metadata_dev" / f"{place}.csv")
    errors = [told for level, told in later_findings(starss) if level == "error"]
    assert any(re.search(text, told) and place.name in told for told in errors)


def test_frames_after_a_recording_are_told(starss):
    path = starss / "metadata_dev" / "dev-test-tau" / "fold4_room2_mix001.csv"
    path.write_text(path.read_text() + "90,1,0,10,0\n")
    ((level, text),) = later_findings(starss)
    assert level == "warning" and "1 time(s) events were left out:" in text
    assert "fold4_room2_mix001.csv: 1 entries lie after the recording" in text


def test_an_evaluation_set_without_labels_is_accepted(starss):
    write_wav(starss / "foa_eval" / "mix001.wav", np.full((14400, 4), 0.1), 24000)
    folds = "folds=[{name: only, train: [3], validate_on: [4], test: [0]}]"
    report = later_report(starss, folds, "dataset.mode=eval")
    assert report.findings == []
    assert report.tables[0].rows[0] == ["split 0", "1", "0", "-"]


def test_missing_recordings_of_2022_are_counted_by_split(starss):
    told = later_findings(starss, f"dataset.classes={list(LAYOUTS['starss2022'].classes)}")
    assert any("split 3 has 2 recordings, 67 were published" in text for _, text in told)
    assert any("split 4 has 2 recordings, 54 were published" in text for _, text in told)
