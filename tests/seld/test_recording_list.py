"""`recordings.csv`: splits, overlaps and rooms of recordings with free names, and errors."""

from pathlib import Path

import pytest

from common.data.feature_store import FeatureStore
from common.data.tfrecord import ExampleSchema
from common.errors import DataError
from seld.dataset import DatasetConfig, find_recordings
from seld.extraction import place_of
from seld.recording_list import LIST_NAME, has_list, read_list

HEADER = "filename,split,overlap,room,metadata\n"


def make_dataset(
    root: Path, rows: str, header: str = HEADER, without: tuple[str, ...] = ()
) -> Path:
    for name in (
        "day/one.wav",
        "day/one.csv",
        "night/two.flac",
        "night/two.csv",
        "three.wav",
        "labels/three.txt",
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name not in without:
            path.touch()
    (root / LIST_NAME).write_text(header + rows)
    return root


def test_a_list_has_recordings_and_their_attributes(tmp_path):
    rows = "night/two.flac,2,,,\n\nday/one.wav,1,2,4,\nthree.wav,0,1,,labels/three.txt\n"
    found = read_list(make_dataset(tmp_path, rows))
    assert [(each.name, *each.attributes) for each in found] == [
        ("day_one", 1, 4, 2),
        ("night_two", 2, None, None),
        ("three", 0, None, 1),
    ]
    assert found[1].audio_path == tmp_path / "night" / "two.flac"
    assert [each.metadata_path.relative_to(tmp_path).as_posix() for each in found] == [
        "day/one.csv",
        "night/two.csv",
        "labels/three.txt",
    ]


def test_split_0_is_the_evaluation_set_and_may_lack_labels(tmp_path):
    make_dataset(tmp_path, "day/one.wav,1,1\nthree.wav,0,1\n", "filename,split,overlap\n")
    assert [
        each.name for each in find_recordings(tmp_path, DatasetConfig(format="mic"), "dev")
    ] == ["day_one"]
    (evaluation,) = find_recordings(tmp_path, DatasetConfig(), "eval")
    assert (evaluation.name, evaluation.metadata_path) == ("three", None)


def test_a_list_without_recordings_of_a_set_says_so(tmp_path):
    make_dataset(tmp_path, "day/one.wav,1,1,,\n")
    with pytest.raises(DataError, match="no recording of split 0, the evaluation set"):
        find_recordings(tmp_path, DatasetConfig(format="mic"), "eval")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("day/four.wav,1,1,,\n", r"line 2: there is no file .*day/four\.wav\. Correct filename"),
        (
            "day/one.wav,1,1,,day/four.csv\n",
            r"line 2: there is no file .*day/four\.csv\. Correct metadata",
        ),
        ("day/one.wav,1,1,,\nday/one.wav,2,1,,\n", "line 3: the same recording as in line 2"),
        ("day/one.wav,1,1,,\nday/one.csv,2,1,,\n", "line 3: .*would share its name 'day_one'"),
        ("three.wav,1,1,,\n", r"line 2: no metadata\. Expected: .*three\.csv"),
        ("three.wav,0,1,,\nday/one.wav,0,1,,\n", r"line 2: no metadata\. Expected: .*three\.csv"),
        (
            "../one.wav,1,1,,\n",
            r"line 2: filename must be a path below the dataset folder.*Received: '\.\./one\.wav'",
        ),
        ("/etc/hosts,1,1,,\n", "line 2: filename must be a path below the dataset folder"),
        (
            "day/one.wav,1,1,,../one.csv\n",
            "line 2: metadata must be a path below the dataset folder",
        ),
        ("day\\one.wav,1,1,,\n", "with / between folders"),
        (",1,1,,\n", "line 2: filename must be a path"),
        ("day/one.wav,,1,,\n", "line 2: split is empty"),
        (
            "day/one.wav,one,1,,\n",
            "line 2: split must be a whole number, 0 or more. Received: 'one'",
        ),
        ("day/one.wav,1.5,1,,\n", r"Received: '1\.5'"),
        ("day/one.wav,-1,1,,\n", "Received: '-1'"),
        ("day/one.wav,1,0,,\n", "line 2: overlap must be a whole number, 1 or more. Received: '0'"),
        ("day/one.wav,1,1,kitchen,\n", "line 2: room must be a whole number"),
        ("day/one.wav,1\n", "line 2: 2 fields, fewer .* columns, 5"),
        ("day/one.wav,1,1,,,x\n", "line 2: 6 fields, more .* columns, 5"),
        ("day/one.wav,1,1,1234567890,\n", "Received: '1234567890'"),
        (f"{'x' * 5000}.wav,1,1,,\n", "line 2: there is no file"),
        ("day/one.wav\0,1,1,,\n", "line 2: a NUL character"),
        ("", "lists no recording"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        read_list(make_dataset(tmp_path, rows))


@pytest.mark.parametrize(
    "header",
    ["filename,split\n", "filename,split,overlap,fold\n", "filename,split,overlap,split\n", ""],
)
def test_columns_that_are_missing_unknown_or_doubled_are_refused(tmp_path, header):
    with pytest.raises(DataError, match="line 1: expected the columns filename, split, overlap"):
        read_list(make_dataset(tmp_path, "", header))


def test_a_dataset_with_a_list_is_told_from_one_without(tmp_path):
    assert not has_list(tmp_path)
    assert has_list(make_dataset(tmp_path, ""))


def test_features_keep_attributes_of_the_list_or_the_names(tmp_path):
    facts = {"day_one": {"split": 1, "room": 4, "overlap": None}}
    FeatureStore(tmp_path, {}, ExampleSchema({}), [], facts=facts).write({})
    store = FeatureStore.open(tmp_path)
    assert place_of(store, "day_one", DatasetConfig()) == (1, 4, None)
    assert place_of(store, "split2_ir3_ov1_7", DatasetConfig()) == (2, 3, 1)
    with pytest.raises(DataError, match="'day_two' has not split"):
        place_of(store, "day_two", DatasetConfig())
    assert FeatureStore.joined([store]).facts == facts
