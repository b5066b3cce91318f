"""Files of rows of 2020 to 2025: reading, writing, and files of another kind than declared."""

import logging

import numpy as np
import pytest

from common.errors import ConfigError, DataError
from seld.recordings.csv_formats import (
    FORMATS,
    CsvFormat,
    csv_format,
    format_rows,
    parse_rows,
    parse_rows_and_vectors,
    read_rows,
    write_rows,
)
from seld.recordings.rows import COLUMNS, DISTANCE, ONSCREEN, SOURCE, make_rows, no_rows

STEREO = "frame,class,source,azimuth,distance,onscreen\n"
TEXTS = {  # two sources each
    "metadata2020": "0,2,1,-30,10\n7,0,2,170,-20\n",
    "metadata2021": "0,2,1,-30,10\n7,0,2,170,-20\n",
    "metadata2022": "0,2,1,-30,10\n7,0,2,170,-20\n",
    "metadata2023": "0,2,1,-30,10,150\n7,0,2,170,-20,235\n",
    "metadata2024": "0,2,1,-30,10,150\n7,0,2,170,-20,235\n",
    "spatialscaper": "0,2,1,-30,10,1.500\n7,0,2,170,-20,2.350\n",
    "submission2020": "0,2,0,0.5,-0.25,0.125\n7,0,0,-1.0,0.0,0.0\n",
    "submission2021": "0,2,0,0.5,-0.25,0.125\n7,0,0,-1.0,0.0,0.0\n",
    "submission2022": "0,2,0,0.5,-0.25,0.125\n7,0,0,-1.0,0.0,0.0\n",
    "submission2023": "0,2,0,0.5,-0.25,0.125,0\n7,0,0,-1.0,0.0,0.0,0\n",
    "submission2024": "0,2,0,0.5,-0.25,0.125,1.5\n7,0,0,-1.0,0.0,0.0,2.35\n",
    "track2020": "0,2,-30,10\n7,0,170,-20\n",
    "stereo2025": STEREO + "0,2,1,-30,150,1\n7,0,2,170,235,0\n",
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_is_read_and_written_again_unchanged(name, tmp_path):
    text = TEXTS[name]
    (tmp_path / "a.csv").write_text(text)
    rows = read_rows(tmp_path / "a.csv", name, 3)
    _, vectors = parse_rows_and_vectors(text, name, 3)
    write_rows(tmp_path / "b.csv", rows, name, vectors)
    assert (tmp_path / "b.csv").read_text() == text
    assert (vectors is not None) == FORMATS[name].is_cartesian


@pytest.mark.parametrize("name", FORMATS)
def test_rows_are_degrees_and_metres_whatever_the_file(name):
    rows, columns = parse_rows(TEXTS[name], name, 3), FORMATS[name].columns
    assert rows[:, :2].tolist() == [[0, 2], [7, 0]]
    if FORMATS[name].is_cartesian:
        expected = [np.degrees(np.arctan2(-0.25, 0.5)), 180.0]
        elevation = [np.degrees(np.arctan2(0.125, np.hypot(0.5, 0.25))), 0.0]
        np.testing.assert_allclose(rows[:, 2:4].T, [expected, elevation])
    else:
        flat = "elevation" not in columns
        assert rows[:, 2:4].tolist() == [[-30, 0 if flat else 10], [170, 0 if flat else -20]]
    known = {"distance": (DISTANCE, [1.5, 2.35]), "onscreen": (ONSCREEN, [1.0, 0.0])}
    for column, (index, values) in known.items():
        if column in columns:
            np.testing.assert_allclose(rows[:, index], values)
        else:
            assert np.isnan(rows[:, index]).all()
    assert np.isnan(rows[:, SOURCE]).all() == ("source" not in columns)


@pytest.mark.parametrize("name", FORMATS)
def test_an_empty_file_has_no_rows(name):
    for text in ("", "\n \n", STEREO if FORMATS[name].header else "\ufeff"):
        assert parse_rows(text, name).shape == (0, len(COLUMNS))
    assert format_rows(no_rows(), name) == (STEREO if FORMATS[name].header else "")


def test_old_synthetic_folds_have_no_distances():
    rows = parse_rows("0,2,1,-30,10\n", "metadata2023")
    assert np.isnan(rows[0, DISTANCE])
    assert format_rows(rows, "metadata2023") == "0,2,1,-30,10\n"
    with pytest.raises(ValueError, match="1 of 1 rows without one"):
        format_rows(rows, "submission2024")


def test_numbers_may_have_decimals_and_other_separators_and_quotes():
    rows = parse_rows('3.0;1;"0";-30.25;1e1;200.5;\n\n4;1;0;1;2;200\n', "metadata2024")
    assert rows[0].tolist()[:6] == [3, 1, -30.25, 10, 0, 2.005] and len(rows) == 2


def test_whole_numbers_are_rounded_half_to_even():
    rows = make_rows(np.zeros(3), np.zeros(3), np.array([0.5, 1.5, -0.5]), 2.5, distance_m=1.005)
    assert format_rows(rows, "metadata2020") == "0,0,0,0,2\n0,0,0,2,2\n0,0,0,0,2\n"
    assert format_rows(rows[:1], "stereo2025") == STEREO + "0,0,0,0,100,0\n"


def test_vectors_are_of_length_one_or_as_given():
    rows = make_rows(np.array([4]), np.array([1]), np.array([90.0]), distance_m=0.5)
    x, y, z = map(float, format_rows(rows, "submission2024").split(",")[3:6])
    assert (x, y, z) == pytest.approx((0, 1, 0), abs=1e-12)
    raw = np.array([[0.1, 0.6, -0.05]], np.float32)
    text = format_rows(rows, "submission2020", raw)
    assert np.array_equal(np.float32(text.split(",")[3:]), raw[0])
    with pytest.raises(ValueError, match=r"\(1, 3\)"):
        format_rows(rows, "submission2020", np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("metadata2020", TEXTS["metadata2023"], "Received: 6. This looks like metadata2023"),
        ("metadata2020", TEXTS["track2020"], "Received: 4. This looks like track2020"),
        ("metadata2020", TEXTS["stereo2025"], "no header.*This looks like stereo2025"),
        ("metadata2023", TEXTS["submission2020"], "angles in degrees.*looks like submission2020"),
        ("submission2020", TEXTS["metadata2023"], "vectors x, y, z.*looks like metadata2023"),
        ("submission2020", TEXTS["metadata2020"], "5. This looks like metadata2020"),
        ("submission2022", TEXTS["submission2024"], "looks like submission2024"),
        ("submission2024", TEXTS["submission2020"], "looks like submission2020"),
        ("stereo2025", "0,2,1,-30,150,1\n", "has the header.*stereo2025 without its header"),
        ("stereo2025", TEXTS["metadata2023"], "has the header.*metadata2023"),
        ("stereo2025", "frame,class,azimuth\n0,1,2\n", "has the header"),
        ("metadata2024", TEXTS["spatialscaper"], "centimetres.*at most 2.35, as if in metres"),
        ("spatialscaper", TEXTS["metadata2023"], "line 1: distance.*metres, 100 at most"),
        ("metadata2020", "0,2,1,-30,10\n0,2,1,361,10\n", "line 2: azimuth.*-360 to 360"),
        ("metadata2020", "0,2,1,-30,91\n", "line 1: elevation.*-90 to 90"),
        ("metadata2020", "0,3,1,-30,10\n", "line 1: class.*0 to 2.*Received: 3"),
        ("metadata2020", "\n-1,2,1,-30,10\n", "line 2: frame.*a whole number"),
        ("metadata2020", "0.5,2,1,-30,10\n", "line 1: frame"),
        ("metadata2020", "999999999,2,1,-30,10\n", "line 1: frame"),
        ("metadata2020", "0,2,1,-30,10\n0,2,1,x,10\n", "line 2: expected numbers"),
        ("metadata2020", "0,2,1,nan,10\n", "line 1: expected numbers"),
        ("metadata2020", "0,2,1,1_0,10\n", "without underscores"),
        ("metadata2020", "0,2,1,٣,10\n", "digits 0 to 9"),
        ("metadata2020", "0,2,1,-30,10\n0,2,1,10\n", "line 2: expected as many numbers"),
        ("stereo2025", STEREO + "0,2,1,-30,150,2\n", "line 2: onscreen.*0 or 1"),
        ("metadata2024", "0,2,1,-30,10,-5\n", "line 1: distance.*0 or more"),
    ],
)
def test_files_of_another_kind_are_refused_with_place_and_guess(name, text, problem):
    with pytest.raises(DataError, match=problem) as caught:
        parse_rows(text, name, 3, "a.csv")
    assert str(caught.value).startswith("a.csv")


