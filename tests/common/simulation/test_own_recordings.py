"""Own recordings by class, and their sources: by table, by folder, or none."""

import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from common.errors import DataError
from common.simulation.dataset_folder import source_digest as digest_of_files
from common.simulation.own_recordings import (
    background_digest,
    find_backgrounds,
    find_own_recordings,
    source_digest,
)
from common.simulation.source_selection import SoundSets, select_sounds

CLASSES = ("Cat", "Dog")
TITLES = {0: "training", 1: "validation and test", 2: "evaluation"}
SETS = SoundSets(TITLES, {0: "train", 1: "test", 2: "test"})
SETTINGS = SimpleNamespace(version="1", seed=3, on_missing="synth")


def make_files(folder: Path, names: list[str]) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def flat(n: int) -> list[str]:
    return [f"{name}/{number}.wav" for name in CLASSES for number in range(n)]


def write_table(
    folder: Path, groups: Mapping[str, str], separator: str = ",", header: str = "file,group"
) -> None:
    rows = [
        header.replace(",", separator),
        *(f"{file}{separator}{group}" for file, group in groups.items()),
    ]
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")


def sets_of_groups(
    folder: Path, groups: Mapping[str, str], set_numbers=(0, 1, 2), settings=SETTINGS
) -> dict[str, set]:
    """The sets that each group is in."""
    selections = select_sounds(CLASSES, set_numbers, SETS, (), settings, folder)
    found: dict[str, set] = {}
    for selection in selections:
        for path in selection.recordings:
            found.setdefault(groups[path.relative_to(folder).as_posix()], set()).add(
                selection.set_number
            )
    return found


@pytest.mark.parametrize("seed", range(25))
def test_no_group_of_a_random_table_is_in_two_sets(tmp_path, seed):
    draw = random.Random(seed)
    files = flat(draw.randint(6, 20))
    groups = {file: f"author {draw.randint(0, 8)}" for file in files}  # most span both classes
    make_files(tmp_path, files)
    write_table(tmp_path, groups)
    try:
        found = sets_of_groups(tmp_path, groups)
    except DataError as error:
        assert "too few groups" in str(error)
    else:
        assert all(len(sets) == 1 for sets in found.values()) and set(found) == set(groups.values())


@pytest.mark.parametrize("seed", range(10))
def test_no_folder_of_a_source_is_in_two_sets(tmp_path, seed):
    draw = random.Random(seed)
    files = {f"{name}/person {draw.randint(0, 5)}/{n}/a.wav" for name in CLASSES for n in range(30)}
    files |= {f"{name}/alone{n}.flac" for name in CLASSES for n in range(2)}
    make_files(tmp_path, sorted(files))
    groups = {file: file.split("/")[1] if file.count("/") == 3 else file for file in files}
    found = sets_of_groups(tmp_path, groups)
    assert all(len(sets) == 1 for sets in found.values()) and set(found) == set(groups.values())


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("place", ["in the folder", "above it", "bare names", "of other folders"])
def test_tables_are_read_with_any_separator_and_place(tmp_path, separator, place):
    folder = make_files(tmp_path / "train", ["Cat/a.wav", "Dog/b c.wav"])
    make_files(tmp_path / "test", ["Cat/d.wav"])
    prefix = {"in the folder": "", "above it": "train/", "of other folders": "copied/from/"}.get(
        place
    )
    names = ["Cat/a.wav", "Dog/b c.wav"]
    rows = {
        f"{prefix}{name}" if prefix is not None else name.split("/")[1]: f"g {name}"
        for name in names
    }
    rows |= {"test/Cat/d.wav": "other"} if place == "above it" else {}
    write_table(tmp_path if place == "above it" else folder, rows, separator)
    found = find_own_recordings(folder, CLASSES)
    assert found.groups == {folder / name: f"g {name}" for name in names}


def test_excel_s_table_with_more_columns_is_read(tmp_path):
    make_files(tmp_path, ["Cat/a.wav"])
    text = (
        '\ufeff"split";"file";"label";"group"\r\n"train";"Cat\\a.wav";"Cat";"fs; author"\r\n;;;\r\n'
    )
    (tmp_path / "metadata.csv").write_bytes(text.encode())
    found = find_own_recordings(tmp_path, CLASSES)
    assert found.groups == {tmp_path / "Cat/a.wav": "fs; author"}
    assert found.rows[tmp_path / "Cat/a.wav"].part == "train"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("Cat/0.wav,\n", r"metadata.csv, line 2: the column group is empty"),
        (",g\n", r"line 2: the column file is empty"),
        ("Cat/0.wav,g\n\nCat/0.wav,h\n", r"line 4: .*group 'h', and in line 2 in group 'g'"),
        ("Cat/0.wav,g,h\n", r"line 2: 3 fields, more than"),
        ("Cat/0.wav\n", r"line 2: 1 fields, fewer than"),
        ("Cat/0.wav,g\nCat/O.wav,g\n", r"line 3: there is no file 'Cat/O.wav', while 3 file"),
        ("0.wav,g\n", r"line 2: there is no file '0.wav'"),  # there are two of this name
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, rows, message):
    make_files(tmp_path, flat(2))
    (tmp_path / "metadata.csv").write_text("file,group\n" + rows)
    with pytest.raises(DataError, match=message):
        find_own_recordings(tmp_path, CLASSES)


