"""Finding recordings and reading their metadata, with all errors in them."""

import logging
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from common.errors import ConfigError, DataError
from seld.dataset import (
    NESTED_ROOT,
    DatasetConfig,
    Events,
    evaluated_dataset,
    find_recordings,
    parse_events,
    parse_name,
    read_labels,
)

DATASET = DatasetConfig()
HEADER = "sound_event_recording,start_time,end_time,ele,azi,dist\n"
GOOD_ROW = "speech,1.5,2.25,-10,170,2\n"


def make_dataset(
    root: Path, names: list[str], set_name: str = "dev", metadata: bool = True
) -> Path:
    for name in names:
        audio = root / f"foa_{set_name}" / f"{name}.wav"
        audio.parent.mkdir(parents=True, exist_ok=True)
        audio.touch()
        if metadata:
            path = root / f"metadata_{set_name}" / f"{name}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(HEADER)
    return root


def write_metadata(folder: Path, text: str) -> Path:
    path = folder / "split1_ir0_ov1_1.csv"
    path.write_text(text)
    return path


# --- settings
# ------------------------------------------------------------------------------------------


def test_sizes_follow_from_durations():
    assert (DATASET.n_frames, DATASET.n_classes, DATASET.grid.size) == (3000, 11, 324)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ["a", "a"]}, "different names"),
        ({"classes": []}, "at least one"),
        ({"azimuth_range_deg": [170, -180]}, "azimuth_range_deg"),
        ({"elevation_range_deg": [-40, 4000]}, "elevation_range_deg"),
        ({"label_hop_s": 0}, "label_hop_s"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        DatasetConfig(**settings)


# --- events
# ------------------------------------------------------------------------------------------


def test_events_and_their_array_hold_the_same():
    array = np.arange(12.0).reshape(2, 6)
    events = Events.from_array(array)
    np.testing.assert_array_equal(events.to_array(), array)
    assert events.class_index.dtype == np.int64
    assert len(events) == 2
    assert events.select(np.array([False, True])).onset_s.tolist() == [7.0]


def test_events_do_not_share_memory_with_their_array():
    array = np.zeros((1, 6))
    events = Events.from_array(array)
    array[:] = 9
    assert events.onset_s.tolist() == [0.0]


def test_an_array_of_other_shape_is_no_events():
    with pytest.raises(ValueError, match=r"Expected: \(n, 6\). Received: \(2, 5\)"):
        Events.from_array(np.zeros((2, 5)))


# --- names and folders
# ------------------------------------------------------------------------------------------


def test_a_name_gives_split_room_and_overlap():
    assert parse_name("split3_ir4_ov2_47") == (3, 4, 2)
    assert parse_name("split0_12", "eval") == (0, None, None)
    assert parse_name("something", "eval") == (0, None, None)


@pytest.mark.parametrize(
    "name", ["split1_1", "ir0_ov1_1", "split1_ov1_ir0_1", "split_ir0_ov1", "recording"]
)
def test_a_development_name_without_its_parts_is_an_error(tmp_path, name):
    make_dataset(tmp_path, ["split1_ir0_ov1_1", name])
    with pytest.raises(
        DataError, match=f"'{name}'.*Expected: split<number>_ir<number>_ov<number>.*Rename"
    ):
        find_recordings(tmp_path, DatasetConfig(), "dev")


def test_recordings_come_sorted_with_their_files(tmp_path):
    names = ["split2_ir0_ov1_1", "split1_ir1_ov2_11", "split1_ir0_ov1_2"]
    found = find_recordings(make_dataset(tmp_path, names), DatasetConfig(), "dev")
    assert [recording.name for recording in found] == sorted(names)
    assert (found[1].split, found[1].room, found[1].overlap) == (1, 1, 2)
    assert found[0].audio_path == tmp_path / "foa_dev" / "split1_ir0_ov1_2.wav"
    assert found[0].metadata_path == tmp_path / "metadata_dev" / "split1_ir0_ov1_2.csv"


def test_the_evaluation_set_may_lack_all_metadata(tmp_path):
    make_dataset(tmp_path, ["split0_1", "split0_2"], "eval", metadata=False)
    assert [
        recording.metadata_path for recording in find_recordings(tmp_path, DatasetConfig(), "eval")
    ] == [None, None]


def test_an_evaluation_set_with_some_metadata_must_have_all(tmp_path):
    make_dataset(tmp_path, ["split0_1", "split0_2"], "eval")
    (tmp_path / "metadata_eval" / "split0_2.csv").unlink()
    with pytest.raises(
        DataError, match=r"no \.csv file in .*metadata_eval for 1 file\(s\): split0_2\.wav"
    ):
        find_recordings(tmp_path, DatasetConfig(), "eval")


def test_the_evaluation_set_may_lie_where_its_archive_unpacks(tmp_path):
    make_dataset(tmp_path / NESTED_ROOT, ["split0_1"], "eval")
    found = find_recordings(tmp_path, DatasetConfig(), "eval")
    assert found[0].audio_path.is_file()
    assert found[0].metadata_path is not None


def test_strange_files_are_ignored_and_named(tmp_path, caplog):
    make_dataset(tmp_path, ["split1_ir0_ov1_1"])
    (tmp_path / "foa_dev" / "notes.txt").touch()
    (tmp_path / "foa_dev" / ".hidden.wav").touch()
    assert len(find_recordings(tmp_path, DatasetConfig(), "dev")) == 1
    assert "notes.txt" in caplog.text
    assert ".hidden" not in caplog.text


@pytest.mark.parametrize(
    ("made", "received"), [(False, "no such folder"), (True, "an empty folder")]
)
def test_a_missing_or_empty_dataset_folder_has_a_remedy(tmp_path, made, received):
    root = tmp_path / "data"
    if made:
        root.mkdir()
    with pytest.raises(
        DataError, match=rf"'foa_dev' in {root}.*Received: {received}.*dataset_dir.*simulate\.py"
    ):
        find_recordings(root, DatasetConfig(), "dev")


def test_a_dataset_of_the_other_format_is_listed(tmp_path):
    make_dataset(tmp_path, ["split1_ir0_ov1_1"])
    with pytest.raises(DataError, match=r"'mic_dev'.*Received: foa_dev, metadata_dev"):
        find_recordings(tmp_path, DatasetConfig(format="mic"), "dev")


def test_a_folder_without_recordings_is_an_error(tmp_path):
    (tmp_path / "foa_dev").mkdir()
    with pytest.raises(DataError, match=r"foa_dev holds no \.wav file.*Unpack"):
        find_recordings(tmp_path, DatasetConfig(), "dev")


def test_recordings_without_metadata_and_the_reverse_are_listed(tmp_path):
    make_dataset(tmp_path, ["split1_ir0_ov1_1", "split1_ir0_ov1_2", "split1_ir0_ov1_3"])
    (tmp_path / "metadata_dev" / "split1_ir0_ov1_2.csv").unlink()
    (tmp_path / "foa_dev" / "split1_ir0_ov1_3.wav").unlink()
    with pytest.raises(DataError) as caught:
        find_recordings(tmp_path, DatasetConfig(), "dev")
    message = str(caught.value)
    assert (
        f"no .csv file in {tmp_path / 'metadata_dev'} for 1 file(s): split1_ir0_ov1_2.wav"
        in message
    )
    assert f"no recording in {tmp_path / 'foa_dev'} for 1 file(s): split1_ir0_ov1_3.csv" in message
    assert "Add the missing files (unpack a published dataset again)" in message


def test_a_development_set_without_any_metadata_is_an_error(tmp_path):
    make_dataset(tmp_path, [f"split1_ir0_ov1_{number}" for number in range(20)], metadata=False)
    with pytest.raises(DataError, match=r"20 file\(s\): .* and 12 more"):
        find_recordings(tmp_path, DatasetConfig(), "dev")


# --- metadata
# ------------------------------------------------------------------------------------------


def test_a_row_becomes_an_event(tmp_path):
    events = read_labels(write_metadata(tmp_path, HEADER + GOOD_ROW), DATASET, 60.0)
    assert events.to_array().tolist() == [[DATASET.classes.index("speech"), 1.5, 2.25, 170, -10, 2]]


def test_columns_may_come_in_any_order_with_further_ones(tmp_path):
    header = "azi,ele,extra,dist,sound_event_recording,end_time,start_time"
    text = f"{header}\r\n170,-10,x,2,speech,2.25,1.5\r\n\r\n"
    events = read_labels(write_metadata(tmp_path, text), DATASET, 60.0)
    assert events.to_array().tolist() == [[5, 1.5, 2.25, 170, -10, 2]]


@pytest.mark.parametrize("text", ["", "\n", HEADER, HEADER.strip(), "\ufeff" + HEADER])
def test_an_empty_file_holds_no_events(tmp_path, text):
    assert len(read_labels(write_metadata(tmp_path, text), DATASET, 60.0)) == 0


def test_annotated_classes_count_as_others_or_not_at_all(tmp_path, caplog):
    text = HEADER + GOOD_ROW + "bark,1,2,0,0,1\nrain,3,4,0,0,1\ncough,5,6,0,0,1\n"
    mapped = DatasetConfig(class_map={"bark": "cough", "rain": None})
    with caplog.at_level(logging.INFO):
        events = read_labels(write_metadata(tmp_path, text), mapped, 60.0)
    names = [mapped.classes[number] for number in events.class_index]
    assert list(zip(names, events.onset_s, strict=True)) == [
        ("speech", 1.5),
        ("cough", 1.0),
        ("cough", 5.0),
    ]
    assert "1 entries of classes that `dataset.class_map` leaves out" in caplog.text


def test_numbered_classes_count_in_the_order_of_the_annotations(tmp_path):
    settings = {"classes": ["dog", "cat"], "annotated_classes": ["cat", "rain", "dog"]}
    dataset = DatasetConfig(layout="tau2021", class_map={"rain": None}, **settings)
    path = write_metadata(tmp_path, "0,0,0,10,0\n1,1,1,20,0\n2,2,2,30,0\n")
    events = read_labels(path, dataset, 60.0)
    assert events.class_index.tolist() == [1, 0] and events.azimuth_deg.tolist() == [10, 30]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"annotated_classes": ["speech", "bell"]}, "no class of `classes` for 'bell'"),
        ({"class_map": {"bell": "Bell"}}, "no class of `classes` for 'bell'"),
        (
            {"annotated_classes": ["speech"], "class_map": {"bell": None}},
            "`class_map` names 'bell'. Expected: classes of the annotations",
        ),
    ],
)
def test_class_maps_without_a_class_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        DatasetConfig(**settings)


