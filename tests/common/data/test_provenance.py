"""Files that features were made of, distinguished from others by the notes of each version."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from common.data import provenance
from common.data.extraction import Recipe, extract
from common.data.family_store import checked_store
from common.data.feature_store import FeatureStore
from common.data.provenance import CHECKSUMS, Item, keep_to, read_notes
from common.data.tfrecord import ArraySpec, ExampleSchema
from common.errors import DataError
from common.io.archives import read_arrays, write_arrays
from common.settings.parallel import ParallelConfig

SCHEMA = ExampleSchema({"features": ArraySpec("float32", (None, 2, 1))})


def compute(item: Item) -> dict[str, np.ndarray]:
    content = np.frombuffer(item.sources[0].read_bytes(), np.uint8).astype(np.float32)
    return {"features": content.reshape(-1, 2, 1)}


def items(folder: Path, fingerprint: str = "") -> list[Item]:
    return [
        Item(
            path.stem,
            "1",
            (path, path.with_suffix(".csv")),
            fingerprint=fingerprint,
            labels=(path.with_suffix(".csv"),),
        )
        for path in sorted(folder.glob("*.wav"))
    ]


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        (folder / f"r{number}.wav").write_bytes(bytes([number]) * 8)
        (folder / f"r{number}.csv").write_text("label\n")
    return folder


def made(data: Path, function=compute, **options) -> FeatureStore:
    recipe = Recipe(data.parent / "features", function, SCHEMA, {}, recordings_per_shard=2)
    defaults = {"parallel": ParallelConfig(jobs=1), "progress": False}
    return extract(recipe, items(data), **defaults | options)


def checked(store: FeatureStore, data: Path) -> FeatureStore:
    return checked_store(store, data, lambda: items(data))


def as_earlier(store: FeatureStore, data: Path, fingerprints: bool = False) -> None:
    """Writes side files as earlier versions did: names, sizes and times, in lines."""
    for entry in store.entries:
        path = store.path(entry).with_suffix(".npz")
        side = read_arrays(path)
        lines = []
        for item in items(data):
            if item.name in entry.names:
                lines += [f"{item.name} labels 01ab"] if fingerprints else []
                for source in item.sources:
                    lines.append(
                        f"{source.name} {source.stat().st_size} {source.stat().st_mtime_ns}"
                    )
        del side["made_of"]
        write_arrays(path, side | {"sources": np.array(lines, np.str_)})


def age(folder: Path, seconds: float = 100.0) -> None:
    """Lets side files be noted long after their sources, as those of real datasets are."""
    for path in folder.glob("*.npz"):
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + round(seconds * 1e9)))


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Names of the files that are read to compare them."""
    found: list[str] = []

    def noted(path: Path) -> int:
        found.append(path.name)
        return original(path)

    original = provenance.file_crc32
    monkeypatch.setattr(provenance, "file_crc32", noted)
    return found


