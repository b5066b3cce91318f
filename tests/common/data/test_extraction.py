"""Extraction is safe to kill, gives the same bytes in all runs, and names its errors."""

import json
from pathlib import Path

import numpy as np
import pytest

from common.data.extraction import Item, Recipe, extract, plan_shards
from common.data.feature_store import FeatureStore
from common.data.tfrecord import ArraySpec, ExampleSchema, read_shard
from common.errors import DataError
from common.io.files import TEMPORARY_PATTERN
from common.settings.parallel import ParallelConfig

SCHEMA = ExampleSchema(
    {"features": ArraySpec("float16", (None, 3, 2)), "activity": ArraySpec("uint8", (None, 2))}
)
SETTINGS = {"kind": "test", "sizes": {"n_fft": 4}}
ITEMS = [Item(f"split{1 + i % 2}_{i:02d}", str(1 + i % 2), payload=i) for i in range(24)]


def compute(item: Item) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(item.payload)
    frames = 20 + item.payload
    return {
        "features": rng.normal(5, 2, (frames, 3, 2)).astype(np.float16),
        "activity": rng.integers(0, 2, (frames, 2), dtype=np.uint8),
    }


def run(folder: Path, items=ITEMS, settings=SETTINGS, function=compute, **options) -> FeatureStore:
    keys = ("recordings_per_shard", "statistics_of", "skip")
    own = {"recordings_per_shard": 2} | {key: options.pop(key) for key in keys if key in options}
    recipe = Recipe(folder, function, SCHEMA, settings, **own)
    defaults = {"parallel": ParallelConfig(jobs=1), "progress": False}
    return extract(recipe, items, **defaults | options)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    run(folder)
    return folder


def test_every_recording_is_stored_once_with_its_arrays(finished):
    store = FeatureStore.open(finished, SETTINGS | {"recordings_per_shard": 2}, verify=True)
    stored = {
        example["name"]: example
        for path in store.shards()
        for example in read_shard(path, store.schema)
    }
    assert list(stored) == store.names() == sorted(item.name for item in ITEMS)
    for item, frames in zip(sorted(ITEMS, key=lambda item: item.name), store.frames(), strict=True):
        expected = compute(item)
        assert frames == len(expected["features"])
        for key, array in expected.items():
            np.testing.assert_array_equal(stored[item.name][key], array)


def test_facts_are_kept_next_to_shards_and_change_without_them(tmp_path):
    before = run(
        tmp_path, [Item("a", "1", payload=0, facts={"room": 1}), Item("b", "1", payload=1)]
    )
    assert FeatureStore.open(tmp_path).facts == {"a": {"room": 1}}
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tfrecord")}
    after = run(tmp_path, [Item("a", "1", payload=0, facts={"room": 2}), Item("b", "1", payload=1)])
    assert FeatureStore.open(tmp_path).facts == after.facts == {"a": {"room": 2}}
    assert after.fingerprint == before.fingerprint
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tfrecord")} == kept


def test_some_arrays_are_read_without_the_others(finished):
    store = FeatureStore.open(finished)
    found = store.arrays([2], ["activity"])
    assert sorted(found) == sorted(store.names(["2"]))
    for item in (item for item in ITEMS if item.group == "2"):
        assert list(found[item.name]) == ["activity"]
        np.testing.assert_array_equal(found[item.name]["activity"], compute(item)["activity"])


