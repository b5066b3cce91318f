"""SELD metadata, lists and submissions in any separator, and recordings of any format."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from common.errors import DataError
from seld.dataset import DatasetConfig, find_recordings, parse_events, parse_name, read_labels
from seld.recording_list import LIST_NAME, read_list
from seld.submission import parse_submission
from tests.seld.test_check import findings, make_dataset

COLUMNS = "sound_event_recording,start_time,end_time,ele,azi,dist"
DATASET = DatasetConfig()


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize(
    "text",
    [
        f"{COLUMNS}\nspeech,1.5,2.25,-10,170,2\n",
        f',{COLUMNS}\n0,"speech",1.5,2.25,-10,170,2\n',
        f"{COLUMNS},\r\n\r\nspeech, 1.5, 2.25, -10, 170, 2,\r\n,,,,,,\r\n",
        "\ufeffSound_Event_Recording,Azi,Ele,Dist,Start_time,End_time\nspeech,170,-10,2,1.5,2.25",
    ],
)
def test_metadata_are_read_with_any_separator_index_and_quotes(separator, text):
    events = parse_events(text.replace(",", separator), DATASET)
    assert events.to_array().tolist() == [[5, 1.5, 2.25, 170, -10, 2]]


@pytest.mark.parametrize("value", ["1_0", "٣", "0x1", "1e999", "1;5"])
@pytest.mark.parametrize("place", range(1, 6))
def test_numbers_that_only_python_reads_are_refused(value, place):
    row = ["speech", "0", "10", "0", "0", "1"]
    row[place] = value
    with pytest.raises(DataError, match=r"^m, line 2: (start_time|end_time|ele|azi|dist) is "):
        parse_events(f"{COLUMNS}\n{','.join(row)}\n", DATASET, "m")


def test_a_decimal_comma_is_named():
    text = f"{COLUMNS}\nspeech,1,2,0,0,1\n".replace(",", ";").replace("1;2", "1,5;2")
    with pytest.raises(DataError, match="'1,5' has a decimal comma"):
        parse_events(text, DATASET)


@pytest.mark.parametrize("row", ["speech,3,2,0,0,1", "speech,70,72,0,0,1"])
def test_strict_false_leaves_out_events_that_cannot_be(tmp_path, row):
    path = tmp_path / "a.csv"
    path.write_text(f"{COLUMNS}\nknock,1,2,0,0,1\n{row}\n")
    with pytest.raises(DataError, match=r"a\.csv, line 3: .*--set dataset\.strict=false"):
        read_labels(path, DATASET, 60.0)
    notes: list[str] = []
    events = read_labels(path, DatasetConfig(strict=False), 60.0, notes)
    assert events.onset_s.tolist() == [1.0] and "1 event(s)" in notes[0] and "left out" in notes[0]


def test_the_checker_names_events_left_out_without_strict(tmp_path):
    root = make_dataset(tmp_path)
    with (root / "metadata_dev/split1_ir0_ov1_1.csv").open("a") as file:
        file.write("a,0.9,0.2,0,10,1\n")
    assert any(level == "error" and "line 4" in text for level, text in findings(root))
    found = findings(root, "dataset.strict=false")
    assert [level for level, _ in found] == ["warning"]
    assert "1 event(s) end before they begin" in found[0][1]


@pytest.mark.parametrize("suffix", [".flac", ".WAV", ".ogg", ".aiff"])
def test_recordings_of_the_published_layout_may_have_any_format(tmp_path, suffix):
    root = make_dataset(tmp_path)
    for path in sorted((root / "foa_dev").iterdir()):
        audio, rate = soundfile.read(path)
        path.unlink()
        soundfile.write(path.with_suffix(suffix), audio, rate)
    (root / "foa_dev" / "x.m4a").touch()
    assert [each.audio_path.suffix for each in find_recordings(root, DatasetConfig(), "dev")] == [
        suffix
    ] * 3
    found = findings(root)
    assert len(found) == 1 and "foa_dev: ignored" in found[0][1] and "x.m4a" in found[0][1]


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
def test_recordings_are_listed_with_any_separator(tmp_path, separator):
    for name in ("a, b.wav", "a, b.csv"):
        (tmp_path / name).touch()
    rows = [["filename", "split", "overlap"], ['"a, b.wav"', "1", ""], ["", "", ""]]
    (tmp_path / LIST_NAME).write_text(
        "".join(separator.join(row) + "\r\n" for row in rows), newline=""
    )
    (found,) = read_list(tmp_path)
    assert found.name == "a, b" and found.split == 1


@pytest.mark.parametrize("name", ["split١_ir0_ov1_1", "split1_ir٠_ov1_1"])
def test_digits_of_other_scripts_are_no_split(name):
    with pytest.raises(DataError, match="has not split"):
        parse_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "0,2,-10,40\n17,0,0,5\n",
        "0;2;-10;40\n17;0;0;5",
        "0\t2\t-10\t40\r\n17\t0\t0\t5\r\n",
        "0, 2, -10, 40,\n\n17,0,0,5,\n",
        '"0","2","-10","40"\n"17","0","0","5"\n',
    ],
)
def test_submissions_are_read_with_any_separator(text):
    assert parse_submission(text, 11).tolist() == [[0, 2, -10, 40], [17, 0, 0, 5]]


@pytest.mark.parametrize(
    "line", ["1_0,2,0,0", "1,2,0.5,0", "١,2,0,0", "1,2,0", "1;2,0,0", "1,2,0,0,7", "0x1,2,0,0"]
)
def test_submissions_take_only_plain_whole_numbers(line):
    with pytest.raises(DataError, match=r"^s, line 2: expected four whole numbers"):
        parse_submission(f"0,0,0,0\n{line}\n", 11, "s")


def test_reading_leaves_published_numbers_as_they_are():
    rng = np.random.default_rng(0)
    onsets = rng.uniform(0, 60, 200)
    text = COLUMNS + "".join(f"\nspeech,{onset!r},60,0,0,1" for onset in onsets.tolist())
    assert parse_events(text, DATASET).onset_s.tolist() == onsets.tolist()
    assert Path(LIST_NAME).suffix == ".csv"
