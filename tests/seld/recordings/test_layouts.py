"""Layouts of the datasets of 2019 to 2025."""

from pathlib import Path
from typing import get_args

import pytest

from common.errors import DataError
from seld.dataset import DatasetConfig
from seld.recordings.csv_formats import FORMATS
from seld.recordings.layouts import LAYOUTS, LayoutName

LATER = [name for name in LAYOUTS if name != "tau2019"]


def test_each_year_has_its_layout():
    assert (*LAYOUTS, "list") == get_args(LayoutName)
    assert [len(layout.classes) for layout in LAYOUTS.values()] == [11, 14, 12, 13, 13, 13, 13]
    assert LAYOUTS["tau2019"].classes == DatasetConfig().classes


@pytest.mark.parametrize("name", LATER)
def test_formats_of_files_are_known(name):
    assert LAYOUTS[name].metadata_format in FORMATS and LAYOUTS[name].submission_format in FORMATS


@pytest.mark.parametrize(
    ("name", "split", "site", "folder"),
    [
        ("tau2019", 1, 0, "foa_dev"),
        ("tau2020", 6, 0, "foa_dev"),
        ("tau2021", 1, 0, "foa_dev/dev-train"),
        ("tau2021", 5, 0, "foa_dev/dev-val"),
        ("tau2021", 6, 0, "foa_dev/dev-test"),
        ("starss2022", 3, 1, "foa_dev/dev-train-sony"),
        ("starss2023", 4, 0, "foa_dev/dev-test-tau"),
        ("starss2024", 1, 1, "foa_dev/dev-train-synth"),
    ],
)
def test_recordings_lie_in_the_published_folders(name, split, site, folder):
    layout = LAYOUTS[name]
    assert layout.file_folder("foa", "dev", split, site) == Path(folder)
    assert Path(folder) in layout.file_folders("foa", "dev")


@pytest.mark.parametrize(
    ("name", "recording", "attributes"),
    [
        ("tau2019", "split1_ir0_ov2_11", (1, 0, 2)),
        ("tau2020", "fold3_room1_mix007_ov2", (3, 1, 2)),
        ("tau2021", "fold6_room1_mix001", (6, 1, None)),
        ("starss2022", "fold3_room21_mix001", (3, 21, None)),
        ("stereo2025", "fold4_room23_mix003_deg-010_start005", (4, 23, None)),
    ],
)
def test_names_tell_split_room_and_overlap(name, recording, attributes):
    assert LAYOUTS[name].parse_name(recording) == attributes


@pytest.mark.parametrize("name", LAYOUTS)
def test_names_that_a_layout_writes_can_be_read_again(name):
    layout = LAYOUTS[name]
    split, room, overlap = layout.parse_name(layout.recording_name(4, 21, 130, 2))
    assert (split, room) == (4, 21) and overlap in (2, None)
    assert layout.parse_name(layout.evaluation_name(3), "eval") == (0, None, None)


def test_a_name_of_another_layout_is_refused():
    with pytest.raises(DataError, match=r"fold1_room0_mix011.*dataset\.layout"):
        LAYOUTS["starss2023"].parse_name("split1_ir0_ov2_11")