def test_statistics_of_groups_are_those_of_all_their_frames(finished):
    store = FeatureStore.open(finished)
    for groups in ([1], ["2"], [1, 2], None):
        wanted = {str(group) for group in groups or (1, 2)}
        frames = np.concatenate(
            [compute(item)["features"] for item in ITEMS if item.group in wanted]
        )
        mean, std = store.statistics(groups)
        np.testing.assert_allclose(mean, frames.astype(np.float64).mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(std, frames.astype(np.float64).std(axis=0), rtol=1e-5)


def test_two_at_once_write_the_same_bytes_as_one(finished, tmp_path):
    run(tmp_path, parallel=ParallelConfig(jobs=2, backend="threading"))
    assert contents(tmp_path) == contents(finished)


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing", "statistics"])
def test_a_damaged_shard_is_named_and_made_again(finished, tmp_path, damage):
    for name, content in contents(finished).items():
        (tmp_path / name).write_bytes(content)
    shard = FeatureStore.open(tmp_path).shards()[3]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        shard.unlink()
    elif damage == "statistics":
        shard.with_suffix(".npz").write_bytes(b"PK")
    else:
        shard.write_bytes(content if damage == "flipped" else content[:-7])
    if damage != "statistics":
        with pytest.raises(
            DataError, match=rf"Damaged shard: .*{shard.name}.*batch_feature_extraction\.py"
        ):
            FeatureStore.open(tmp_path, verify=True)
    run(tmp_path)
    assert contents(tmp_path) == contents(finished)


def test_shards_of_other_settings_are_refused_with_names_and_values(finished, tmp_path):
    run(tmp_path, items=ITEMS[:2])
    changed = {"kind": "test", "sizes": {"n_fft": 8}, "new": True}
    message = (
        r"other settings: new: absent there, true now; sizes\.n_fft: 4 there, 8 now\. Set another"
        r" `feature_dir`"
    )
    with pytest.raises(DataError, match=message):
        run(tmp_path, items=ITEMS[:2], settings=changed)
    with pytest.raises(DataError, match=message):
        FeatureStore.open(tmp_path, changed | {"recordings_per_shard": 2})
    run(tmp_path, items=ITEMS[:2], settings=changed, overwrite=True)
    FeatureStore.open(tmp_path, changed | {"recordings_per_shard": 2}, verify=True)


@pytest.mark.parametrize("content", ['"text"', "[]", "{", '{"a": 1, "a": 2}', "[" * 9999])
def test_settings_of_another_form_are_refused(finished, tmp_path, content):
    (copied(finished, tmp_path) / "settings.json").write_text(content)
    with pytest.raises(DataError, match=r"Damaged settings of the features: .*settings\.json"):
        run(tmp_path)


def test_all_bad_recordings_are_listed_and_the_good_ones_finished(tmp_path):
    def compute_or_refuse(item: Item) -> dict[str, np.ndarray]:
        if item.payload in (3, 5):
            raise DataError(f"Empty recording: {item.name}.wav.")
        return compute(item)

    with pytest.raises(
        DataError,
        match=r"Empty recording: split2_03\.wav\.\nEmpty recording: split2_05\.wav\.\nAll",
    ):
        run(tmp_path, function=compute_or_refuse, recordings_per_shard=1)
    assert (
        len(list(tmp_path.glob("*.tfrecord")))
        == len(list(tmp_path.glob("*.npz")))
        == len(ITEMS) - 2
    )
    assert not list(tmp_path.glob(TEMPORARY_PATTERN))
    with pytest.raises(DataError, match="extraction was not finished"):
        FeatureStore.open(tmp_path)


def test_a_changed_source_is_extracted_again_a_removed_one_forgotten(tmp_path):
    sources = [tmp_path / f"{number}.txt" for number in range(3)]
    for source in sources:
        source.write_text("1")
    calls = []

    def compute_source(item: Item) -> dict[str, np.ndarray]:
        calls.append(item.name)
        return compute(Item(item.name, item.group, payload=int(item.sources[0].read_text())))

    items = [Item(source.stem, "1", (source,)) for source in sources]
    folder = tmp_path / "features"
    run(folder, items=items, function=compute_source, recordings_per_shard=1)
    sources[1].write_text("22")
    store = run(folder, items=items[:2], function=compute_source, recordings_per_shard=1)
    assert calls == ["0", "1", "2", "1"]
    assert store.names() == ["0", "1"]
    assert store.frames() == [21, 42]
    assert sorted(path.name for path in folder.glob("*.tfrecord")) == ["0.tfrecord", "1.tfrecord"]


def test_a_second_extraction_into_the_folder_is_refused(tmp_path):
    def compute_while_another_starts(item: Item) -> dict[str, np.ndarray]:
        with pytest.raises(DataError, match="is in use by process"):
            run(tmp_path, items=ITEMS[:1])
        return compute(item)

    run(tmp_path, items=ITEMS[:1], function=compute_while_another_starts)


def test_a_full_disk_stops_extraction_without_a_temporary_file(tmp_path):
    import resource

    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (600, limit[1])
    )  # writing beyond fails as on a full disk
    try:
        with pytest.raises(DataError, match=r"Cannot write .*split1_00--split1_02\.tfrecord"):
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(tmp_path.glob("*.tfrecord")) and not list(tmp_path.glob(TEMPORARY_PATTERN))


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="Cannot write"):
        run(tmp_path / "file")


def test_missing_features_name_the_command_that_extracts_them(tmp_path):
    with pytest.raises(
        DataError, match=r"No features in .*there is no such folder.*batch_feature_extraction\.py"
    ):
        FeatureStore.open(tmp_path / "none")


def test_a_damaged_manifest_is_named(finished, tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"shards": 1}))
    with pytest.raises(DataError, match=r"Damaged manifest: .*manifest\.json"):
        FeatureStore.open(tmp_path)


def test_an_unknown_group_is_refused_with_those_there_are(finished):
    with pytest.raises(DataError, match=r"No features of group 7 .*groups among 1, 2"):
        FeatureStore.open(finished).shards([1, 7])


