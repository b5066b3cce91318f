"""Suffixes of recordings, and files of a list."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from common.audio.formats import (
    find_sounds,
    is_sound,
    list_sounds,
    shown,
    sound_path,
    sound_suffixes,
    stem_of,
)
from common.errors import DataError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64", "VOC"]
)
def test_every_common_format_that_is_written_has_a_suffix(kind):
    soundfile.write(
        io.BytesIO(), np.zeros(100), 16000, format=kind, subtype=soundfile.default_subtype(kind)
    )
    assert f".{kind.lower()}" in sound_suffixes()


@pytest.mark.parametrize(
    "name", ["a.wav", "b.WAV", "c.Flac", "d.opus", "e.aif", "f.mp3", "g.1.ogg"]
)
def test_recordings_are_known_by_their_suffix_in_any_case(name):
    assert is_sound(name)


@pytest.mark.parametrize(
    "name", [".hidden.wav", "a.txt", "wav", "a.wav.part", "a.json", "b.m4a", "x.mat"]
)
def test_other_files_are_no_recordings(name):
    assert not is_sound(name)


def test_names_lose_only_the_suffix_of_a_recording():
    names = ["a.wav", "Y1_30.000_40.000", "Y1_30.000_40.000.FLAC", "b.m4a", "c.txt"]
    assert [stem_of(name) for name in names] == [
        "a",
        "Y1_30.000_40.000",
        "Y1_30.000_40.000",
        "b",
        "c.txt",
    ]


def test_a_folder_is_listed_as_recordings_and_others(tmp_path):
    touch(tmp_path, "b.flac", "a.WAV", "c.m4a", "readme.txt", ".x.wav").joinpath("d.wav").mkdir()
    assert list_sounds(tmp_path) == (["a.WAV", "b.flac"], ["c.m4a", "readme.txt"])


def test_a_recording_of_another_suffix_stands_for_a_name(tmp_path):
    touch(tmp_path, "a.flac", "b.wav", "b.flac", "C.wav", "e.txt", "f.WAV", "Y_1.000_2.000.ogg")
    names = ["a.wav", "b.wav", "c.wav", "d.wav", "e.wav", "f.wav", "Y_1.000_2.000"]
    found = find_sounds(names, tmp_path)
    assert {name: path.name for name, path in found.paths.items()} == {
        "a.wav": "a.flac",
        "b.wav": "b.wav",
        "f.wav": "f.WAV",
        "Y_1.000_2.000": "Y_1.000_2.000.ogg",
    }
    assert found.renamed == {
        "a.wav": "a.flac",
        "f.wav": "f.WAV",
        "Y_1.000_2.000": "Y_1.000_2.000.ogg",
    }
    assert [sound_path(tmp_path, name).name for name in names[:6]] == [
        "a.flac",
        "b.wav",
        "c.wav",
        "d.wav",
        "e.wav",
        "f.WAV",
    ]


def test_a_file_that_is_listed_itself_stands_for_no_other(tmp_path):
    assert set(find_sounds(["a.wav", "a.flac"], touch(tmp_path, "a.flac")).paths) == {"a.flac"}
    assert find_sounds(["a.wav"], tmp_path / "none").paths == {}


def test_two_recordings_that_could_be_meant_are_refused(tmp_path):
    touch(tmp_path, "a.flac", "a.ogg")
    for find in (lambda: find_sounds(["a.wav"], tmp_path), lambda: sound_path(tmp_path, "a.wav")):
        with pytest.raises(
            DataError, match=r"has no 'a\.wav', but a\.flac, a\.ogg.*Move the others away"
        ):
            find()


def test_many_names_are_shown_by_the_first_few():
    assert shown(["a", "b"]) == "a, b" and shown(list("abcdefg")) == "a, b, c, d, e and 2 more"