def test_a_table_without_the_column_file_is_refused(tmp_path):
    make_files(tmp_path, flat(2))
    (tmp_path / "metadata.csv").write_text("filename,group\nCat/0.wav,g\n")
    with pytest.raises(DataError, match=r"line 1: missing column\(s\) file"):
        find_own_recordings(tmp_path, CLASSES)


def test_files_without_a_listed_source_are_counted(tmp_path):
    make_files(tmp_path, [*flat(2), "Dog/park/0.wav"])
    write_table(tmp_path, {"Cat/0.wav": "g", "Cat/1.wav": "g"})
    note = find_own_recordings(tmp_path, CLASSES).note
    counted = "1 file(s) by folders of sources, 2 file(s) by metadata.csv, 2 file(s) without a"
    assert counted in note


@pytest.mark.parametrize("header", [None, "file,author", "name,text"])
def test_without_groups_files_are_dealt_with_one_warning(tmp_path, caplog, header):
    make_files(tmp_path, flat(7))
    if header:
        write_table(tmp_path, {"Cat/0.wav": "x"}, header=header)
    with caplog.at_level("INFO"):
        selections = select_sounds(CLASSES, (0, 1, 2), SETS, (), SETTINGS, tmp_path)
    lines = [record.message for record in caplog.records if "source of its own" in record.message]
    assert len(lines) == 1 and ("no column group" in lines[0]) == (header is not None)
    dealt = [
        [path.relative_to(tmp_path).as_posix() for path in selection.recordings]
        for selection in selections
    ]
    # Of the version that knew no groups.
    assert hashlib.md5(repr(dealt).encode()).hexdigest() == "f84e10b010552036d934ac5da92dece3"
    assert source_digest(tmp_path, CLASSES) == digest_of_files(tmp_path)


@pytest.mark.parametrize("on_missing", ["synth", "error"])
def test_a_class_with_fewer_groups_than_sets_is_an_error(tmp_path, on_missing):
    files = flat(9)
    make_files(tmp_path, files)
    write_table(tmp_path, {file: file if file.startswith("Dog") else "tom" for file in files})
    settings = SimpleNamespace(version="1", seed=3, on_missing=on_missing)
    message = (
        r"3 groups or more.*Cat has 1 group\(s\) \(tom with 9 file.*none for validation and test,"
        r" evaluation"
    )
    with pytest.raises(DataError, match=message):
        select_sounds(CLASSES, (0, 1, 2), SETS, CLASSES, settings, tmp_path)
    assert select_sounds(CLASSES, (0,), SETS, CLASSES, settings, tmp_path)[0].n_groups == 1


def test_the_requested_sets_do_not_change_the_distribution(tmp_path):
    files = flat(12)
    groups = {file: f"{file.split('/')[0]} {int(file.split('/')[1][:-4]) // 2}" for file in files}
    make_files(tmp_path, files)
    write_table(tmp_path, dict(random.Random(1).sample(sorted(groups.items()), len(groups))))
    every = sets_of_groups(tmp_path, groups)
    write_table(tmp_path, groups)  # other order of the rows
    for number in (0, 1, 2):
        alone = sets_of_groups(tmp_path, groups, (number,))
        assert alone == {name: sets for name, sets in every.items() if sets == {number}}


def test_the_digest_follows_the_groups(tmp_path):
    make_files(tmp_path, flat(3))
    sources, backgrounds = {source_digest(tmp_path, CLASSES)}, {background_digest(tmp_path)}
    for group in ("g", "h"):
        write_table(tmp_path, dict.fromkeys(flat(3), group))
        sources.add(source_digest(tmp_path, CLASSES))
        backgrounds.add(background_digest(tmp_path))
    assert len(sources) == len(backgrounds) == 3
    assert source_digest(None, CLASSES) is background_digest(None) is None


def test_only_the_table_groups_backgrounds(tmp_path):
    make_files(tmp_path, ["kitchen/a.wav", "kitchen/b.wav"])
    assert find_backgrounds(tmp_path).groups is None
    write_table(tmp_path, {"kitchen/a.wav": "g", "b.wav": "g"})
    assert set(find_backgrounds(tmp_path).groups.values()) == {"g"}


def test_a_folder_above_the_classes_is_reported(tmp_path):
    make_files(tmp_path, [f"sounds/{name}" for name in flat(2)])
    with pytest.raises(DataError, match=r"Its folders sounds hold classes"):
        select_sounds(CLASSES, (0,), SETS, CLASSES, SETTINGS, tmp_path)