def test_a_plan_separates_groups_and_depends_only_on_names():
    plans = plan_shards(ITEMS[::-1], 5)
    assert plans == plan_shards(ITEMS, 5)
    assert [len(plan.items) for plan in plans] == [5, 5, 2, 5, 5, 2]
    assert all(len({item.group for item in plan.items}) == 1 for plan in plans)
    assert plans[0].stem == "split1_00--split1_08"


def test_names_that_are_no_safe_file_names_stay_distinct():
    stems = [
        plan.stem for plan in plan_shards([Item("a:b", "1"), Item("a b", "1"), Item(".c", "1")], 1)
    ]
    assert len(set(stems)) == 3
    assert not any("/" in stem or stem.startswith(".") for stem in stems)


@pytest.mark.parametrize(
    "name", ["a/b", "..", "", "a\nb", b"\xff.wav".decode("utf-8", "surrogateescape")]
)
def test_names_that_could_not_name_a_file_are_refused(name):
    with pytest.raises(DataError, match="names that files can have"):
        plan_shards([Item("good", "1"), Item(name, "1")], 1)


def test_no_recordings_and_repeated_names_are_refused():
    with pytest.raises(DataError, match="Received: none"):
        plan_shards([], 1)
    with pytest.raises(DataError, match="Received: a more than once"):
        plan_shards([Item("a", "1"), Item("a", "2")], 1)


def compute_some(item: Item) -> dict[str, np.ndarray]:
    if item.payload in (3, 7, 5):  # 03 and 07 stand in one shard
        raise DataError(f"Not a readable sound file: {item.name}.")
    return compute(item)


def test_unreadable_recordings_are_left_out_only_on_request_and_named(tmp_path, caplog):
    with pytest.raises(DataError, match="Not a readable sound file: split2_03"):
        run(tmp_path, function=compute_some)
    store = run(tmp_path, function=compute_some, skip=(DataError,))
    lost = ["split2_03", "split2_05", "split2_07"]
    assert sorted(store.skipped) == lost and "readable" in store.skipped["split2_05"]
    assert all(f"{name} is left out: Not a readable" in caplog.text for name in lost)
    kept = sorted(item.name for item in ITEMS if item.name not in lost)
    opened = FeatureStore.open(tmp_path, verify=True)
    assert opened.names() == kept and opened.skipped == store.skipped
    assert "lacks 3 unusable recordings" in caplog.text
    stored = [example["name"] for path in opened.shards() for example in read_shard(path, SCHEMA)]
    assert stored == kept
    expected = np.concatenate(
        [compute(item)["features"] for item in ITEMS if item.name in kept]
    ).astype(np.float64)
    np.testing.assert_allclose(opened.statistics()[0], expected.mean(axis=0), rtol=1e-5)


def test_shards_with_skipped_recordings_are_unfinished_for_strict_runs(tmp_path):
    first = run(tmp_path, function=compute_some, skip=(DataError,), recordings_per_shard=1)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    again = run(tmp_path, function=compute_some, skip=(DataError,), recordings_per_shard=1)
    changed = [
        path.name
        for path in tmp_path.glob("split*.npz")
        if path.stat().st_mtime_ns != before[path.name]
    ]
    assert not changed and again.skipped == first.skipped and len(again.names()) == 21
    mended = run(tmp_path, recordings_per_shard=1)
    assert not mended.skipped and len(mended.names()) == 24


class SilentError(DataError):
    pass


def compute_with_silence(item: Item) -> dict[str, np.ndarray]:
    if item.payload == 4:
        raise SilentError(f"{item.name} is silent.")
    return compute_some(item) if item.payload == 5 else compute(item)


def test_only_the_errors_that_are_named_leave_recordings_out(tmp_path):
    with pytest.raises(DataError, match=r"^Not a readable sound file: split2_05"):
        run(tmp_path, function=compute_with_silence, skip=(SilentError,), recordings_per_shard=1)
    both = run(tmp_path, function=compute_with_silence, skip=(DataError,), recordings_per_shard=1)
    assert sorted(both.skipped) == ["split1_04", "split2_05"]


def test_a_folder_without_readable_recordings_is_refused(tmp_path):
    def fail(item):
        raise DataError(f"{item.name} is broken.")

    with pytest.raises(
        DataError, match=r"No recording can be used. The first of 24: split1_00 is broken"
    ):
        run(tmp_path, function=fail, skip=(DataError,))


def test_an_example_is_made_again_when_its_fingerprint_changes(tmp_path):
    items = [Item(f"r{number}", "a", payload=number, fingerprint="labels 1") for number in range(4)]
    run(tmp_path, items)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("r*.npz")}
    items[0] = Item("r0", "a", payload=0, fingerprint="labels 2")
    run(tmp_path, items)
    changed = [
        path.name
        for path in tmp_path.glob("r*.npz")
        if path.stat().st_mtime_ns != before[path.name]
    ]
    assert changed == ["r0--r1.npz"]