def test_a_run_is_not_evaluated_on_audio_or_frames_of_another_kind():
    with pytest.raises(ConfigError, match=r"Expected: foa\. Received: mic"):
        evaluated_dataset(DATASET, DatasetConfig(format="mic"))
    with pytest.raises(ConfigError, match=r"Expected: 0\.02 s\. Received: 0\.1 s"):
        evaluated_dataset(DATASET, DatasetConfig(layout="tau2021"))
    assert evaluated_dataset(DatasetConfig(layout="tau2021"), DATASET).label_hop_s == 0.1


def test_an_event_beyond_the_recording_is_cut_and_counted(tmp_path, caplog):
    text = HEADER + GOOD_ROW + "cough,59.5,60.69,0,0,1\nknock,59.9,60.33,0,0,1\n"
    with caplog.at_level(logging.INFO):
        events = read_labels(write_metadata(tmp_path, text), DATASET, 60.0)
    assert events.offset_s.tolist() == [2.25, 60.0, 60.0]
    assert "2 event(s) end after the recording" in caplog.text
    assert parse_events(text, DATASET).offset_s.tolist() == [2.25, 60.69, 60.33]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("dog,1,2,0,0,1", "unknown class 'dog'. Expected: one of knock, drawer.*dataset.classes"),
        (",1,2,0,0,1", "unknown class ''"),
        (
            "cough,1,2,0,180,1",
            r"azi is outside .*Expected: -180 to 170 degrees. Received: '180'.*azimuth_range_deg",
        ),
        ("cough,1,2,0,-190,1", "azi is outside"),
        (
            "cough,1,2,50,0,1",
            r"ele is outside .*Expected: -40 to 40 degrees. Received: '50'.*elevation_range_deg",
        ),
        ("cough,1,2,0,left,1", "azi is outside .*Received: 'left'"),
        ("cough,1,2,nan,0,1", "ele is outside .*Received: 'nan'"),
        ("cough,3,2,0,0,1", "ends before it starts.*start_time 3 s, end_time 2 s"),
        (
            "cough,-1,2,0,0,1",
            "start_time is not usable. Expected: a number, not negative. Received: '-1'",
        ),
        ("cough,nan,2,0,0,1", "start_time is not usable.*Received: 'nan'"),
        ("cough,1,inf,0,0,1", "end_time is not usable.*Received: 'inf'"),
        ("cough,1,two,0,0,1", "end_time is not usable.*Received: 'two'"),
        ("cough,1,,0,0,1", "end_time is not usable.*Received: ''"),
        ("cough,1,2,0,0,far", "dist is not usable"),
        ("cough,1,2,0,0", "5 fields.*6"),
        ("cough,1,2,0,0,1,9,9", "8 fields.*6"),
        ("cough,61,62,0,0,1", "starts at 61 s.*Expected: start_time below 60 s.*recording_s"),
        ("cough,60,62,0,0,1", "starts at 60 s"),
    ],
)
def test_a_bad_row_is_named_with_file_line_and_remedy(tmp_path, row, message):
    path = write_metadata(tmp_path, f"{HEADER}{GOOD_ROW}\n{row}\n{GOOD_ROW}")  # line 3 is blank
    with pytest.raises(DataError, match=message) as caught:
        read_labels(path, DATASET, 60.0)
    assert str(caught.value).startswith(f"{path}, line 4: ")
    assert "Correct the row" in str(caught.value)


