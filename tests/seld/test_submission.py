"""Submission files: format and errors."""

import numpy as np
import pytest

from common.errors import DataError
from seld.submission import format_submission, read_submission, write_submission

ROWS = np.array([[0, 3, -10.0, 40.0], [0, 5, 170.0, -20.0], [2999, 10, 0.0, 0.0]])


def test_a_file_is_lines_of_whole_numbers_without_header(tmp_path):
    write_submission(tmp_path / "a.csv", ROWS)
    assert (tmp_path / "a.csv").read_text() == "0,3,-10,40\n0,5,170,-20\n2999,10,0,0\n"


def test_angles_are_cut_towards_zero():
    assert format_submission(np.array([[1, 2, -12.9, 12.9]])) == "1,2,-12,12\n"


def test_reading_returns_the_written_rows(tmp_path):
    write_submission(tmp_path / "a.csv", ROWS)
    rows = read_submission(tmp_path / "a.csv", 11)
    np.testing.assert_array_equal(rows, ROWS)
    assert rows.dtype == np.float64


def test_a_silent_recording_is_an_empty_file(tmp_path):
    write_submission(tmp_path / "a.csv", np.zeros((0, 4)))
    assert (tmp_path / "a.csv").read_bytes() == b""
    assert read_submission(tmp_path / "a.csv", 11).shape == (0, 4)


def test_frames_and_angles_out_of_range_are_kept(tmp_path):
    (tmp_path / "a.csv").write_text("3001,0,200,-60\r\n\n")
    assert read_submission(tmp_path / "a.csv", 11).tolist() == [[3001, 0, 200, -60]]


def test_writing_does_not_change_the_rows(tmp_path):
    rows = ROWS + 0.5
    copy = rows.copy()
    write_submission(tmp_path / "a.csv", np.abs(rows))
    np.testing.assert_array_equal(rows, copy)


def test_rows_that_cannot_be_written_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="NaN or infinity"):
        write_submission(tmp_path / "a.csv", np.array([[0, 0, np.nan, 0]]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,2,3", "four whole numbers.*Received: '1,2,3'"),
        ("1,2,3,4,5", "four whole numbers"),
        ("1,2,3.5,4", "four whole numbers.*Received: '1,2,3.5,4'"),
        ("1,x,3,4", "four whole numbers"),
        ("1,2,nan,4", "four whole numbers"),
        ("1_0,2,3,4", "four whole numbers.*without underscores"),
        ("1;2;3;4", "four whole numbers"),
        ("frame,class,azimuth,elevation", "four whole numbers"),
        ("1,11,3,4", "unknown class. Expected: 0 to 10. Received: 11"),
        ("1,-1,3,4", "unknown class. Expected: 0 to 10. Received: -1"),
        ("-1,2,3,4", "frame is negative.*Received: -1"),
    ],
)
def test_an_invalid_line_is_named_with_a_remedy(tmp_path, line, message):
    path = tmp_path / "split1_ir0_ov1_1.csv"
    path.write_text(f"0,1,2,3\n{line}\n4,5,6,7\n")
    with pytest.raises(DataError, match=message) as caught:
        read_submission(path, 11)
    assert f"{path}, line 2:" in str(caught.value)
    assert "correct the line" in str(caught.value)


def test_numbers_of_more_than_64_bits_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text(f"{10**30},1,2,3\n")
    with pytest.raises(DataError, match=r"a\.csv, line 1: expected four whole numbers"):
        read_submission(tmp_path / "a.csv", 11)


def test_missing_and_binary_files_are_data_errors(tmp_path):
    with pytest.raises(DataError, match=r"no submission file .*a\.csv"):
        read_submission(tmp_path / "a.csv", 11)
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match=r"b\.csv cannot be read as text"):
        read_submission(tmp_path / "b.csv", 11)


@pytest.mark.parametrize("text", ["\U000d81a7¢\U000dec9e9~¿", "0,1,２,3\n", "0,1,2,3\n¢"])
def test_characters_beyond_ascii_do_not_end_the_process(tmp_path, text):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"a\.csv, line \d: expected four whole numbers"):
        read_submission(tmp_path / "a.csv", 11)
