"""Recordings that a command names: files, folders and globs, and the names of their results."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from common.errors import DataError
from common.inference.inputs import find_inputs
from tests.patience import PATIENCE_S

RATE_HZ = 8000


def write(folder, *names, channels=1, seconds=0.1):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.zeros((round(seconds * RATE_HZ), channels)), RATE_HZ)


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """A folder with recordings of several days, which is the current one."""
    write(tmp_path, "day1/a.wav", "day1/b.flac", "day2/a.wav", "day2/night/c.ogg")
    write(tmp_path, ".hidden/a.wav", "day1/.a.wav")
    (tmp_path / "day1" / "notes.txt").write_text("none")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def named(*arguments):
    return {each.name: each.listed_as for each in find_inputs([*map(Path, arguments)]).recordings}


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["day1/a.wav"], ["a"]),
        (["day1/a.wav", "day2/night/c.ogg"], ["a", "c"]),
        (["day1/a.wav", "day2/a.wav"], ["day1/a", "day2/a"]),
        (["day1"], ["a", "b"]),
        (["."], ["day1/a", "day1/b", "day2/a", "day2/night/c"]),
        (["day1", "day2"], ["day1/a", "day1/b", "day2/a", "day2/night/c"]),
        (["*/a.wav"], ["day1/a", "day2/a"]),
        (["**/*.wav"], ["day1/a", "day2/a"]),
        (["day?"], ["day1/a", "day1/b", "day2/a", "day2/night/c"]),
        (["day2/**"], ["a", "night/c"]),
        (["day1/a.wav", "day1", "day1/../day1/a.wav"], ["a", "b"]),
    ],
)
def test_results_mirror_the_folders_of_the_recordings(inside, arguments, names):
    assert [*named(*arguments)] == names


def test_recordings_that_differ_in_their_ending_keep_it(inside):
    write(inside, "day1/b.wav")
    assert [*named("day1")] == ["a", "b.flac", "b.wav"]


def test_lists_name_files_as_challenges_do_unless_names_occur_twice(inside):
    assert named("day1") == {"a": "a.wav", "b": "b.flac"}
    assert named("day1", "day2/night") == {
        "day1/a": "a.wav",
        "day1/b": "b.flac",
        "day2/night/c": "c.ogg",
    }
    assert named("day1", "day2")["day2/a"] == "day2/a.wav"


def test_a_file_whose_name_looks_like_a_glob_is_a_file(inside):
    write(inside, "take [1].wav")
    found = find_inputs([Path("take [1].wav")])
    assert [each.name for each in found.recordings] == ["take [1]"] and not found.is_search


def test_links_in_a_circle_end(inside):
    os.symlink("..", inside / "day2" / "up")
    assert len(named("day2")) == 4  # those of day1 too, through the link


def test_what_cannot_be_used_is_a_problem_and_the_others_are_found(inside):
    (inside / "bad.wav").write_text("no sound")
    write(inside, "empty.wav", seconds=0)
    write(inside, "stereo.wav", channels=2)
    (inside / "nothing").mkdir()
    names = ["missing.wav", "bad.wav", "empty.wav", "nothing", "*.aiff", "stereo.wav", "day1"]
    found = find_inputs([*map(Path, names)])
    assert len(found.recordings) == 3 and found.is_search
    messages = [
        "There is no recording in nothing",
        "No recording matches *.aiff",
        "There is no missing.wav",
        "Not a readable sound file: bad.wav",
        "Empty recording: empty.wav",
    ]
    for message in messages:
        assert sum(message in str(problem) for problem in found.problems) == 1, message
    assert len(found.problems) == len(messages)
    of_mono = found.with_channels(1)
    assert len(of_mono.recordings) == 2 and "stereo.wav" in str(of_mono.problems[-1])
    of_mono.check()
    with pytest.raises(DataError, match="None of 8 recordings"):
        found.with_channels(4).check()


def test_a_missing_file_is_told_before_anything_large_is_loaded(tmp_path):
    (tmp_path / "settings.yaml").write_text("{}")
    program = (
        "import sys; from common.cli.predict import main\n"
        f"status = main([{str(tmp_path)!r}, 'missing.wav'])\n"
        "print(status, *{'tensorflow', 'keras', 'matplotlib', 'pandas'} & {*sys.modules})"
    )
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert result.stdout == "2\n"
    assert result.stderr.startswith("error: There is no missing.wav. Expected: a sound file")
    assert time.monotonic() - began < 10  # a second, on a machine with nothing else to do