def test_missing_columns_are_named(tmp_path):
    path = write_metadata(tmp_path, "sound_event_recording,start_time,end_time,azimuth,dist\n")
    with pytest.raises(
        DataError, match=r"line 1: missing column\(s\) ele, azi. Expected: .*header"
    ) as caught:
        read_labels(path, DATASET, 60.0)
    assert str(path) in str(caught.value)


def test_a_missing_or_binary_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match=r"no metadata file .*absent\.csv"):
        read_labels(tmp_path / "absent.csv", DATASET, 60.0)
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(
        DataError, match=r"binary\.csv cannot be read as text in UTF-8: it is UTF-16"
    ):
        read_labels(path, DATASET, 60.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEADER.strip() + ",x\n" + GOOD_ROW.strip() + ",1,2\n",
            "line 2: 8 fields, more .* columns, 7",
        ),
        (HEADER.strip() + ",azi\n" + GOOD_ROW.strip() + ",20\n", r"line 1: column\(s\) azi twice"),
        (HEADER + '"' + "x" * 200_000 + "\n", "line 2: field larger than field limit"),
        ('"' + "x" * 200_000 + "\n", r"line 1: missing column\(s\)"),
    ],
)
def test_tables_that_csv_misreads_are_refused(tmp_path, text, message):
    path = write_metadata(tmp_path, text)
    with pytest.raises(DataError, match=message):
        read_labels(path, DATASET, 60.0)


def test_two_files_that_differ_only_in_suffix_are_refused(tmp_path):
    make_dataset(tmp_path, ["split1_ir0_ov1_1"])
    (tmp_path / "foa_dev" / "split1_ir0_ov1_1.WAV").touch()
    if len(list((tmp_path / "foa_dev").iterdir())) == 1:
        pytest.skip("this file system takes both for one")
    with pytest.raises(DataError, match=r"foa_dev holds 'split1_ir0_ov1_1\.wav'"):
        find_recordings(tmp_path, DatasetConfig(), "dev")


def test_a_file_whose_name_is_no_text_is_refused(tmp_path):
    make_dataset(tmp_path, ["split1_ir0_ov1_1"])
    try:
        (
            tmp_path / "foa_dev" / b"split1_ir0_ov1_\xff.wav".decode("utf-8", "surrogateescape")
        ).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(DataError, match=r"foa_dev holds .*names of text in UTF-8"):
        find_recordings(tmp_path, DatasetConfig(), "dev")