def test_stores_are_joined_with_their_shards_and_statistics(tmp_path):
    parts = [
        run(
            tmp_path / group,
            [item for item in ITEMS if item.group == group],
            recordings_per_shard=size,
        )
        for group, size in (("1", 2), ("2", 5))
    ]
    whole, joined = run(tmp_path / "whole"), FeatureStore.joined(parts)
    assert joined.groups == ["1", "2"] and sorted(joined.names()) == whole.names()
    assert [entry.names for entry in joined.selected("2")] == [
        entry.names for entry in parts[1].entries
    ]
    assert sorted(joined.frames()) == sorted(whole.frames())
    assert all(path.is_file() for path in joined.shards())
    for groups in (None, ["1"], ["2"]):
        for received, expected in zip(
            joined.statistics(groups), whole.statistics(groups), strict=True
        ):
            np.testing.assert_allclose(received, expected, rtol=1e-6)


def test_stores_that_do_not_fit_are_not_joined(tmp_path):
    store = run(tmp_path / "a", ITEMS[:4])
    other = ExampleSchema({**SCHEMA.arrays, "extra": ArraySpec("uint8", ())})
    with pytest.raises(DataError, match="different groups"):
        FeatureStore.joined([store, store])
    with pytest.raises(DataError, match="cannot be used together"):
        FeatureStore.joined([store, FeatureStore(tmp_path, {}, other, [])])


def copied(finished: Path, folder: Path) -> Path:
    for name, content in contents(finished).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file", "../a.tfrecord"),
        ("file", "/etc/passwd"),
        ("names", ["a/b", "c"]),
        ("names", "ab"),
        ("names", []),
        ("frames", [20]),
        ("frames", [20, -1]),
        ("frames", ["x", 1]),
        ("n_bytes", None),
        ("crc32", 1.5),
        ("group", 7),
    ],
)
def test_a_manifest_whose_entries_cannot_be_is_refused(finished, tmp_path, key, value):
    manifest = json.loads((copied(finished, tmp_path) / "manifest.json").read_text())
    manifest["shards"][0][key] = value
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"Damaged manifest: .*manifest\.json"):
        FeatureStore.open(tmp_path)


@pytest.mark.parametrize(
    "schema",
    [
        {"x": {}},
        {"x": {"dtype": "object", "shape": []}},
        {"x": {"dtype": "int8", "shape": [-1]}},
        {"x": [1]},
    ],
)
def test_a_manifest_whose_arrays_cannot_be_is_refused(finished, tmp_path, schema):
    manifest = json.loads((copied(finished, tmp_path) / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"schema": schema}))
    with pytest.raises(DataError, match=r"Damaged manifest: .*manifest\.json"):
        FeatureStore.open(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"1/mean": np.full((3, 2), np.nan)},
        {"1/m2": np.full((3, 2), -1.0)},
        {"1/count": np.array([1, 2])},
        {"1/count": np.array("x")},
        {"1/mean": np.zeros((3, 2), np.complex128)},
        {"1/mean": np.zeros((2, 2))},
        {"1/mean": None},
        {"1/mean": None, "1/count": None, "1/m2": None},
    ],
)
def test_statistics_that_cannot_be_are_refused(finished, tmp_path, changes):
    with np.load(copied(finished, tmp_path) / "statistics.npz") as stored:
        arrays = {name: changes.get(name, stored[name]) for name in stored.files}
    np.savez(
        tmp_path / "statistics.npz",
        **{name: array for name, array in arrays.items() if array is not None},
    )
    with pytest.raises(DataError, match=r"Damaged statistics: .*statistics\.npz"):
        FeatureStore.open(tmp_path).statistics()


@pytest.mark.parametrize(
    "changes", [{"count": np.array([1])}, {"mean": np.array("x")}, {"n_bytes": np.array([1, 2])}]
)
def test_a_side_file_that_cannot_be_is_made_again(finished, tmp_path, changes):
    side = copied(finished, tmp_path) / "split1_00--split1_02.npz"
    with np.load(side) as stored:
        arrays = {name: changes.get(name, stored[name]) for name in stored.files}
    np.savez(side, **arrays)
    run(tmp_path)
    assert contents(tmp_path) == contents(finished)


def test_a_shard_without_records_of_the_manifest_is_named(finished, tmp_path):
    manifest = json.loads((copied(finished, tmp_path) / "manifest.json").read_text())
    manifest["shards"][0]["names"][0] = "other"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"split1_00--split1_02\.tfrecord \(it lacks 'other'"):
        FeatureStore.open(tmp_path).record(["1"], "other")
