"""Extraction of shards: parallel, resumable, with the same bytes in any number of runs.

Each shard is one piece of work: its examples are computed, written under a temporary name, renamed;
then a side file of the same name (`.npz`) with its statistics, checksum and sources is written the
same way. A shard is finished if its side file fits the settings and the shard, and its sources have
not changed, see `common.data.provenance`. `settings.json` is written first, the manifest last.
"""

import itertools
import json
import logging
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from common.audio.files import from_int16, to_int16
from common.data.feature_store import (
    MANIFEST,
    STATISTICS,
    FeatureStore,
    ShardEntry,
    check_settings,
    file_problem,
    settings_hash,
    write_canonical_json,
)
from common.data.provenance import (
    CHECKSUMS,
    Checksums,
    Item,
    MadeOf,
    changes,
    describe_items,
    read_note,
    read_notes,
)
from common.data.tfrecord import ArraySpec, ExampleSchema, ShardFile, write_shard
from common.errors import DataError
from common.features.frontend import AUDIO, Frontend
from common.features.statistics import RunningStatistics
from common.io.archives import read_arrays, write_arrays
from common.io.files import is_file_name, load_json, remove_temporaries
from common.io.locks import only_one
from common.io.notes import Note, collected, summaries
from common.io.terminal import bar_pace
from common.runtime.parallel import parallel_map
from common.settings.parallel import ParallelConfig

logger = logging.getLogger(__name__)

SETTINGS = "settings.json"
_FAILURES_SHOWN = 10


@dataclass(frozen=True)
class ShardPlan:
    """One shard to be made.

    Attributes:
        stem: its file name without suffix.
        items: its examples.
        outdated: True if the shard was made of other files or labels.
    """

    stem: str
    items: tuple[Item, ...]
    outdated: bool = False


@dataclass(frozen=True)
class Recipe:
    """Contents of the shards of a store; sent to the processes that make them.

    Attributes:
        folder: of the shards; nothing else should be kept there.
        compute: makes the arrays of an item; must be picklable, and give the same arrays each time.
        schema: the arrays that are stored.
        settings: all that the shards depend on, as JSON.
        recordings_per_shard: examples in a shard; the last shard of a group may hold fewer.
        statistics_of: name of the array (T, F, C) whose mean and standard deviation are computed;
            it is stored if it is in the schema.
        skip: errors of `compute` that leave the recording out instead of failing; the store lists
            it in `skipped`.
    """

    folder: Path
    compute: Callable[[Item], Mapping[str, np.ndarray]]
    schema: ExampleSchema
    settings: Mapping[str, Any]
    recordings_per_shard: int = 1
    statistics_of: str = "features"
    skip: tuple[type[DataError], ...] = ()

    @cached_property
    def stored_settings(self) -> dict[str, Any]:
        """The settings as the store keeps them."""
        settings = {**self.settings, "recordings_per_shard": self.recordings_per_shard}
        return json.loads(json.dumps(settings))

    @cached_property
    def settings_hash(self) -> str:
        """SHA-256 of the settings."""
        return settings_hash(self.stored_settings)


def input_specs(
    frontend: Frontend | None, dtype: str, bands_channels: tuple[int, int]
) -> dict[str, ArraySpec]:
    """Input of the model in a record: features of a type, or the audio of a frontend."""
    if frontend is None:
        return {"features": ArraySpec(dtype, (None, *bands_channels))}
    return {AUDIO: ArraySpec("int16", (None, frontend.hop_samples, frontend.channels))}


