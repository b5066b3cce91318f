"""Selection of recordings in a store, for training or evaluation."""

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.data.feature_store import FeatureStore, ShardEntry
from common.data.tfrecord import ExampleSchema
from common.errors import DataError


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
