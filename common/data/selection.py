"""Selection of recordings in a store, for training or evaluation, and parts of batches."""

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.feature_store import FeatureStore, ShardEntry
from common.data.tfrecord import ExampleSchema
from common.errors import ConfigError, DataError


@dataclass(frozen=True)
class Selection:
    """Recordings of one store.

    Attributes:
        store: the extracted features.
        groups: the groups (splits, subsets) wanted, each of which must be in the store; None: all.
        names: only these recordings of the groups; None: all.
        label_shards: shards whose arrays, float32, replace those of the recordings, e.g. pseudo
            labels; each has the file name of the shard whose labels it replaces, and its records
            the same names in the same order (recordings that are not wanted may be missing).
    """

    store: FeatureStore
    groups: tuple[str, ...] | None = None
    names: frozenset[str] | None = None
    label_shards: tuple[Path, ...] = ()

    @classmethod
    def among(cls, stores: Sequence[FeatureStore], groups: Sequence[Any]) -> "Selection":
        """Finds the store of the groups, or joins those of some; without any, reading fails."""
        names = tuple(str(group) for group in groups)
        holding = [store for store in stores if set(names) <= set(store.groups)]
        parts = [store for store in stores if set(names) & set(store.groups)]
        if not holding and len(parts) > 1:
            holding = [FeatureStore.joined(parts)]
        return cls((holding or list(stores))[0], names)

    @classmethod
    def of_shards(
        cls,
        shards: Sequence[Path],
        schema: ExampleSchema,
        names: Collection[str] | None = None,
        label_shards: Sequence[Path] = (),
    ) -> "Selection":
        """Selects recordings of shards without a manifest, whose names and frames are not known."""
        entries = [ShardEntry(str(path), "", (), (), 0, 0) for path in shards]
        wanted = None if names is None else frozenset(names)
        return cls(FeatureStore(Path(), {}, schema, entries), None, wanted, tuple(label_shards))

    @property
    def schema(self) -> ExampleSchema:
        """The arrays of each recording."""
        return self.store.schema

    @property
    def shards(self) -> list[Path]:
        """The shards that hold wanted recordings, sorted."""
        return [self.store.path(entry) for entry in self._entries()]

    @property
    def frames(self) -> list[int]:
        """Feature frames of each wanted recording."""
        entries = [zip(entry.names, entry.frames, strict=True) for entry in self._entries()]
        return [frames for pairs in entries for name, frames in pairs if self.wants(name)]

    @property
    def recording_names(self) -> list[str]:
        """The wanted recordings in the order in which they are streamed for evaluation."""
        return [name for entry in self._entries() for name in entry.names if self.wants(name)]

    @property
    def matched_label_shards(self) -> list[Path]:
        """The label shards parallel to `shards`; empty: the labels are those of the recordings.

        Raises:
            DataError: a shard has none, or two.
        """
        if not self.label_shards:
            return []
        by_name = {path.name: path for path in self.label_shards}
        lacking = [path.name for path in self.shards if path.name not in by_name]
        if lacking or len(by_name) < len(self.label_shards):
            raise DataError(
                "Expected: one label shard with the file name of each of the"
                f" {len(self.shards)} shards of features. Received: {len(self.label_shards)} with"
                f" {len(by_name)} names; without labels: {lacking[:5]}."
            )
        return [by_name[path.name] for path in self.shards]

    def sample(self, n_recordings: int | None, seed: int | tuple[int, ...]) -> "Selection":
        """Draws recordings without replacement, independent of the order in which they are stored.

        Args:
            n_recordings: number to draw, at least 1; None, or if there are no more: all.
            seed: of the draw.
        """
        names = sorted(self.recording_names)
        if n_recordings is None or n_recordings >= len(names):
            return self
        drawn = np.random.default_rng(seed).choice(len(names), n_recordings, replace=False)
        return dataclasses.replace(self, names=frozenset(names[number] for number in drawn))

    def wants(self, name: str) -> bool:
        """True if a recording of the groups is wanted."""
        return self.names is None or name in self.names

    def _entries(self) -> Iterator[ShardEntry]:
        for entry in self.store.selected(self.groups):
            if not entry.names or any(map(self.wants, entry.names)):
                yield entry


@dataclass(frozen=True)
class BatchPart:
    """Part of each training batch: rows of its own recordings.

    Attributes:
        name: of the part, for errors.
        selection: its recordings.
        batch_size: its rows in each batch, at least 1.
        unknown: label arrays that count as unknown in this part, -1 in the targets.
    """

    name: str
    selection: Selection
    batch_size: int
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class BatchParts:
    """Parts that training batches consist of, in this order.

    Attributes:
        parts: at least one, of different names.
        epoch_part: name of the part whose passes are the epochs; None: the part with the fewest
            batches, as published for DCASE task 4.
        number_output: name of a further target, int32 (B,), the number of the part that each row
            belongs to, from 0 on; None: none.

    Raises:
        ConfigError: no parts, two of one name, an empty one, or an unknown `epoch_part`.
    """

    parts: tuple[BatchPart, ...]
    epoch_part: str | None = None
    number_output: str | None = None

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if not names or len(set(names)) < len(names):
            raise ConfigError(
                f"Parts of batches have different names, at least one. Received: {names}."
            )
        if self.epoch_part not in (None, *names):
            raise ConfigError(
                f"`epoch_part` names a part of the batches. Expected: one of {', '.join(names)}."
                f" Received: {self.epoch_part!r}."
            )
        empty = [part.name for part in self.parts if part.batch_size < 1]
        if empty:
            raise ConfigError(f"Parts have 1 or more rows in each batch. Received 0: {empty}.")

    @classmethod
    def of(cls, selection: Selection, batch_size: int) -> "BatchParts":
        """Batches of only one part."""
        return cls((BatchPart("train", selection, batch_size),))

    @property
    def batch_size(self) -> int:
        """Rows of a batch."""
        return sum(part.batch_size for part in self.parts)

    @property
    def recording_names(self) -> list[str]:
        """Names of the recordings of all parts, deduplicated."""
        return list(
            dict.fromkeys(name for part in self.parts for name in part.selection.recording_names)
        )

    @property
    def recordings(self) -> Selection:
        """Recordings of all parts of one store as one selection, e.g. to score some of them.

        Raises:
            ValueError: the parts are of several stores, or some have label shards.
        """
        first, *others = (part.selection for part in self.parts)
        if not others:
            return first
        if any(each.store is not first.store or each.label_shards for each in (first, *others)):
            raise ValueError("Parts of several stores, or with label shards, cannot be joined.")
        chosen = [first, *others]
        groups = None
        if not any(each.groups is None for each in chosen):
            groups = tuple(dict.fromkeys(group for each in chosen for group in each.groups or ()))
        names = frozenset(name for each in chosen for name in each.recording_names)
        return Selection(first.store, groups, names)