def input_arrays(
    audio: np.ndarray, frontend: Frontend | None, compute: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Computes the features of a recording, and cuts its audio if there is a frontend.

    Args:
        audio: float (S, C) in [-1, 1], of the length and rate that features are computed of.
        frontend: features that the model computes; None: it takes stored features.
        compute: from audio to features (T, F, C).

    Returns:
        `features`, and with a frontend `audio`, see `Frontend.pieces`.
    """
    if frontend is None:
        return {"features": compute(audio)}
    rounded = from_int16(to_int16(audio))  # resampled audio as the model gets it
    features = compute(rounded)
    return {"features": features, AUDIO: frontend.pieces(rounded, len(features))}


def extract(
    recipe: Recipe,
    items: Sequence[Item],
    *,
    parallel: ParallelConfig | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> FeatureStore:
    """Makes the shards that are missing or damaged, and the manifest.

    Args:
        recipe: contents of the shards.
        items: the examples, any order.
        parallel: number of processes.
        overwrite: remove all shards first.
        progress: show a bar with files per second and the time left.

    Returns:
        The finished store.

    Raises:
        DataError: recordings that cannot be used (all others are finished first), shards of other
            settings, a disk that is full or cannot be written to, or another extraction into the
            same folder.
    """
    folder, started = recipe.folder, time.monotonic()
    plans = plan_shards(items, recipe.recordings_per_shard)
    with only_one(folder, "set another `feature_dir`"):
        _prepare(recipe, plans, overwrite)
        checksums = Checksums(folder)
        plans = _marked(folder, plans, checksums)
        made = _make_all(recipe, plans, parallel or ParallelConfig(), progress)
        remove_temporaries(folder)  # of workers that were lost
        store = _finish(recipe, plans, checksums)
        checksums.save()
    logger.info(
        "%s: %d recordings in %d shards, %.1f MB (%d shards made now, %d were there) in %.1f s.",
        folder,
        len(store.names()),
        len(plans),
        sum(entry.n_bytes for entry in store.entries) / 1e6,
        made,
        len(plans) - made,
        time.monotonic() - started,
    )
    for name, reason in store.skipped.items():
        logger.warning("%s is left out: %s", name, reason)
    return store


def plan_shards(items: Sequence[Item], recordings_per_shard: int) -> list[ShardPlan]:
    """Distributes examples over shards; depends only on names and groups.

    Raises:
        DataError: there are no examples, two have one name, or a name could not be that of a file.
    """
    ordered = sorted(items, key=lambda item: (item.group, item.name))
    names = sorted(item.name for item in ordered)
    repeated = sorted({first for first, second in itertools.pairwise(names) if first == second})
    if repeated or not names:
        received = f"{', '.join(repeated[:_FAILURES_SHOWN])} more than once" if repeated else "none"
        raise DataError(f"Expected: recordings with different names. Received: {received}.")
    unusable = [name for name in names if not is_file_name(name)]
    if unusable:
        raise DataError(f"Expected: names that files can have. Received: {unusable[0]!r}.")
    plans = []
    for group in sorted({item.group for item in ordered}):
        members = [item for item in ordered if item.group == group]
        for start in range(0, len(members), recordings_per_shard):
            part = tuple(members[start : start + recordings_per_shard])
            plans.append(ShardPlan(_stem(part), part))
    return plans


def _stem(items: Sequence[Item]) -> str:
    """Name of the recording, or of the first and the last, as a unique and safe file name."""
    name = items[0].name if len(items) == 1 else f"{items[0].name}--{items[-1].name}"
    safe = re.sub(r"[^A-Za-z0-9_+=.,-]", "_", name).lstrip(".")[:180]
    return safe if safe == name else f"{safe}-{zlib.crc32(name.encode()):08x}"


def _prepare(recipe: Recipe, plans: Sequence[ShardPlan], overwrite: bool) -> None:
    """Compares settings, then removes files that do not belong to the plan."""
    known = {f"{plan.stem}{suffix}" for plan in plans for suffix in (".tfrecord", ".npz")}
    folder, path = recipe.folder, recipe.folder / SETTINGS
    if overwrite:
        known = set()
        for name in (MANIFEST, CHECKSUMS):
            (folder / name).unlink(missing_ok=True)
    elif path.is_file() and any(folder.glob("*.tfrecord")):
        check_settings(folder, _read_settings(path), recipe.stored_settings)
    remove_temporaries(folder)
    files = [*folder.glob("*.tfrecord"), *folder.glob("*.npz")]
    strays = [file for file in files if file.name not in known | {STATISTICS}]
    for stray in strays:
        stray.unlink(missing_ok=True)
    if strays:
        logger.info("%s: removed %d files of shards no longer wanted.", folder, len(strays))
    write_canonical_json(path, recipe.stored_settings)


def _marked(folder: Path, plans: Sequence[ShardPlan], checksums: Checksums) -> list[ShardPlan]:
    """Marks the shards that were made of other files or labels, and logs their number."""
    items = [item for plan in plans for item in plan.items]
    found = changes(items, read_notes(folder), checksums)
    if found:
        name, what = next(iter(found.items()))
        logger.warning(
            "%s: %d of %d recordings differ from those that its features were made of, the first is"
            " %s: %s. Their shards are made again; set another `feature_dir` to keep both.",
            folder,
            len(found),
            len(items),
            name,
            what,
        )
    return [replace(plan, outdated=any(i.name in found for i in plan.items)) for plan in plans]


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        return dict(load_json(path).items())
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"Damaged settings of the features: {path} ({error}). Delete the folder and run "
            "`python batch_feature_extraction.py <task-id>` again."
        ) from error


def _make_all(
    recipe: Recipe, plans: Sequence[ShardPlan], parallel: ParallelConfig, progress: bool
) -> int:
    """Makes or checks every shard; returns how many were made."""
    made, failures = 0, []
    n_items = sum(len(plan.items) for plan in plans)
    notes: list[Note] = []
    results = parallel_map(partial(_noted_shard, recipe), plans, parallel)
    shown = {"unit": "file", "desc": recipe.folder.name, "disable": not progress}
    with tqdm(total=n_items, smoothing=0.1, **bar_pace(), **shown) as bar:
        for (plan, was_made, failure), remarks in results:
            notes += remarks
            made += was_made
            failures += [failure] if failure else []
            bar.update(len(plan.items))
    for line in summaries(notes):
        logger.warning("%s: %s", recipe.folder.name, line)
    if failures:
        lines = sorted(failures)[:_FAILURES_SHOWN]
        if len(failures) > _FAILURES_SHOWN:
            lines.append(f"... and {len(failures) - _FAILURES_SHOWN} more.")
        if len(plans) > len(failures):
            lines.append("All other recordings are finished: fix these and run the command again.")
        raise DataError("\n".join(lines))
    return made


@dataclass(frozen=True)
class _Finished:
    """Contents of the side file of a finished shard.

    Attributes:
        entry: the shard.
        statistics: of its examples.
        skipped: recordings that were left out, with the reasons.
        made_of: sources of its examples.
    """

    entry: ShardEntry
    statistics: RunningStatistics
    skipped: dict[str, str]
    made_of: list[MadeOf]


class _Examples:
    """Computes the examples of a shard one by one, and collects the contents of the side file.

    Attributes:
        frames: frames of each example so far.
        statistics: of all frames so far; None before the first example.
        names: the examples so far.
        skipped: recordings that were left out, with the reasons.
        failure: reason why a recording cannot be used; None while all can.
    """

    def __init__(self, recipe: Recipe, plan: ShardPlan) -> None:
        self.recipe, self.plan = recipe, plan
        self.frames: list[int] = []
        self.names: list[str] = []
        self.skipped: dict[str, str] = {}
        self.statistics: RunningStatistics | None = None
        self.failure: str | None = None

    def __iter__(self) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
        for item in self.plan.items:
            try:
                arrays = self.recipe.compute(item)
            except DataError as error:
                if isinstance(error, self.recipe.skip):
                    self.skipped[item.name] = str(error)
                    continue
                self.failure = str(error)
                raise
            features = arrays[self.recipe.statistics_of]
            if self.statistics is None:
                self.statistics = RunningStatistics.empty(features.shape[1:])
            self.statistics.update(features)
            self.frames.append(len(features))
            self.names.append(item.name)
            of = self.recipe.statistics_of
            if of not in self.recipe.schema.arrays:
                arrays = {name: array for name, array in arrays.items() if name != of}
            yield item.name, arrays


def _noted_shard(
    recipe: Recipe, plan: ShardPlan
) -> tuple[tuple[ShardPlan, bool, str | None], list[Note]]:
    """Makes a shard unless it is finished; also returns remarks on its recordings."""
    with collected() as notes:
        return _ensure_shard(recipe, plan), notes


def _ensure_shard(recipe: Recipe, plan: ShardPlan) -> tuple[ShardPlan, bool, str | None]:
    """Makes a shard unless it is finished; returns True if made, and the error of a recording."""
    finished = None if plan.outdated else _finished_entry(recipe, plan, verify=True)
    if finished is not None:
        _keep_checksums(recipe, plan, finished)
        return plan, False, None
    # The manifest may list an older shard of this name: from here on the folder is not finished.
    (recipe.folder / MANIFEST).unlink(missing_ok=True)
    examples, made_of = _Examples(recipe, plan), describe_items(plan.items)
    try:
        shard = write_shard(recipe.folder / f"{plan.stem}.tfrecord", examples, recipe.schema)
    except DataError:
        if examples.failure is None:  # the disk, not a recording: this stops everything
            raise
        return plan, False, examples.failure
    _write_side_file(recipe, plan, examples, shard, made_of)
    return plan, True, None


def _write_side_file(
    recipe: Recipe, plan: ShardPlan, examples: _Examples, shard: ShardFile, made_of: np.ndarray
) -> None:
    statistics = examples.statistics or RunningStatistics.empty((0,))
    arrays = {
        "settings_hash": recipe.settings_hash,
        "made_of": made_of,
        "names": np.array(examples.names, np.str_),
        "skipped": np.array(list(examples.skipped.items()), np.str_).reshape(-1, 2),
        "frames": np.array(examples.frames, np.int64),
        "n_bytes": np.int64(shard.n_bytes),
        "crc32": np.int64(shard.crc32),
        "count": np.int64(statistics.count),
        "mean": statistics.mean,
        "m2": statistics.m2,
    }
    write_arrays(recipe.folder / f"{plan.stem}.npz", arrays)


def _keep_checksums(recipe: Recipe, plan: ShardPlan, finished: _Finished) -> None:
    """Adds checksums of the sources to a side file of an earlier version, which lacks them."""
    files = (file for made in finished.made_of for file in made.files)
    if all(file.crc32 is not None or file.size < 0 for file in files):
        return
    path = recipe.folder / f"{plan.stem}.npz"
    side = read_arrays(path)
    side.pop("sources", None)
    write_arrays(path, side | {"made_of": describe_items(plan.items)})


def _finished_entry(recipe: Recipe, plan: ShardPlan, verify: bool) -> _Finished | None:
    """Reads the side file of a shard; None unless both are whole and fit names and settings."""
    path = recipe.folder / f"{plan.stem}.npz"
    try:
        side = read_arrays(path)
        names = tuple(str(name) for name in side["names"])
        skipped = {str(name): str(reason) for name, reason in side.get("skipped", ())}
        fits = (
            str(side["settings_hash"]) == recipe.settings_hash
            and sorted([*names, *skipped]) == sorted(item.name for item in plan.items)
            and (recipe.skip or not skipped)
        )
        made_of = read_note(side, path.stat().st_mtime_ns)
        frames = tuple(int(number) for number in side["frames"])
        n_bytes, crc32 = int(side["n_bytes"]), int(side["crc32"])
        file, group = f"{plan.stem}.tfrecord", plan.items[0].group
        entry = ShardEntry(file, group, names, frames, n_bytes, crc32)
        statistics = RunningStatistics.from_arrays(*(side[key] for key in ("count", "mean", "m2")))
    except (OSError, ValueError, KeyError, TypeError):  # missing, truncated or of an older form
        return None
    shard = recipe.folder / entry.file
    problem = file_problem(shard, n_bytes, crc32 if verify else None)
    if problem and fits:
        logger.info("%s is made again: %s.", shard, problem)
    return _Finished(entry, statistics, skipped, made_of) if fits and not problem else None


def _finish(recipe: Recipe, plans: Sequence[ShardPlan], checksums: Checksums) -> FeatureStore:
    """Merges statistics by group in sorted order, and writes the manifest."""
    entries: list[ShardEntry] = []
    by_group: dict[str, RunningStatistics] = {}
    skipped: dict[str, str] = {}
    for plan in plans:  # sorted by group and name
        finished = _finished_entry(recipe, plan, verify=False)
        made_of = {made.name: made for made in finished.made_of} if finished else {}
        if finished is None or changes(plan.items, made_of, checksums):
            raise DataError(
                f"{recipe.folder / plan.stem}.tfrecord, or a recording of it, changed during the"
                " extraction. Run the same command again."
            )
        skipped |= finished.skipped
        if not finished.entry.names:  # the file is kept: the next run finds it finished
            continue
        entry, statistics = finished.entry, finished.statistics
        entries.append(entry)
        merged = by_group.setdefault(entry.group, RunningStatistics.empty(statistics.mean.shape))
        merged.merge(statistics)
    if not entries:
        raise DataError(
            f"No recording can be used. The first of {len(skipped)}: {next(iter(skipped.values()))}"
        )
    facts = {item.name: dict(item.facts) for plan in plans for item in plan.items if item.facts}
    settings = recipe.stored_settings
    store = FeatureStore(recipe.folder, settings, recipe.schema, entries, skipped, facts)
    store.write(by_group)
    return store
