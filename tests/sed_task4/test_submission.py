"""Event files: written, read again, and refused with file and line."""

import numpy as np
import pytest

from common.errors import DataError
from sed_task4.submission import format_submission, read_submission, write_submission
from tests.event_tables import table_of

CLASSES = ("Cat", "Dog")
NAMES = ["a.wav", "b.wav", "c.wav"]
CLIPS = [
    np.array([[0, 0.0, 1.1875], [1, 1 / 3, 10.0]]),
    np.zeros((0, 3)),
    np.array([[1, 2.5, 2.75]]),
]


def test_the_file_has_a_row_for_each_event():
    lines = format_submission(NAMES, CLIPS, CLASSES).split("\n")
    assert lines[0] == "filename\tonset\toffset\tevent_label"
    assert lines[1] == "a.wav\t0.0\t1.1875\tCat"
    assert lines[-2:] == ["c.wav\t2.5\t2.75\tDog", ""]


def test_written_events_are_read_to_the_last_digit(tmp_path):
    write_submission(tmp_path / "events.tsv", NAMES, CLIPS, CLASSES)
    events, names = read_submission(tmp_path / "events.tsv", CLASSES)
    assert names == ["a.wav", "c.wav"]
    table = table_of(events, NAMES, CLASSES)
    for number, rows in enumerate(CLIPS):
        np.testing.assert_array_equal(table.of_recording(number), rows)


def test_without_events_there_is_only_the_header(tmp_path):
    write_submission(tmp_path / "events.tsv", NAMES, [np.zeros((0, 3))] * 3, CLASSES)
    events, names = read_submission(tmp_path / "events.tsv", CLASSES)
    assert len(events) == 0 and names == []


def test_a_row_with_only_a_name_is_a_silent_clip(tmp_path):
    (tmp_path / "events.tsv").write_text(
        "filename\tonset\toffset\tevent_label\nx.wav\t\t\t\ny.wav\t0\t1\tCat\n"
    )
    events, names = read_submission(tmp_path / "events.tsv", CLASSES)
    assert len(events) == 1 and names == ["x.wav", "y.wav"]


@pytest.mark.parametrize(
    "row",
    [
        "a.wav\t0\t1\tCow",
        "a.wav\t1\t0.5\tCat",
        "a.wav\tnow\t1\tCat",
        "a.wav\t-1\t1\tCat",
        "a.wav\t0\t\tCat",
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, row):
    path = tmp_path / "events.tsv"
    path.write_text(f"filename\tonset\toffset\tevent_label\nb.wav\t0\t1\tDog\n{row}\n")
    with pytest.raises(DataError, match=r"events\.tsv, line 3"):
        read_submission(path, CLASSES)


def test_a_missing_or_unreadable_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no event file .*none"):
        read_submission(tmp_path / "none.tsv", CLASSES)
    (tmp_path / "bad.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"bad\.tsv cannot be read as text"):
        read_submission(tmp_path / "bad.tsv", CLASSES)
