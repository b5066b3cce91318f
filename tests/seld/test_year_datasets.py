"""Datasets in the layouts of 2020 to 2025: folders, names, annotations in label frames."""

import numpy as np
import pytest

from common.errors import ConfigError, DataError
from common.settings.tasks import validate
from seld.dataset import DatasetConfig, find_recordings, read_labels
from seld.labels import rows_of_events
from seld.simulation.simulator import SeldSimulator
from tests.runs import task_of

NAME = "fold3_room21_mix001"


def write(root, relative, text=""):
    path = root / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_recordings_are_found_in_sub_folders_with_their_metadata(tmp_path):
    for place, name in (("dev-train-sony", NAME), ("dev-test-tau", "fold4_room4_mix002")):
        write(tmp_path, f"foa_dev/{place}/{name}.wav")
        write(tmp_path, f"metadata_dev/{place}/{name}.csv")
    found = find_recordings(tmp_path, DatasetConfig(layout="starss2022"), "dev")
    assert [(each.name, *each.attributes) for each in found] == [
        (NAME, 3, 21, None),
        ("fold4_room4_mix002", 4, 4, None),
    ]
    assert found[0].metadata_path == tmp_path / "metadata_dev" / "dev-train-sony" / f"{NAME}.csv"


def test_one_name_in_two_sub_folders_is_an_error(tmp_path):
    for place in ("dev-train-sony", "dev-train-tau"):
        write(tmp_path, f"foa_dev/{place}/{NAME}.wav")
    with pytest.raises(DataError, match=f"{NAME}.wav have one name"):
        find_recordings(tmp_path, DatasetConfig(layout="starss2023"), "dev")


def test_an_evaluation_set_has_names_without_split_and_no_labels(tmp_path):
    write(tmp_path, "foa_eval/mix001.wav")
    (found,) = find_recordings(tmp_path, DatasetConfig(layout="tau2020"), "eval")
    assert (found.split, found.room, found.metadata_path) == (0, None, None)


def test_a_moving_source_is_read_in_centimetres_frame_by_frame(tmp_path):
    text = "3,1,0,10,0,150\n4,1,0,14,0,150\n5,1,0,14,0,150\n5,6,1,-90,20,80\n"
    path = write(tmp_path, "a.csv", text)
    dataset = DatasetConfig(layout="starss2024")
    events = read_labels(path, dataset, 0.55)
    np.testing.assert_allclose(events.distance_m, [1.5, 1.5, 0.8])
    np.testing.assert_allclose(events.onset_s, [0.3, 0.4, 0.5])
    rows = rows_of_events(events, dataset.frames_of(0.55), dataset.label_hop_s)
    expected = np.array([[float(cell) for cell in line.split(",")] for line in text.split()])
    np.testing.assert_allclose(rows[:, [0, 1, 4, 2, 3]], expected[:, :5])


def test_frames_after_the_recording_are_left_out_and_told(tmp_path, caplog):
    path = write(tmp_path, "a.csv", "0,1,0,10,0\n9,1,0,10,0\n")
    notes = []
    events = read_labels(path, DatasetConfig(layout="tau2020"), 0.5, notes)
    assert len(events) == 1
    assert "1 entries lie after the recording" in notes[0]


def test_own_recordings_move_in_any_format_of_a_year(tmp_path):
    write(tmp_path, "hall/walk.wav")
    path = write(tmp_path, "hall/walk.csv", "0,1,0,10,0,1.5\n1,1,0,12,0,1.52\n1,1,1,90,0,2\n")
    write(tmp_path, "recordings.csv", "filename,split,overlap\nhall/walk.wav,3,\n")
    settings = {"layout": "list", "classes": ["kettle", "steps"]}
    dataset = DatasetConfig(**settings, metadata_format="spatialscaper")
    (found,) = find_recordings(tmp_path, dataset, "dev")
    assert (found.name, *found.attributes) == ("hall_walk", 3, None, None)
    events = read_labels(path, dataset, 0.2)
    assert sorted(events.azimuth_deg) == [10, 12, 90]
    np.testing.assert_allclose(sorted(events.distance_m), [1.5, 1.52, 2])
    with pytest.raises(DataError, match=r"distances in centimetres\. Expected"):
        read_labels(path, DatasetConfig(**settings), 0.2)


def test_own_recordings_need_a_list_and_classes_and_are_not_simulated(tmp_path):
    dataset = DatasetConfig(layout="list", classes=["kettle"])
    with pytest.raises(DataError, match=r"There is no list .*recordings\.csv\. Write it"):
        find_recordings(tmp_path, dataset, "dev")
    with pytest.raises(ConfigError, match="`classes` must be different names, at least one"):
        validate(DatasetConfig, {"layout": "list"}, "dataset")
    with pytest.raises(ConfigError, match="`metadata_format` is for annotations in label frames"):
        validate(DatasetConfig, {"metadata_format": "metadata2023"}, "dataset")
    task = task_of(
        "multi-accdoa-demo", tmp_path, dataset__layout="list", dataset__classes="[kettle]"
    )
    with pytest.raises(ConfigError, match="own recordings, which are not simulated"):
        SeldSimulator.of_task(task)


def test_metadata_of_another_year_is_an_error_that_names_it(tmp_path):
    path = write(tmp_path, "a.csv", "0,1,0,10,0,150\n")
    with pytest.raises(DataError, match="looks like metadata2023"):
        read_labels(path, DatasetConfig(layout="tau2021"), 60.0)


@pytest.mark.parametrize(
    ("layout", "n_classes", "channels", "pads"),
    [("tau2019", 11, 4, True), ("tau2021", 12, 4, True), ("starss2023", 13, 4, False),
     ("stereo2025", 13, 2, True)],
)  # fmt: skip
def test_a_layout_brings_its_classes_rate_and_lengths(layout, n_classes, channels, pads):
    dataset = DatasetConfig(layout=layout)
    assert (dataset.n_classes, dataset.channels, dataset.pad_short) == (n_classes, channels, pads)
    assert dataset.sample_rate_hz == (48000 if layout == "tau2019" else 24000)
    assert DatasetConfig(layout=layout, sample_rate_hz=16000).sample_rate_hz == 16000


def test_an_unknown_layout_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'tau2019'.*'stereo2025'.*Received: 'tau2022'"):
        validate(DatasetConfig, {"layout": "tau2022"}, "dataset")
