"""Derived data serve only requests about their own sources: in every family, by every command."""

import os
import shutil
from pathlib import Path

import pytest

from common.cli.steps.prepare import prepare_data
from common.errors import DataError, UserError
from common.family import load
from sed_task4.segmentation import mixing
from tests.derived_data import FAMILIES, Office, copy_of, write_office

CHANGES = ("relabel", "split_anew", "add", "remove", "replace_audio")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Folders of each family with a dataset and its features."""
    folders = {family: tmp_path_factory.mktemp("made") for family in FAMILIES}
    for family, folder in folders.items():
        prepare_data(write_office(family, folder / "a").task(folder / "features"))
    return folders


@pytest.fixture(params=FAMILIES)
def office(request, made, tmp_path):
    """A dataset whose features are made."""
    shutil.copytree(made[request.param], tmp_path, dirs_exist_ok=True)
    return Office(request.param, tmp_path / "a")


def prepared(office: Office, *settings: str) -> list:
    return prepare_data(office.task(office.folder.parent / "features", *settings))


def fingerprints(office: Office) -> list[tuple[str, str]]:
    return [(store.fingerprint, store.splits_fingerprint) for store in prepared(office)]


def shard_times(office: Office) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns
        for path in office.folder.parent.rglob("features/*/*.tfrecord")
    }


def test_features_serve_the_same_dataset_again(office):
    before = shard_times(office)
    assert prepared(office) and shard_times(office) == before


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_dataset_stops_training_with_one_error(office, change):
    before = shard_times(office)
    getattr(office, change)()
    with pytest.raises(DataError, match=r"(differ, the first is|was made with other)") as error:
        prepared(office)
    assert shard_times(office) == before and "\n" not in str(error.value)


@pytest.mark.parametrize("change", CHANGES)
def test_extraction_again_makes_changed_features_usable(office, change, caplog):
    before = fingerprints(office)
    getattr(office, change)()
    task = office.task(office.folder.parent / "features")
    if office.family == "sed_task4.segmentation" and change != "replace_audio":
        (office.folder / "mixtures/mixture.json").unlink()  # from here on the list was given
        mixing.run(task, overwrite=True)
    load(office.family, "extraction").run(task, task.set_names, progress=False)
    assert fingerprints(office) != before
    if change in ("relabel", "replace_audio"):
        assert "differ from those that its features were made of, the first is" in caplog.text


def test_another_dataset_of_equal_names_sizes_and_times_is_refused(office, tmp_path):
    other = write_office(office.family, tmp_path / "b", seed=1)
    if office.family == "sed_task4.segmentation":
        prepare_data(other.task(tmp_path / "others"))
    for path in office.folder.rglob("*"):
        status = path.stat()
        os.utime(
            tmp_path / "b" / path.relative_to(office.folder),
            ns=(status.st_atime_ns, status.st_mtime_ns),
        )
    with pytest.raises(DataError, match=r"\d of \d recordings differ, the first is"):
        prepare_data(other.task(tmp_path / "features"))


def test_a_dataset_put_in_the_place_of_another_is_refused(office, tmp_path):
    other = write_office(office.family, tmp_path / "b", seed=1)
    if office.family == "sed_task4.segmentation":
        prepare_data(other.task(tmp_path / "others"))
    office.folder.rename(tmp_path / "old")
    other.folder.rename(office.folder)
    with pytest.raises(DataError, match=r"\d of \d recordings differ"):
        prepared(office)


def test_touched_recordings_and_labels_pass(office):
    for path in office.folder.rglob("*.*"):
        os.utime(path, ns=(1, 1))
    before = shard_times(office)
    assert prepared(office) and shard_times(office) == before


@pytest.mark.parametrize("with_times", [True, False])
def test_a_copied_or_moved_dataset_passes(office, tmp_path, with_times):
    copied = copy_of(office, tmp_path / "b", with_times=with_times)
    before = shard_times(office)
    assert prepare_data(copied.task(tmp_path / "features"))
    office.folder.rename(tmp_path / "c")
    assert prepare_data(Office(office.family, tmp_path / "c").task(tmp_path / "features"))
    assert shard_times(office) == before


@pytest.mark.parametrize("empty", [True, False])
def test_features_without_their_dataset_are_used_with_one_line(office, caplog, empty):
    shutil.rmtree(office.folder)
    if empty:  # a disk that is not mounted
        office.folder.mkdir()
    caplog.set_level("INFO")
    assert prepared(office)
    assert caplog.text.count("to compare the features in") == 1


def test_another_dataset_is_extracted_on_request(office, tmp_path):
    other = write_office(office.family, tmp_path / "b", seed=1)
    before = [store.fingerprint for store in prepared(office)]
    after = prepare_data(other.task(tmp_path / "features", "overwrite=[extraction]"))
    assert [store.fingerprint for store in after] != before
    with pytest.raises(UserError):
        prepared(office)


def test_a_missing_set_does_not_replace_features_of_another_dataset(tmp_path):
    office = write_office("sed_task4", tmp_path / "a")
    prepare_data(office.task(tmp_path / "features"))
    shutil.rmtree(next((tmp_path / "features").glob("*validation*")))
    before = shard_times(office)
    other = write_office("sed_task4", tmp_path / "b", seed=1)
    with pytest.raises(DataError, match=r"3 of 3 recordings differ, the first is r0\.wav"):
        prepare_data(other.task(tmp_path / "features"))
    assert shard_times(office) == before
