"""Clips that train and validate: parts of batches, fractions held out, clips of one source."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError

from common.data.feature_store import FeatureStore, ShardEntry
from common.data.selection import BatchParts
from common.data.tfrecord import ArraySpec, ExampleSchema, write_shard
from common.errors import CheckpointError
from sed_task4.clips.clip_groups import ClipSources
from sed_task4.clips.training_sets import SPLIT, training_sets, unlabelled_clips
from sed_task4.config import PartConfig, SetsConfig, TaskConfig

SCHEMA = ExampleSchema({"tags": ArraySpec("int8", (2,))})
COUNTS = {"weak": 20, "synthetic": 30, "unlabel_in_domain": 40, "validation": 6}
PARTS = (
    PartConfig(
        name="weak", subsets=("weak",), batch_size=6, labels="weak", validation_fraction=0.2
    ),
    PartConfig(name="unlabelled", subsets=("unlabel_in_domain",), batch_size=12, labels="none"),
    PartConfig(
        name="strong",
        subsets=("synthetic",),
        batch_size=6,
        labels="strong",
        clip_labels=False,
        validation_fraction=0.2,
    ),
)


def name_of(subset, number):
    """Two weak clips, and one unlabelled one, are of one video each."""
    if subset == "synthetic":
        return f"{number}.wav"
    start = 10 * (number % 2) if subset == "weak" else 30
    video = number // 2 if subset == "weak" else number if subset[0] == "u" else 1000 + number
    return f"Yvideo{video}_{start}.000_{start + 10}.000.wav"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    entries = []
    for subset, count in COUNTS.items():
        names = tuple(name_of(subset, number) for number in range(count))
        path = folder / f"{subset}.tfrecord"
        tags = np.array([[1, 0], [0, 1]], np.int8)
        write_shard(path, [(name, {"tags": tags[n % 2]}) for n, name in enumerate(names)], SCHEMA)
        entries.append(ShardEntry(path.name, subset, names, (10,) * count, 0, 0))
    return FeatureStore(folder, {}, SCHEMA, entries)


@pytest.fixture(scope="module")
def sources(store):
    return {subset: ClipSources(subset, dict.fromkeys(store.names([subset]))) for subset in COUNTS}


def task_of(**sets):
    return SimpleNamespace(
        sets=SetsConfig(**sets),
        dataset=SimpleNamespace(classes=("Dog", "Cat")),
        pipeline=SimpleNamespace(batch_size=4),
        feature_dir="features",
        seed=3,
    )


def chosen(store, sources, folder, **sets) -> tuple[BatchParts, set[str]]:
    parts, validation = training_sets(task_of(**sets), store, sources, folder)
    return parts, set(validation.recording_names)


def test_each_part_has_its_rows_labels_and_clips(store, sources, tmp_path):
    parts, validation = chosen(store, sources, tmp_path, parts=PARTS)
    assert [part.batch_size for part in parts.parts] == [6, 12, 6]
    unknown = [part.unknown for part in parts.parts]
    assert unknown == [("activity",), ("activity", "tags"), ("tags",)]
    weak, unlabelled, strong = (part.selection.recording_names for part in parts.parts)
    assert (len(weak), len(strong)) == (16, 24) and len(validation) == 10
    assert not validation & {*weak, *unlabelled, *strong}


def test_no_clip_of_a_validating_video_trains_in_any_part(store, sources, tmp_path, caplog):
    with caplog.at_level("INFO"):
        parts, validation = chosen(store, sources, tmp_path, parts=PARTS)
    videos = {name.split("_")[0] for name in validation if name.startswith("Y")}
    assert len(videos) == 2  # of two weak clips each
    trained = {
        name.split("_")[0] for part in parts.parts for name in part.selection.recording_names
    }
    assert not videos & trained
    assert len(parts.parts[1].selection.recording_names) == 38
    assert "unlabel_in_domain: 2 clip(s) are left out" in caplog.text


def test_the_draw_is_kept_by_subset_and_read_again(store, sources, tmp_path):
    first = chosen(store, sources, tmp_path, parts=PARTS)
    kept = json.loads((tmp_path / SPLIT).read_text())
    assert {subset: len(names) for subset, names in kept.items()} == {"weak": 4, "synthetic": 6}
    assert chosen(store, sources, tmp_path, parts=PARTS)[1] == first[1]
    (tmp_path / SPLIT).write_text(json.dumps({"weak": kept["weak"]}))
    with pytest.raises(CheckpointError, match="does not name some of the 30 clips"):
        chosen(store, sources, tmp_path, parts=PARTS)


def test_a_validation_subset_counts_beside_the_clips_held_out(store, sources, tmp_path):
    whole = PARTS[2].model_copy(update={"validation_fraction": 0.0})
    parts, validation = chosen(
        store, sources, tmp_path, parts=(PARTS[0], whole), validate_on="validation"
    )
    assert len(validation) == 4 + 6 and set(store.names(["validation"])) <= validation
    assert len(parts.parts[1].selection.recording_names) == 30


def test_without_held_out_clips_the_training_clips_decide(store, sources, tmp_path):
    whole = [part.model_copy(update={"validation_fraction": 0.0}) for part in PARTS]
    parts, validation = chosen(store, sources, tmp_path, parts=whole)
    assert len(validation) == 90 and parts.parts[0].selection.names is None


def test_a_subset_of_two_parts_holds_out_the_same_clips(store, sources, tmp_path):
    twice = PARTS[2].model_copy(update={"name": "again"})
    parts, validation = chosen(store, sources, tmp_path, parts=(*PARTS, twice), epoch_part="weak")
    assert parts.parts[2].selection.names == parts.parts[3].selection.names
    assert parts.epoch_part == "weak" and len(validation) == 10


def test_one_subset_is_one_part(store, sources, tmp_path):
    parts, validation = chosen(store, sources, tmp_path)
    (part,) = parts.parts
    assert (part.batch_size, part.unknown) == (4, ())
    assert set(part.selection.recording_names) == set(store.names(["weak"])) - validation
    assert list(json.loads((tmp_path / SPLIT).read_text())) == ["validation"]
    parts, decisive = chosen(store, sources, tmp_path, validate_on="validation")
    assert decisive == set(store.names(["validation"])) and parts.parts[0].selection.names is None


def test_unlabelled_clips_lack_validating_videos(store, sources, tmp_path):
    sets = {"unlabelled": "unlabel_in_domain"}
    _, validation = training_sets(task_of(**sets), store, sources, tmp_path)
    names = unlabelled_clips(SetsConfig(**sets), store, sources, validation).recording_names
    videos = {name.split("_")[0] for name in validation.recording_names}
    assert len(names) == 38 and not videos & {name.split("_")[0] for name in names}


def settings(**sets):
    return {
        "description": "parts",
        "family": "sed_task4",
        "system": "crnn_two_pass",
        "dataset_dir": "data",
        "feature_dir": "features",
        "output_dir": "runs",
        "dataset": {"layout": "dcase2019"},
        "features": {"kind": "logmel_db"},
        "sets": sets,
    }


def part(**changes):
    return {"name": "a", "subsets": ["weak"], "batch_size": 2, "labels": "weak"} | changes


def test_subsets_of_parts_are_read_in_place_of_the_one_to_train_on():
    sets = SetsConfig(parts=PARTS[1:], statistics=("synthetic",))
    assert sets.learned == ("unlabel_in_domain", "synthetic")
    assert sets.names == ("unlabel_in_domain", "synthetic", "validation")
    assert sets.fractions == {"synthetic": 0.2} and sets.holds_out
    assert SetsConfig().fractions == {"weak": 0.2}
    assert SetsConfig(validate_on="validation").fractions == {}


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ({"parts": [part(), part()]}, "different names"),
        ({"parts": [part()], "epoch_part": "b"}, "Expected: a. Received: 'b'"),
        ({"epoch_part": "b"}, "null, as there are no"),
        ({"parts": [part(), part(name="b", validation_fraction=0.1)]}, "one `validation_fraction`"),
        ({"parts": [part(subsets=["test"])]}, "does not have: test"),
        ({"parts": [part(subsets=["validation"], labels="strong")]}, "must not name a subset to"),
        ({"parts": [part(labels="strong")]}, "a cannot learn strong labels of weak"),
        ({"parts": [part(subsets=["unlabel_in_domain"])]}, "clips are unlabelled. Expected"),
        ({"parts": [part(batch_size=0)]}, "greater than or equal to 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused(sets, message):
    with pytest.raises(ValidationError, match=message):
        TaskConfig.model_validate(settings(**sets))


def test_devices_share_the_rows_of_every_part():
    sets = {"parts": [each.model_dump() for each in PARTS], "statistics": ["weak"]}
    task = TaskConfig.model_validate(settings(**sets))
    assert task.batch_sizes == [6, 12, 6]
    assert task.batch_text == "6 weak + 12 unlabelled + 6 strong"
    assert TaskConfig.model_validate(settings()).batch_text == "16"
