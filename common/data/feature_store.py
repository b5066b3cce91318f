"""A folder of finished shards: its contents, their integrity, and the statistics of its groups."""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, TypeAdapter

from common.data.shard_index import index_shard
from common.data.tfrecord import EXTRACT_AGAIN, ExampleSchema, damaged_shard, read_shard
from common.errors import DataError
from common.features.spectral import interleave_channels
from common.features.statistics import RunningStatistics
from common.io.archives import read_arrays, write_arrays
from common.io.files import atomic_path, file_crc32, is_file_name, load_json
from common.settings.tasks import flat_settings

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
STATISTICS = "statistics.npz"
_MOST_KEYS = 8
_OPTIONAL = ("skipped", "facts")  # in the manifest only if there are any


@dataclass(frozen=True)
class ShardEntry:
    """One finished shard in the manifest.

    Attributes:
        file: name of the shard in the folder.
        group: split or subset of its examples.
        names: its examples, in order.
        frames: feature frames of each example.
        n_bytes: size of the file.
        crc32: checksum of the file.
    """

    file: str
    group: str
    names: tuple[str, ...]
    frames: tuple[int, ...]
    n_bytes: int
    crc32: int


def _checked_entry(entry: ShardEntry) -> ShardEntry:
    """Refuses an entry of a manifest that leads out of the folder, or contradicts itself."""
    wrong = [name for name in (entry.file, *entry.names) if not is_file_name(name)]
    if wrong:
        raise ValueError(f"expected names of files without folders, received {wrong[0]!r}")
    if not entry.names or len(entry.frames) != len(entry.names) or min(entry.frames) < 1:
        raise ValueError(f"{entry.file}: expected the frames of {len(entry.names)} examples")
    return entry


@dataclass(frozen=True)
class _Manifest:
    settings: dict[str, Any]
    schema: dict[str, dict[str, Any]]
    shards: list[Annotated[ShardEntry, AfterValidator(_checked_entry)]]
    skipped: dict[str, str] = field(default_factory=dict)
    facts: dict[str, dict[str, int | str | None]] = field(default_factory=dict)


_MANIFEST = TypeAdapter(_Manifest)


