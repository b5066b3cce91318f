"""Labels, parts, active seconds and several folders of own recordings, and who gets which part."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from common.errors import ConfigError, DataError
from common.simulation.own_recordings import (
    background_digest,
    find_backgrounds,
    find_own_recordings,
    source_digest,
)
from common.simulation.source_selection import (
    SoundSelection,
    SoundSets,
    mixed,
    report_bandwidths,
    select_backgrounds,
    select_sounds,
)

CLASSES = ("Cat", "Dog")
SETS = SoundSets(
    {0: "learning", 1: "choosing", 2: "scoring"}, {0: "train", 1: "validation", 2: "test"}
)
SETTINGS = SimpleNamespace(version="1", seed=3, on_missing="synth")
RATE_HZ = 8000


def make_files(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def table(folder: Path, header: str, *rows: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def in_parts(*parts: str, n: int = 4) -> list[str]:
    return [
        f"{part}/{name}/{part} {number}/a.wav"
        for part in parts
        for name in CLASSES
        for number in range(n)
    ]


def parts_of_sets(
    selections: list[SoundSelection], folder: Path, set_numbers=(0, 1, 2)
) -> dict[int, set[str]]:
    found: dict[int, set[str]] = {number: set() for number in set_numbers}
    for each in selections:
        found[each.set_number] |= {path.relative_to(folder).parts[0] for path in each.recordings}
    return found


def test_labels_of_a_table_stand_for_class_folders(tmp_path):
    make_files(tmp_path, ["x/a.wav", "x/b.wav", "y/c.wav", "d.wav"])
    rows = ["x/a.wav,Cat,g", "x/b.wav,Dog,h", "y/c.wav,Cat,g", "d.wav,Horse,i"]
    found = find_own_recordings(table(tmp_path, "file,label,group", *rows), CLASSES)
    assert found.by_class == {
        "Cat": (tmp_path / "x/a.wav", tmp_path / "y/c.wav"),
        "Dog": (tmp_path / "x/b.wav",),
    }
    assert set(found.groups.values()) == {"g", "h"}
    assert "1 file(s) with labels that are no classes of the task are not used: Horse" in str(
        found.remarks
    )


def test_a_label_wins_over_the_folder_and_is_counted(tmp_path):
    make_files(tmp_path, ["Cat/a.wav", "Cat/b.wav", "Dog/c.wav", "attic/d.wav"])
    table(tmp_path, "file,label", "Cat/a.wav,Dog", "Cat/b.wav,Cat", "Dog/c.wav,Horse")
    found = find_own_recordings(tmp_path, CLASSES)
    names = {name: [path.name for path in paths] for name, paths in found.by_class.items()}
    assert names == {"Cat": ["b.wav"], "Dog": ["a.wav"]}
    text = " ".join(found.remarks)
    assert "1 file(s) lie in the folder of another class than their label" in text
    assert "no classes of the task are not used: Horse" in text
    assert "1 file(s) without a label and outside the folders of classes" in text


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        ("label", "", r"line 2: the column label is empty"),
        ("split", "", r"line 2: the column split is empty"),
        ("split", "train2", r"line 2: unknown split.*train, validation, test.*'train2'"),
        ("active", "0.1", r"line 2: active seconds cannot be read.*Received: '0.1'"),
        ("active", "0.5-0.1", r"active seconds cannot be read"),
        ("active", "-0.1-0.5", r"active seconds cannot be read"),
        ("active", "0-1|0.5-2", r"active seconds overlap"),
        ("active", "a-b", r"active seconds cannot be read"),
        ("bandwidth_hz", "8 kHz", r"line 2: the column bandwidth_hz is no frequency.*'8 kHz'"),
        ("bandwidth_hz", "0", r"bandwidth_hz is no frequency"),
    ],
)
def test_malformed_values_are_named_with_file_and_row(tmp_path, header, row, message):
    make_files(tmp_path, ["Cat/a.wav"])
    table(tmp_path, f"file,{header}", f"Cat/a.wav,{row}")
    with pytest.raises(DataError, match=r"metadata\.csv, line 2.*"):
        find_own_recordings(tmp_path, CLASSES)
    with pytest.raises(DataError, match=message):
        find_own_recordings(tmp_path, CLASSES)


@pytest.mark.parametrize("rows", [["Cat/gone.wav,g"], ["Cat/a.wav,g", "Cat/gone.wav,g"]])
def test_a_table_that_names_missing_files_is_refused(tmp_path, rows):
    make_files(tmp_path, ["Cat/a.wav"])
    with pytest.raises(DataError, match=r"line [23]: there is no file 'Cat/gone\.wav'"):
        find_own_recordings(table(tmp_path, "file,group", *rows), CLASSES)


def test_rows_of_other_folders_than_the_given_one_are_counted(tmp_path):
    make_files(tmp_path / "ours", ["Cat/a.wav"])
    table(tmp_path, "file,group", "ours/Cat/a.wav,g", "theirs/Cat/b.wav,h")
    assert "1 row(s) of" in find_own_recordings(tmp_path / "ours", CLASSES).note


def test_active_seconds_beyond_the_end_are_refused(tmp_path):
    (tmp_path / "Cat").mkdir()
    soundfile.write(tmp_path / "Cat/a.wav", 0.1 * np.ones(RATE_HZ), RATE_HZ)
    table(tmp_path, "file,active", "Cat/a.wav,0.1-0.2;0.5-1.5")
    with pytest.raises(DataError, match=r"metadata.csv, line 2: .*until 1.5 s.*its length, 1 s"):
        select_sounds(CLASSES, (0,), SETS, CLASSES, SETTINGS, tmp_path)


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "validation", "test")])
@pytest.mark.parametrize("by", ["folder", "column"])
def test_each_set_takes_its_part_only(tmp_path, parts, by):
    names = in_parts(*parts)
    if by == "folder":
        make_files(tmp_path, names)
    else:
        rows = [f"{name},{name.split('/')[1]},{name.split('/')[0]}" for name in names]
        make_files(tmp_path / "sounds", names)
        rows = [f"sounds/{row},{row.split('/')[2]}" for row in rows]
        table(tmp_path, "file,label,split,group", *rows)
    selections = select_sounds(CLASSES, (0, 1, 2), SETS, (), SETTINGS, tmp_path)
    below = tmp_path if by == "folder" else tmp_path / "sounds"
    chosen = "validation" if "validation" in parts else "train"
    assert parts_of_sets(selections, below) == {0: {"train"}, 1: {chosen}, 2: {"test"}}
    groups = [path.parent for each in selections for path in each.recordings]
    dealt = [{path.parent.name for path in each.recordings} for each in selections]
    assert len(groups) == len(set(groups)) == len(names)
    assert not dealt[0] & dealt[1] and all(each.n_groups for each in selections)


def test_titles_of_sets_in_the_column_split_take_files(tmp_path):
    files = [f"Cat/{number}.wav" for number in range(6)]
    make_files(tmp_path, files)
    split = ["scoring", "Learning", "choosing", "scoring", "learning", "learning"]
    rows = [f"{file},{each}" for file, each in zip(files, split, strict=True)]
    table(tmp_path, "file,split", *rows)
    selections = select_sounds(("Cat",), (0, 1, 2), SETS, (), SETTINGS, tmp_path)
    names = [[path.stem for path in each.recordings] for each in selections]
    assert names == [["1", "4", "5"], ["2"], ["0", "3"]]


def test_a_group_in_two_parts_is_refused_with_both_files(tmp_path):
    names = in_parts("train", "test")
    make_files(tmp_path, [*names, "test/Dog/train 0/b.wav"])
    with pytest.raises(DataError, match=r"'train 0' in test \(.*0/b.wav\) and in train \("):
        select_sounds(CLASSES, (0, 1, 2), SETS, CLASSES, SETTINGS, tmp_path)


def test_a_part_with_fewer_groups_than_sets_is_an_error(tmp_path):
    make_files(tmp_path, [*in_parts("train"), "test/Dog/rex/a.wav"])
    message = r"part test: too few groups.*Cat has 0 group\(s\), none for scoring"
    with pytest.raises(DataError, match=message):
        select_sounds(CLASSES, (0, 2), SETS, CLASSES, SETTINGS, tmp_path)
    rows = ["a.wav,train,Cat", "b.wav,test,Cat"]
    make_files(table(tmp_path / "one", "file,split,label", *rows), ["a.wav", "b.wav"])
    with pytest.raises(DataError, match=r"Cat has 1 group\(s\).*none for choosing"):
        select_sounds(CLASSES, (0, 1), SETS, CLASSES, SETTINGS, tmp_path / "one")


def test_a_part_given_alone_serves_all_sets(tmp_path):
    make_files(tmp_path, in_parts("train", "test"))
    rows = [f"{name},{name.split('/')[0]}" for name in in_parts("train", "test")]
    table(tmp_path, "file,split", *rows)
    for folder, name in ((tmp_path / "train", "train"), (tmp_path / "test", "test")):
        found = find_own_recordings(folder, CLASSES)
        assert not found.parts and f"all recordings are of the part {name}" in found.remarks[0]
        selections = select_sounds(CLASSES, (0, 1, 2), SETS, (), SETTINGS, folder)
        assert all(each.recordings for each in selections)


def test_files_beside_the_parts_are_refused(tmp_path):
    make_files(tmp_path, [*in_parts("train", "test"), "Cat/a.wav"])
    with pytest.raises(DataError, match=r"1 file\(s\) such as .*Cat/a.wav are in none"):
        find_own_recordings(tmp_path, CLASSES)


def test_a_split_that_contradicts_the_folder_is_refused(tmp_path):
    make_files(tmp_path, ["train/Cat/a.wav"])
    table(tmp_path, "file,split", "train/Cat/a.wav,test")
    with pytest.raises(DataError, match=r"line 2: the split of .*'test'. Expected: 'train'"):
        find_own_recordings(tmp_path, CLASSES)


def test_a_class_named_like_a_part_stays_a_class(tmp_path):
    make_files(tmp_path, ["train/a.wav", "Cat/b.wav"])
    found = find_own_recordings(tmp_path, ("Cat", "train"))
    assert not found.parts and len(found.by_class["train"]) == 1


def test_parts_that_no_set_takes_are_counted(tmp_path, caplog):
    make_files(tmp_path, in_parts("train", "validation", "test"))
    select_sounds(CLASSES, (0,), SETS, (), SETTINGS, tmp_path)
    assert "8 file(s) of validation" in caplog.text and "8 file(s) of test" in caplog.text


def test_the_same_names_in_two_folders_are_different_files(tmp_path):
    names = [f"{name}/{number}.wav" for name in CLASSES for number in range(3)]
    folders = tuple(make_files(tmp_path / each, names) for each in ("b", "a"))
    found = find_own_recordings(folders, CLASSES)
    assert len(found.files) == 12 and len(set(found.names.values())) == 12
    selections = select_sounds(CLASSES, (0, 1, 2), SETS, (), SETTINGS, folders)
    assert [each.n_groups for each in selections] == [2] * 6
    table(folders[0], "file,group", *(f"{name},g {name}" for name in names))
    sources = find_own_recordings(folders, CLASSES).groups
    assert len(set(sources.values())) == 12  # the other folder's files are groups of their own


def test_folders_with_files_in_common_are_refused(tmp_path):
    make_files(tmp_path, in_parts("train"))
    with pytest.raises(DataError, match="have files in common"):
        find_own_recordings((tmp_path, tmp_path / "train"), CLASSES)
    with pytest.raises(DataError, match=r"There is no folder .*gone"):
        find_backgrounds((tmp_path, tmp_path / "gone"))


def test_shared_sets_are_disjoint_only_with_parts(tmp_path):
    sets = SoundSets(SETS.titles, SETS.parts, shared={1: 2})
    flat = make_files(tmp_path / "flat", [f"Cat/{number}.wav" for number in range(6)])
    chosen = select_sounds(("Cat",), (0, 1, 2), sets, (), SETTINGS, flat)
    assert chosen[1].recordings == chosen[2].recordings and len(chosen[0].recordings) == 3
    make_files(tmp_path / "parts", in_parts("train", "test"))
    chosen = select_sounds(("Cat",), (0, 1, 2), sets, (), SETTINGS, tmp_path / "parts")
    assert [len(each.recordings) for each in chosen] == [2, 2, 4]


def test_backgrounds_have_parts_and_several_folders(tmp_path):
    names = [f"{part}/{number}.wav" for part in ("train", "test") for number in range(4)]
    make_files(tmp_path / "a", names)
    make_files(tmp_path / "b", ["rain.wav", "wind.wav", "sea.wav"])
    table(tmp_path / "b", "file,split", "rain.wav,train", "wind.wav,test", "sea.wav,train")
    folders = (tmp_path / "a", tmp_path / "b")
    selections = select_backgrounds(folders, (0, 2), SETS, SETTINGS)
    parts = find_backgrounds(folders).parts
    for each, part in zip(selections, ("train", "test"), strict=True):
        assert {parts[path] for path in each.recordings} == {part}
    assert len(selections[1].recordings) == 5


def test_digests_follow_parts_labels_seconds_and_folders(tmp_path):
    root = make_files(tmp_path / "root", ["x/a.wav", "x/b.wav", "train/Cat/c.wav"])
    digests, backgrounds = set(), set()
    for row in ("Cat,train,", "Dog,train,", "Cat,test,", "Cat,train,0-1", "Cat,train,0-0.5"):
        rows = [f"x/a.wav,{row}", "x/b.wav,Dog,test,", "train/Cat/c.wav,Cat,train,"]
        table(root, "file,label,split,active", *rows)
        digests.add(source_digest(root, CLASSES))
        backgrounds.add(background_digest(root))
    assert len(digests) == 5 and len(backgrounds) == 2  # these have neither classes nor seconds
    (tmp_path / "more").mkdir()
    assert source_digest((root, tmp_path / "more"), CLASSES) not in digests


def test_a_share_of_synthetic_sounds_needs_recipes():
    own = [SoundSelection("Cat", 0, (Path("a.wav"),))]
    assert mixed(own, ("Cat",), 0.5) == own and mixed(own, (), 0.0) == own
    assert mixed(own, ("Cat",), 1.0)[0].recordings == ()
    with pytest.raises(ConfigError, match=r"no synthetic sound for Cat.*Received: 0.5"):
        mixed(own, (), 0.5)


def test_recordings_that_end_below_the_highest_band_are_counted(caplog):
    files = (Path("a.wav"), Path("b.wav"), Path("c.wav"))
    cat = SoundSelection("Cat", 0, files, bandwidths_hz=(8000.0, 7000.0, None))
    dog = SoundSelection("Dog", 0, files[:1], bandwidths_hz=(12000.0,))
    report_bandwidths([cat, dog], highest_hz=11025.0)
    assert "11025 Hz: Cat 2 of 2 (median 7500 Hz, lowest 7000 Hz). A network" in caplog.text
    assert "Dog" not in caplog.text


def test_each_part_may_have_its_own_table(tmp_path):
    for part in ("train", "test"):
        make_files(tmp_path / part, ["x/a.wav", "Dog/b.wav"])
        rows = [f"x/a.wav,Cat,{part} tom", f"Dog/b.wav,Dog,{part} rex"]
        table(tmp_path / part, "file,label,group", *rows)
    found = find_own_recordings(tmp_path, CLASSES)
    assert sorted(found.groups.values()) == ["test rex", "test tom", "train rex", "train tom"]
    assert {part for path, part in found.parts.items() if path.parts[-3] == "test"} == {"test"}
