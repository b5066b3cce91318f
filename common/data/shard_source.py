"""Shards as a stream reads them: wanted recordings, with the labels that replace theirs."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.data.selection import Selection
from common.data.sequences import ACTIVITY, FEATURES, LABELLED
from common.data.shard_index import Records
from common.data.tfrecord import (
    ArraySpec,
    ExampleSchema,
    damaged_shard,
    parse_name,
    read_shard,
    stored_arrays,
    tf,
)
from common.errors import DataError
from common.features.frontend import AUDIO
from common.runtime.multi_host import SINGLE, World

Tensors = dict[str, tf.Tensor]

KNOWN = "known"  # bool: the activity is known, from the dataset or as a pseudo label
NO_FRAMES = "a record has no frames"
MISMATCH = "Labels and features do not belong together"
# Shards that streams of this process read, latest last: an error names the damaged one.
streamed: dict[str, None] = {}


def input_name(schema: ExampleSchema) -> str:
    """Name of the array that a model takes: `audio`, or else `features`."""
    return AUDIO if AUDIO in schema.arrays else FEATURES


class ShardSource:
    """Records of a selection.

    Attributes:
        schema: the arrays of each recording.
        paths: the shards, sorted.
        label_paths: the label shards parallel to them; empty: nothing is replaced.
        replaced: the arrays that label shards replace.
        context_frames: pieces of audio beyond the frames of a recording.
        world: rank of this process among those that read the shards together.

    Raises:
        DataError: no shards or names, or label shards that do not match.
        ValueError: label shards with arrays that the schema lacks.
    """

    def __init__(
        self, selection: Selection, context_frames: int = 0, world: World = SINGLE
    ) -> None:
        if selection.names is not None and not selection.names:
            raise DataError("No recordings to read. Expected: at least one name. Received: none.")
        self.schema, self._selection = selection.schema, selection
        self.paths = [str(path) for path in selection.shards]
        if not self.paths:
            raise DataError(
                "No TFRecord shard found. Run `python batch_feature_extraction.py <task-id>` first."
            )
        self.label_paths = [str(path) for path in selection.matched_label_shards]
        self.context_frames, self.world = context_frames, world
        for path in (*self.paths, *self.label_paths):
            streamed.pop(path, None)
            streamed[path] = None
        replaced = stored_arrays(Path(self.label_paths[0])) if self.label_paths else []
        unknown = sorted(set(replaced) - set(self.schema.arrays))
        if unknown:
            raise ValueError(
                "The label shards hold unknown arrays. Expected: some of"
                f" {sorted(self.schema.arrays)}. Received: {unknown}."
            )
        self.replaced = ExampleSchema(
            {name: ArraySpec("float32", self.schema.arrays[name].shape) for name in replaced}
        )
        self._table: Any = None  # in which the wanted names, and only they, have 1
        if selection.names is not None:
            with tf.device("CPU:0"):
                keys, ones = sorted(selection.names), tf.ones([len(selection.names)], tf.int64)
                pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(keys), ones)
                self._table = tf.lookup.StaticHashTable(pairs, 0)

    def records(self) -> tf.data.Dataset:
        """Streams the wanted records of all shards in order, each with that of its labels."""
        if not self.label_paths:
            return self._wanted(self.paths)
        # One more record on both sides: that of a shorter side is paired with a real one.
        end = tf.data.Dataset.from_tensors(tf.constant(b""))
        sides = (self._wanted(paths).concatenate(end) for paths in (self.paths, self.label_paths))
        return tf.data.Dataset.zip(tuple(sides)).filter(_is_pair)

    def parse(self, records: Sequence[tf.Tensor], wanted: Sequence[str]) -> Tensors:
        """Decodes an element of `records`.

        Args:
            records: the record and perhaps that of its labels.
            wanted: the arrays; `features` may be stored as audio.

        Returns:
            The arrays, "name" and `KNOWN`.
        """
        arrays = _with_features(self.schema.parse(records[0], self._own(wanted)))
        known = arrays[LABELLED] > 0 if LABELLED in arrays else tf.constant(True)
        if len(records) == 2:
            replaced = [name for name in wanted if name in self.replaced.arrays]
            labels = self.replaced.parse(records[1], replaced)
            frames = self.n_frames(arrays)
            for name, spec in self.replaced.arrays.items():
                if name in labels and spec.has_time:
                    message = f"{MISMATCH}: `{name}` has another number of frames."
                    equal = tf.debugging.assert_equal(tf.shape(labels[name])[0], frames, message)
                    with tf.control_dependencies([equal]):
                        labels[name] = tf.identity(labels[name])
            arrays |= labels
            known = tf.constant(True) if ACTIVITY in self.replaced.arrays else known
        return arrays | {KNOWN: known}

    def n_frames(self, arrays: Mapping[str, Any]) -> Any:
        """Frames of a recording, from the arrays of `parse` or `examples`."""
        features = arrays[FEATURES]
        stored = len(features) if isinstance(features, np.ndarray) else tf.shape(features)[0]
        return stored - self.context_frames

    def examples(self) -> Iterator[dict[str, Any]]:
        """Yields the wanted recordings as numpy arrays, with their labels."""
        for path, label_path in itertools.zip_longest(self.paths, self.label_paths):
            own = self._read(path, self.schema)
            if label_path is None:
                yield from own
                continue
            for example, label in itertools.zip_longest(own, self._read(label_path, self.replaced)):
                if example is None or label is None or example["name"] != label["name"]:
                    raise mismatch(f": {path}, {label_path}.")
                yield example | label | ({LABELLED: True} if ACTIVITY in label else {})

    def find(self, wanted: Sequence[str]) -> list[Records]:
        """Finds the recordings in the shards and label shards, without reading arrays with time.

        Args:
            wanted: the arrays.

        Raises:
            DataError: a shard is damaged, labels are those of other recordings, or no recording is
                to be read.
        """
        own = ExampleSchema({name: self.schema.arrays[name] for name in self._own(wanted)})
        records = Records.find(self.paths, own, self._selection.wants)
        if not records.names:
            raise self.nothing_wanted()
        if not self.label_paths:
            return [records]
        replaced = {name: spec for name, spec in self.replaced.arrays.items() if name in wanted}
        labels = Records.find(self.label_paths, ExampleSchema(replaced), self._selection.wants)
        if records.names != labels.names or not np.array_equal(records.ends, labels.ends):
            raise mismatch(": the names of their records differ.")
        return [records, labels]

    def nothing_wanted(self) -> DataError:
        """The error of a selection that is in none of the shards."""
        return DataError(f"None of the recordings wanted is in the {len(self.paths)} shards.")

    def checked(self, shard: tf.Tensor, wanted: tf.Tensor) -> tf.data.Dataset:
        """A dataset without elements that fails at a wrong checksum in a shard or its labels.

        Of several processes, each compares those of its share of the shards.

        Args:
            shard: number of the shard.
            wanted: bool; otherwise nothing is read.

        Returns:
            Dataset of pairs of int32, of which there are none.
        """
        sides = [side for side in (self.paths, self.label_paths) if side]
        paths = [tf.gather(tf.constant(side), shard) for side in sides]
        mine = wanted & (shard % self.world.size == self.world.rank)
        count = tf.where(mine, tf.constant(-1, tf.int64), 0)  # -1: all
        records = tf.data.TFRecordDataset(tf.stack(paths)).take(count)
        none = records.filter(lambda record: tf.strings.length(record) < 0)
        return none.map(lambda record: (tf.strings.length(record), tf.strings.length(record)))

    def _own(self, wanted: Sequence[str]) -> list[str]:
        """Stored names of the wanted arrays that label shards do not replace."""
        own = [name for name in wanted if name not in self.replaced.arrays]
        return [input_name(self.schema) if name == FEATURES else name for name in own]

    def _read(self, path: str, schema: ExampleSchema) -> Iterator[dict[str, Any]]:
        for example in map(_with_features, read_shard(Path(path), schema)):
            if FEATURES in example and self.n_frames(example) < 1:
                raise damaged_shard(Path(path), NO_FRAMES)
            if self._selection.wants(example["name"]):
                yield example

    def _wanted(self, paths: Sequence[str]) -> tf.data.Dataset:
        records, table = tf.data.TFRecordDataset(paths), self._table
        if table is None:
            return records
        return records.filter(lambda record: table.lookup(parse_name(record)) > 0)


def mismatch(details: str) -> DataError:
    """The error of label shards that are not those of the features."""
    return DataError(
        f"{MISMATCH}{details} Expected: the records of both in the same order, with as many"
        " frames. Delete the folder of the labels (pseudo labels lie in the run directory) and run"
        " the same command again."
    )


def _with_features(arrays: dict[str, Any]) -> dict[str, Any]:
    """Renames the input of the model to `features`, in whatever form it is stored."""
    return {FEATURES if name == AUDIO else name: array for name, array in arrays.items()}


def _is_pair(record: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """False at the end of both sides; fails at the end of one, or if the names differ."""
    message = f"{MISMATCH}: the names of their records differ."
    equal = tf.debugging.assert_equal(parse_name(record), parse_name(labels), message)
    with tf.control_dependencies([equal]):
        return tf.strings.length(record) > 0