class FeatureStore:
    """Finished features of a dataset, made by `common.data.extraction.extract`.

    Groups may be given as text or numbers.

    Attributes:
        folder: where the shards are.
        settings: those that they were made with.
        schema: the arrays of each example.
        entries: the shards, sorted by file name.
        skipped: recordings that could not be used and were left out, with the reasons.
        facts: further facts of recordings from the dataset, by name; they are no part of the
            fingerprint.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, Any],
        schema: ExampleSchema,
        entries: Sequence[ShardEntry],
        skipped: Mapping[str, str] | None = None,
        facts: Mapping[str, Mapping[str, Any]] | None = None,
        statistics_in: Sequence[Path] | None = None,
    ) -> None:
        self.folder, self.settings, self.schema = Path(folder), dict(settings), schema
        self.entries = sorted(entries, key=lambda entry: entry.file)
        self.skipped, self.facts = dict(skipped or {}), dict(facts or {})
        self._statistics_in = [self.folder] if statistics_in is None else list(statistics_in)

    @classmethod
    def open(
        cls, folder: Path, settings: Mapping[str, Any] | None = None, verify: bool = False
    ) -> "FeatureStore":
        """Opens a finished folder.

        Args:
            folder: where the shards are.
            settings: those that they must have been made with; None: any.
            verify: also read every shard and compare its checksum (about a second per GB).

        Raises:
            DataError: there is none, it is not finished, it was made with other settings, or a
                shard is missing or damaged.
        """
        folder = Path(folder)
        try:
            content = json.dumps(load_json(folder / MANIFEST))
            found = _MANIFEST.validate_json(content, strict=True)
            schema = ExampleSchema.from_json(found.schema)
            store = cls(folder, found.settings, schema, found.shards, found.skipped, found.facts)
        except FileNotFoundError as error:
            reason = "extraction was not finished" if folder.is_dir() else "there is no such folder"
            raise DataError(
                f"No features in {folder}: {reason}. Expected: {MANIFEST} and the shards it lists."
                " Run `python batch_feature_extraction.py <task-id>`; it resumes."
            ) from error
        except (OSError, ValueError) as error:
            path = folder / MANIFEST
            raise DataError(f"Damaged manifest: {path} ({error}). {EXTRACT_AGAIN}") from error
        if settings is not None:
            check_settings(folder, store.settings, settings)
        store._check_files(verify)
        if store.skipped:
            logger.warning("%s lacks %d unusable recordings.", folder, len(store.skipped))
        return store

    @classmethod
    def joined(cls, stores: Sequence["FeatureStore"]) -> "FeatureStore":
        """Joins several stores, for instance to train on subsets that were extracted separately.

        Args:
            stores: finished stores, at least one, with the same arrays and different groups.

        Raises:
            DataError: their arrays differ, or two hold the same group.
        """
        first, groups = stores[0], [group for store in stores for group in store.groups]
        for store in stores[1:]:
            if store.schema != first.schema:
                raise DataError(
                    f"The features in {first.folder} and {store.folder} cannot be used together."
                    f" Expected: the same arrays. Received: {first.schema.to_json()} and"
                    f" {store.schema.to_json()}. {EXTRACT_AGAIN}"
                )
        if len(set(groups)) < len(groups):
            received = ", ".join(sorted(groups))
            raise DataError(f"Expected: stores with different groups. Received: {received}.")
        placed = [(store.folder.resolve(), entry) for store in stores for entry in store.entries]
        entries = [replace(entry, file=str(folder / entry.file)) for folder, entry in placed]
        skipped = {name: reason for store in stores for name, reason in store.skipped.items()}
        facts = {name: known for store in stores for name, known in store.facts.items()}
        folders = [store.folder for store in stores]
        return cls(first.folder, first.settings, first.schema, entries, skipped, facts, folders)

    def write(self, statistics: Mapping[str, RunningStatistics]) -> None:
        """Writes statistics and manifest; the folder counts as finished from then on."""
        write_statistics(self.folder / STATISTICS, statistics)
        manifest = {
            "settings": self.settings,
            "schema": self.schema.to_json(),
            "shards": [asdict(entry) for entry in self.entries],
        } | {key: getattr(self, key) for key in _OPTIONAL if getattr(self, key)}
        write_canonical_json(self.folder / MANIFEST, manifest)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of settings, names and checksums, equal for equal features and labels."""
        shards = [[entry.file, entry.names, entry.crc32] for entry in self.entries]
        return settings_hash({"settings": self.settings, "shards": shards})

    @property
    def splits_fingerprint(self) -> str:
        """SHA-256 of the group and facts of each recording, which `fingerprint` leaves out."""
        groups = sorted([name, entry.group] for entry in self.entries for name in entry.names)
        return settings_hash({"groups": groups, "facts": self.facts})

    @property
    def groups(self) -> list[str]:
        """All groups, sorted."""
        return sorted({entry.group for entry in self.entries})

    def shards(self, groups: Iterable[Any] | None = None) -> list[Path]:
        """Paths of the shards of some groups (None: all), sorted."""
        return [self.path(entry) for entry in self.selected(groups)]

    def path(self, entry: ShardEntry) -> Path:
        """Path of a shard."""
        return self.folder / entry.file

    def names(self, groups: Iterable[Any] | None = None) -> list[str]:
        """Names of the examples of some groups, in the order of `shards`."""
        return [name for entry in self.selected(groups) for name in entry.names]

    def frames(self, groups: Iterable[Any] | None = None) -> list[int]:
        """Feature frames of the examples of some groups, in the order of `shards`."""
        return [frames for entry in self.selected(groups) for frames in entry.frames]

    def record(self, groups: Iterable[Any], name: str) -> dict[str, Any]:
        """Reads the arrays of one recording of these groups, and its name.

        Raises:
            KeyError: it is not there.
            DataError: the shard cannot be read.
        """
        entry = next((entry for entry in self.selected(groups) if name in entry.names), None)
        if entry is None:
            raise KeyError(name)
        path = self.path(entry)
        records = read_shard(path, self.schema)
        record = next((record for record in records if record["name"] == name), None)
        if record is None:
            raise damaged_shard(path, f"it lacks {name!r}, which the manifest lists")
        return record

    def arrays(
        self, groups: Iterable[Any], names: Sequence[str]
    ) -> dict[str, dict[str, np.ndarray]]:
        """Reads some arrays of all recordings of these groups, and none of their features.

        Args:
            groups: at least one.
            names: of the arrays.

        Returns:
            By name of the recording, its arrays by name.

        Raises:
            DataError: an unknown group, or a damaged shard.
        """
        schema = ExampleSchema({name: self.schema.arrays[name] for name in names})
        found: dict[str, dict[str, np.ndarray]] = {}
        for path in self.shards(groups):
            for record in index_shard(path, schema):
                found[record.name] = {
                    name: record.read(path, name, schema.arrays[name].dtype) for name in names
                }
        return found

    def statistics(
        self,
        groups: Iterable[Any] | None = None,
        interleaved_channels: bool | int = False,
        ddof: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the features of some groups, merged in sorted order.

        Args:
            groups: the groups of the training examples; None: all.
            interleaved_channels: order the channels as
                `common.features.spectral.interleave_channels` does; a number is that of the
                first channels there.
            ddof: see `RunningStatistics.mean_std`.

        Returns:
            Two float32 arrays (F, C); standard deviations of constant values are 1.

        Raises:
            DataError: an unknown group, or a damaged file.
        """
        mean, std = self.running_statistics(groups).mean_std(ddof)
        if interleaved_channels:
            n_first = None if interleaved_channels is True else interleaved_channels
            return interleave_channels(mean, n_first), interleave_channels(std, n_first)
        return mean, std

    def running_statistics(self, groups: Iterable[Any] | None = None) -> RunningStatistics:
        """Statistics of the features of some groups, merged in sorted order; see `statistics`."""
        stored: dict[str, RunningStatistics] = {}
        for folder in self._statistics_in:
            stored |= read_statistics(folder / STATISTICS)
        wanted = sorted({entry.group for entry in self.selected(groups)})
        chosen = [stored[group] for group in wanted if group in stored]
        if len(chosen) < len(wanted) or len({part.mean.shape for part in chosen}) != 1:
            raise DataError(
                f"Damaged statistics: {self.folder / STATISTICS} (groups are missing)."
                f" {EXTRACT_AGAIN}"
            )
        merged = RunningStatistics.empty(chosen[0].mean.shape)
        for part in chosen:
            merged.merge(part)
        return merged

    def selected(self, groups: Iterable[Any] | None = None) -> list[ShardEntry]:
        """The shards of some groups (None: all), sorted; DataError for an unknown group."""
        if groups is None:
            return self.entries
        wanted = {str(group) for group in groups}
        missing = sorted(wanted - set(self.groups))
        if missing or not wanted:
            raise DataError(
                f"No features of group {', '.join(missing) or '(none given)'} in {self.folder}."
                f" Expected: groups among {', '.join(self.groups)}. Complete the dataset and"
                " extract again, or change the folds."
            )
        return [entry for entry in self.entries if entry.group in wanted]

    def _check_files(self, verify: bool) -> None:
        if not (self.folder / STATISTICS).is_file():
            raise DataError(f"Missing statistics: {self.folder / STATISTICS}. {EXTRACT_AGAIN}")
        for entry in self.entries:
            path = self.folder / entry.file
            problem = file_problem(path, entry.n_bytes, entry.crc32 if verify else None)
            if problem:
                raise DataError(f"Damaged shard: {path}: {problem}. {EXTRACT_AGAIN}")


def file_problem(path: Path, n_bytes: int, crc32: int | None) -> str | None:
    """Problem of a file that should have this size and, unless None, checksum; None if it has."""
    try:
        present = path.stat().st_size
        if present != n_bytes:
            return f"Expected: {n_bytes} bytes. Received: {present}"
        if crc32 is not None and (found := file_crc32(path)) != crc32:
            return f"Expected: checksum {crc32:08x}. Received: {found:08x}"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return None


def check_settings(folder: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compares settings key by key.

    Raises:
        DataError: they differ; the message names keys and values.
    """
    before, now = (
        {key: json.dumps(value, ensure_ascii=False) for key, value in flat_settings(each).items()}
        for each in (stored, json.loads(canonical_json(wanted)))
    )
    keys = sorted({*before, *now})
    pairs = [(key, before.get(key, "absent"), now.get(key, "absent")) for key in keys]
    lines = [f"{key}: {old} there, {new} now" for key, old, new in pairs if old != new]
    if not lines:
        return
    more = f" and {len(lines) - _MOST_KEYS} more" if len(lines) > _MOST_KEYS else ""
    raise DataError(
        f"The features in {folder} were made with other settings:"
        f" {'; '.join(lines[:_MOST_KEYS])}{more}. Set another `feature_dir` to keep both,"
        " or run `python batch_feature_extraction.py <task-id> --overwrite` to replace them."
    )


def canonical_json(content: Any) -> str:
    """JSON text that is the same for equal contents."""
    return json.dumps(content, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def settings_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 of settings."""
    return hashlib.sha256(canonical_json(settings).encode()).hexdigest()


def write_canonical_json(path: Path, content: Any) -> None:
    """Writes `canonical_json`, finished or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(canonical_json(content), "utf-8")


def write_statistics(path: Path, statistics: Mapping[str, RunningStatistics]) -> None:
    """Writes statistics by name as `.npz`, finished or not at all."""
    arrays: dict[str, Any] = {}
    for name, part in sorted(statistics.items()):
        arrays |= {f"{name}/count": np.int64(part.count)}
        arrays |= {f"{name}/mean": part.mean, f"{name}/m2": part.m2}
    write_arrays(path, arrays)


def read_statistics(path: Path) -> dict[str, RunningStatistics]:
    """Reads what `write_statistics` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        arrays = read_arrays(path)
        names = {key.rsplit("/", 1)[0] for key in arrays}
        parts = {name: [arrays[f"{name}/{p}"] for p in ("count", "mean", "m2")] for name in names}
        return {name: RunningStatistics.from_arrays(*parts[name]) for name in sorted(names)}
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"Damaged statistics: {path} ({error}). {EXTRACT_AGAIN}") from error