def rewrite(path: Path, content: bytes) -> None:
    """Replaces the content of a file in its place, and restores its time."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_unchanged_recordings_are_not_read_but_labels_are(data, reads):
    store = made(data)
    age(store.folder)
    reads.clear()
    checked(store, data)
    assert reads == ["r0.csv", "r1.csv", "r2.csv"]


def test_a_restored_time_hides_no_edit(data):
    store = made(data)
    age(store.folder)
    rewrite(data / "r1.wav", bytes(8))
    with pytest.raises(
        DataError,
        match=r"1 of 3 recordings differ, the first is r1: it is another recording: .*r1\.w",
    ):
        checked(store, data)


def test_labels_edited_at_once_with_restored_time_are_seen(data):
    store = made(data)
    rewrite(data / "r2.csv", b"other\n")
    with pytest.raises(
        DataError, match=r"the first is r2: its labels have changed: .*r2\.csv has another content"
    ):
        checked(store, data)


def test_a_copied_dataset_is_read_once_and_its_checksums_kept(data, reads, monkeypatch):
    monkeypatch.setattr(provenance, "_YOUNG_NS", 0)
    store = made(data)
    age(store.folder)
    for path in data.glob("*.wav"):
        os.utime(path, ns=(5, 5))
    reads.clear()
    checked(store, data)
    assert {"r0.wav", "r1.wav", "r2.wav"} <= set(reads) and (store.folder / CHECKSUMS).is_file()
    reads.clear()
    checked(store, data)
    assert not [name for name in reads if name.endswith(".wav")]
    rewrite(data / "r0.wav", bytes([9]) * 8)
    with pytest.raises(DataError, match="the first is r0"):
        checked(store, data)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": "b"}', '{"1": 1.5}'])
def test_damaged_checksums_are_passed_over(data, content):
    store = made(data)
    (store.folder / CHECKSUMS).write_text(content)
    for path in data.glob("*.wav"):
        os.utime(path, ns=(5, 5))
    checked(store, data)


def test_wrong_kept_checksums_are_not_believed(data, monkeypatch):
    monkeypatch.setattr(provenance, "_YOUNG_NS", 0)
    store = made(data)
    for path in data.glob("*.wav"):
        os.utime(path, ns=(5, 5))
    checked(store, data)
    kept = json.loads((store.folder / CHECKSUMS).read_text())
    (store.folder / CHECKSUMS).write_text(
        json.dumps({key: value ^ 1 for key, value in kept.items()})
    )
    checked(store, data)


@pytest.mark.parametrize("fingerprints", [False, True])
def test_side_files_of_earlier_versions_compare_size_and_time(data, fingerprints):
    store = made(data)
    as_earlier(store, data, fingerprints)
    plan = items(data, "labels 01ab" if fingerprints else "")
    checked_store(store, data, lambda: plan)
    os.utime(data / "r1.wav", ns=(5, 5))
    with pytest.raises(
        DataError, match=r"first is r1: it is another recording: .* and no checksum was kept"
    ):
        checked_store(store, data, lambda: plan)


def test_extraction_adds_checksums_to_earlier_side_files(data):
    store = made(data)
    as_earlier(store, data)
    before = {path: path.stat().st_mtime_ns for path in store.shards()}
    again = made(data)
    assert {path: path.stat().st_mtime_ns for path in again.shards()} == before
    os.utime(data / "r1.wav", ns=(5, 5))
    checked(again, data)
    assert all(
        file.crc32 is not None for note in read_notes(store.folder).values() for file in note.files
    )


def test_a_recording_that_changes_while_it_is_read_stops_extraction(data):
    def compute_while_it_changes(item: Item) -> dict[str, np.ndarray]:
        arrays = compute(item)
        rewrite(item.sources[0], bytes([7]) * 8)
        return arrays

    with pytest.raises(DataError, match="changed during the extraction"):
        made(data, compute_while_it_changes)
    assert made(data).names() == ["r0", "r1", "r2"]


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_features_without_side_files_are_used_with_a_warning(data, caplog, damage):
    store = made(data)
    side = store.shards()[0].with_suffix(".npz")
    side.unlink() if damage == "missing" else side.write_bytes(b"PK")
    checked(store, data)
    assert "side files of 2 recordings are missing or damaged, such as that of r0" in caplog.text


def test_features_in_a_read_only_folder_are_compared(data, monkeypatch):
    monkeypatch.setattr(provenance, "_YOUNG_NS", 0)
    store = made(data)
    os.utime(data / "r1.wav", ns=(5, 5))

    def refuse(path, text):
        raise DataError("read-only")

    monkeypatch.setattr(provenance, "write_text", refuse)
    checked(store, data)


def test_a_file_that_is_gone_is_named(data):
    store, plan = made(data), items(data)
    (data / "r1.csv").unlink()
    with pytest.raises(DataError, match=r"the first is r1: .*r1\.csv is not there"):
        checked_store(store, data, lambda: plan)


def test_other_files_of_the_same_recording_are_named(data):
    store = made(data)
    plan = [Item(item.name, "1", item.sources[:1]) for item in items(data)]
    with pytest.raises(
        DataError, match=r"the first is r0: its files are r0\.wav, and were r0\.wav, r0\.csv"
    ):
        checked_store(store, data, lambda: plan)


def test_work_begun_with_recordings_keeps_them(data, tmp_path):
    note = tmp_path / "search" / "recordings.json"
    keep_to(note, items(data))
    keep_to(note, items(data))
    with pytest.raises(DataError, match=r"1 recordings differ, the first is r2: it is gone"):
        keep_to(note, items(data)[:2])
    moved = [Item(item.name, "2", item.sources, labels=item.labels) for item in items(data)]
    with pytest.raises(DataError, match=r"the first is r0: its labels or its split have changed"):
        keep_to(note, moved)
    note.write_text("[[")
    with pytest.raises(DataError, match=r"recordings\.json cannot be read"):
        keep_to(note, items(data))
