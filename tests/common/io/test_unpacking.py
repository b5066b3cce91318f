"""Archives in one file and in parts, whole, damaged and hostile."""

import io
import zipfile
from pathlib import Path

import pytest

from common.errors import DataError
from common.io.unpacking import JoinedFiles, unpack_zip
from tests.split_zip import write_split_zip

CONTENTS = {
    "foa_dev/a.wav": bytes(range(256)) * 8,
    "foa_dev/b.wav": b"b" * 1000,
    "foa_dev/c.csv": b"c,d\n",
}
CUTS = (700, 1500, 2400)  # a file over three parts, the next one over two


def test_several_files_are_read_as_one(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path, text in zip(paths, (b"ab", b"", b"cdef"), strict=True):
        path.write_bytes(text)
    with JoinedFiles(paths) as joined, io.BufferedReader(joined) as reader:
        assert reader.read() == b"abcdef"
        assert (reader.seek(1), reader.read(2)) == (1, b"bc")
        assert (reader.seek(-2, io.SEEK_END), reader.read(9)) == (4, b"ef")


def test_a_split_archive_is_unpacked_from_its_parts(tmp_path):
    parts = write_split_zip(tmp_path / "foa_dev.zip", CONTENTS, CUTS)
    assert [part.name for part in parts] == [
        "foa_dev.z01",
        "foa_dev.z02",
        "foa_dev.z03",
        "foa_dev.zip",
    ]
    assert unpack_zip(parts, tmp_path / "out") == 3
    assert {name: (tmp_path / "out" / name).read_bytes() for name in CONTENTS} == CONTENTS


def test_an_archive_in_one_file_is_unpacked_with_its_folders(tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("empty")
        archive.writestr("a/b.txt", b"x" * 5000)
    assert unpack_zip([tmp_path / "whole.zip"], tmp_path) == 1
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"x" * 5000


def test_files_of_the_right_size_are_kept_others_written_again(tmp_path):
    parts = write_split_zip(tmp_path / "foa_dev.zip", CONTENTS, CUTS)
    unpack_zip(parts, tmp_path)
    (tmp_path / "foa_dev" / "b.wav").write_bytes(b"cut")
    assert unpack_zip(parts, tmp_path) == 1
    assert (tmp_path / "foa_dev" / "b.wav").read_bytes() == CONTENTS["foa_dev/b.wav"]


def test_a_missing_part_is_named(tmp_path):
    parts = write_split_zip(tmp_path / "foa_dev.zip", CONTENTS, CUTS)
    parts[1].unlink()
    with pytest.raises(DataError, match=r"no .*foa_dev\.z02\. Download all parts of foa_dev\.zip"):
        unpack_zip(parts, tmp_path)


def test_a_damaged_file_is_refused_and_not_left_behind(tmp_path):
    parts = write_split_zip(tmp_path / "foa_dev.zip", CONTENTS, CUTS)
    text = bytearray(parts[1].read_bytes())
    text[10] ^= 1
    parts[1].write_bytes(text)
    with pytest.raises(
        DataError, match=r"cannot be unpacked .*CRC.*Delete the parts and download them again"
    ):
        unpack_zip(parts, tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("kept", [slice(3, None), slice(2, None), slice(0, 3)])
def test_an_archive_without_some_of_its_parts_is_refused(tmp_path, kept):
    parts = write_split_zip(tmp_path / "foa_dev.zip", CONTENTS, CUTS)
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack_zip(parts[kept], tmp_path / "out")


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt"])
def test_an_entry_outside_the_folder_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(DataError, match="would be written outside its folder"):
        unpack_zip([tmp_path / "bad.zip"], tmp_path / "out")
    assert not (tmp_path / "outside.txt").exists() and not Path("/outside.txt").exists()