def test_a_missing_file_and_an_unknown_format_are_named(tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        read_rows(tmp_path / "a.csv", "metadata2020")
    with pytest.raises(ConfigError, match=r"one of metadata2020, .*Received: 'dcase2020'"):
        csv_format("dcase2020")


def test_own_formats_can_be_declared():
    fmt = CsvFormat("mine", ("frame", "class", "azimuth"), header=True)
    assert parse_rows("frame,class,azimuth\n1,2,3\n", fmt)[0, :3].tolist() == [1, 2, 3]


def test_a_network_that_has_learnt_nothing_writes_files_that_can_be_read():
    rows = make_rows(np.arange(3), np.zeros(3), np.zeros(3), distance_m=0.0, onscreen=0.0)
    for name in ("stereo2025", "submission2024"):
        assert (parse_rows(format_rows(rows, name), name)[:, DISTANCE] == 0).all()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("metadata2020", "4,0,0,1,1\n3,0,0,1,1\n3,0,0,1,1\n", "backward at 1 line"),
        ("metadata2020", "4,1,1,1,1\n" * 4 + "5,1,1,1,1\n", "more than 3 sources.* 1 time"),
        ("metadata2020", "4,1,1,1,1\n5,2,1,1,1\n6,1,0,1,1\n6,2,0,1,1\n", "class 1 time"),
        ("submission2023", TEXTS["submission2024"], "7th column is ignored"),
        ("submission2024", TEXTS["submission2023"], "all distances are 0"),
    ],
)
def test_oddities_are_counted_in_the_log(name, text, told, caplog):
    import re

    with caplog.at_level(logging.INFO):
        parse_rows(text, name, 3, "a.csv")
    assert [bool(re.search(told, record.getMessage())) for record in caplog.records] == [True]
