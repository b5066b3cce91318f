"""Folders of features: damaged manifest, settings, statistics, side files and shards."""

import functools
import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from common.data.extraction import Item, Recipe, extract
from common.data.family_store import checked_store
from common.data.feature_store import MANIFEST, STATISTICS, FeatureStore, read_statistics
from common.data.provenance import CHECKSUMS, keep_to
from common.errors import DataError
from common.features.statistics import RunningStatistics
from common.io.archives import read_arrays
from common.io.files import is_file_name
from common.settings.parallel import ParallelConfig
from tests.fuzz.damage import damaged_bytes, damaged_json, damaged_npy, damaged_zip, garbage
from tests.fuzz.engine import Files, Target
from tests.fuzz.shards import SCHEMA, arrays

ITEMS = [Item(f"r{number}", str(1 + number % 2), payload=number) for number in range(3)]
SETTINGS = {"kind": "test", "sizes": {"n_fft": 4}}
NOTE = "recordings.json"


def _compute(item: Item) -> dict[str, np.ndarray]:
    return arrays(item.payload, 5 + item.payload)


def _extract(folder: Path) -> FeatureStore:
    recipe = Recipe(folder, _compute, SCHEMA, SETTINGS, recordings_per_shard=2)
    return extract(recipe, ITEMS, parallel=ParallelConfig(jobs=1), progress=False)


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the lock."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@functools.cache
def valid_store() -> dict[str, bytes]:
    """A finished folder of three recordings in two groups."""
    with tempfile.TemporaryDirectory() as folder:
        _extract(Path(folder))
        return contents(Path(folder))


def _arrays_of(content: bytes) -> dict[str, st.SearchStrategy[bytes]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return {f"{name}.npy": damaged_npy(stored[name]) for name in stored.files}


def _damaged(name: str) -> st.SearchStrategy[bytes]:
    content = valid_store()[name]
    if name.endswith(".json"):
        return damaged_json(json.loads(content))
    return damaged_bytes(content, most=2, header=200)


def _crafted() -> st.SearchStrategy[Files]:
    """Side files and statistics packed again with other values and valid checksums."""
    valid = valid_store()
    names = st.sampled_from([name for name in valid if name.endswith(".npz")])
    one = names.flatmap(
        lambda name: damaged_zip(valid[name], _arrays_of(valid[name])).map(lambda new: {name: new})
    )
    return one.map(lambda new: {**valid, **new})


def _cases() -> st.SearchStrategy[Files]:
    valid = valid_store()
    others = [name for name in valid if name != MANIFEST]
    names = st.sampled_from([MANIFEST, MANIFEST, *others])
    one = names.flatmap(
        lambda name: st.tuples(
            st.just(name), st.none() | _damaged(name) | _damaged(name) | garbage()
        )
    )
    changes = st.lists(one, min_size=1, max_size=2).map(dict)
    return changes.map(
        lambda new: {k: v for k, v in {**valid, **new}.items() if v is not None} or {"x": b""}
    )


def _open(folder: Path) -> None:
    store = FeatureStore.open(folder, verify=True)
    assert store.entries == sorted(store.entries, key=lambda entry: entry.file)
    for path in store.shards():
        assert path.parent == folder and path.is_file()
    assert all(map(is_file_name, store.names())) and all(frames > 0 for frames in store.frames())
    for groups in (None, store.groups[:1]):
        mean, std = store.statistics(groups)
        assert mean.shape == std.shape and np.isfinite(mean).all() and (std > 0).all()
    for entry in store.entries:
        for name, frames in zip(entry.names, entry.frames, strict=True):
            record = store.record([entry.group], name)
            assert record["name"] == name and len(record["features"]) == frames
            assert set(record) == {"name", *store.schema.arrays}


def _again(folder: Path) -> None:
    """Damaged files are made again, or refused."""
    _extract(folder)
    made = contents(folder)
    assert set(made) == set(valid_store())
    for name, content in valid_store().items():
        if made[name] != content:  # a byte of an archive that means nothing, such as the time in it
            with np.load(io.BytesIO(content), allow_pickle=False) as expected:
                np.testing.assert_equal(read_arrays(folder / name), dict(expected))


def _again_crafted(folder: Path) -> None:
    """Values that could be are believed; the shards have checksums of their own."""
    _extract(folder)
    made = contents(folder)
    assert all(
        made[name] == content
        for name, content in valid_store().items()
        if name.endswith(".tfrecord")
    )
    _open(folder)


def _statistics_cases() -> st.SearchStrategy[Files]:
    content = valid_store()[STATISTICS]
    return (damaged_zip(content, _arrays_of(content)) | garbage()).map(
        lambda new: {STATISTICS: new}
    )


def _statistics(folder: Path) -> None:
    for part in read_statistics(folder / STATISTICS).values():
        assert isinstance(part, RunningStatistics) and part.count >= 0
        assert part.mean.shape == part.m2.shape
        assert np.isfinite(part.mean).all()
        assert (part.m2 >= 0).all()


def _with_sources(folder: Path) -> list[Item]:
    """The examples, each with a recording and a file of labels in the folder."""
    for item in ITEMS:
        for suffix in (".wav", ".csv"):
            (folder / f"{item.name}{suffix}").write_bytes(item.name.encode() * 3)
    return [
        replace(
            item,
            sources=tuple(folder / f"{item.name}{suffix}" for suffix in (".wav", ".csv")),
            labels=(folder / f"{item.name}.csv",),
        )
        for item in ITEMS
    ]


@functools.cache
def _noted_store() -> dict[str, bytes]:
    """A finished folder with side files on its sources, a note, and stored checksums."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        items = _with_sources(folder)
        recipe = Recipe(folder, _compute, SCHEMA, SETTINGS, recordings_per_shard=2)
        extract(recipe, items, parallel=ParallelConfig(jobs=1), progress=False)
        keep_to(folder / NOTE, items)
        return contents(folder) | {CHECKSUMS: json.dumps({"1 2 3 4": 5, "6 7 8 9": 10}).encode()}


def _note_cases() -> st.SearchStrategy[Files]:
    valid = _noted_store()
    sides = st.sampled_from(
        [name for name in valid if name.endswith(".npz") and name != STATISTICS]
    )
    notes = sides.flatmap(
        lambda name: damaged_zip(valid[name], _arrays_of(valid[name])).map(lambda new: {name: new})
    )
    texts = st.sampled_from([NOTE, CHECKSUMS])
    others = texts.flatmap(
        lambda name: damaged_json(json.loads(valid[name])).map(lambda new: {name: new})
    )
    return (notes | others).map(lambda new: {**valid, **new})


def _compare(folder: Path) -> None:
    """The same recordings with other times: damage is reported, or makes them differ at most."""
    items = _with_sources(folder)
    store = FeatureStore.open(folder)
    refused = []
    for compare in (
        lambda: checked_store(store, folder, lambda: items),
        lambda: keep_to(folder / NOTE, items),
    ):
        try:
            compare()
        except DataError as error:
            refused.append(error)
    if refused:
        raise refused[0]


TARGETS = [
    Target("sources", _note_cases, _compare, weight=6, examples=8, named="case"),
    Target("store", _cases, _open, weight=10, examples=10, named="case"),
    Target("extraction", _cases, _again, weight=4, examples=8, named="case"),
    Target("side-file", _crafted, _again_crafted, weight=4, examples=4, named="case"),
    Target("statistics", _statistics_cases, _statistics, weight=12, examples=12),
]
