"""Files: JSON is read as strictly as it is written."""

import numpy as np
import pytest

from common.io.archives import read_arrays
from common.io.files import load_json, write_json
from tests.fuzz.damage import npy_of, zip_of


def test_json_comes_back_as_it_was_written(tmp_path):
    content = {"a": [1, 0.5, None, True], "b": {"Grüße 音": "x"}}
    write_json(tmp_path / "a.json", content)
    assert load_json(tmp_path / "a.json") == content


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1, "b": 2, "a": 3}', "given twice: 'a'"),
        ("[NaN]", "NaN is no number of JSON"),
        ("[-Infinity]", "no number of JSON"),
        ("[1e999]", "no number of JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[" * 100 + "]" * 100, "nested too deeply"),
        (r'["\ud800"]', "surrogates not allowed"),
        ("[" + "9" * 5000 + "]", "limit"),
        ("{", "Expecting"),
    ],
)
def test_values_outside_json_are_refused(tmp_path, text, problem):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=problem):
        load_json(tmp_path / "a.json")


def test_json_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="codec can't decode"):
        load_json(tmp_path / "a.json")


def test_an_archive_that_holds_more_than_arrays_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(zip_of({"mean.npy": npy_of(np.zeros(2)), "notes.txt": b"x"}))
    with pytest.raises(ValueError, match=r"more than arrays: \['notes\.txt'\]"):
        read_arrays(tmp_path / "a.npz")
