"""Clips that train and clips that validate: what subsets hold out, and the parts of batches.

Clips that validate are drawn once, in whole sources, and kept in the run's folder. No clip of one
of their sources trains, in whatever subset it is.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from common.data.feature_store import FeatureStore
from common.data.selection import BatchPart, BatchParts, Selection
from common.errors import CheckpointError
from common.io.files import write_json
from common.training.run_directory import read_form
from sed_task4.clips import clip_groups
from sed_task4.clips.clip_groups import ClipSources
from sed_task4.config import PartConfig, SetsConfig, TaskConfig

logger = logging.getLogger(__name__)

SPLIT = "validation_split.json"
_ONLY = "validation"  # key of the clips of `sets.train`; with parts, keys are the subsets

HeldOut = Mapping[str, frozenset[str]]  # by subset, its clips that validate


def training_sets(
    task: TaskConfig, store: FeatureStore, sources: Mapping[str, ClipSources], folder: Path
) -> tuple[BatchParts, Selection]:
    """Chooses the clips for training, in the parts of a batch, and those for validation.

    Args:
        task: which subset serves for what.
        store: all its subsets.
        sources: source recordings of the clips of each subset.
        folder: of the run, which keeps the clips that were drawn.

    Returns:
        The parts, only one without `sets.parts`; and the clips that validate: those held out and
        those of `sets.validate_on`, or where there are neither, the training clips.

    Raises:
        CheckpointError: the stored draw is damaged or of other clips.
        DataError: the clips cannot be divided.
    """
    sets = task.sets
    held_out = _held_out(task, store, sources, folder)
    apart = validating_sources(sources, held_out)
    if sets.parts:
        chosen = [_part(each, store, sources, held_out, apart) for each in sets.parts]
        parts = BatchParts(tuple(chosen), sets.epoch_part)
    else:
        names = _remaining(sets.train, sources, held_out, apart) if held_out else None
        labelled = Selection(store, (sets.train,), names)
        parts = BatchParts.of(labelled, task.pipeline.batch_size)
    return parts, _validation(sets, store, held_out) or parts.recordings


def unlabelled_clips(
    sets: SetsConfig, store: FeatureStore, sources: Mapping[str, ClipSources], validation: Selection
) -> Selection:
    """Chooses the clips of `sets.unlabelled`: none whose source has validation clips."""
    subset = str(sets.unlabelled)
    if not sets.holds_out:
        return Selection(store, (subset,))
    validating = frozenset(validation.recording_names)
    held_out = {name: validating & sources[name].groups.keys() for name in sets.fractions}
    apart = validating_sources(sources, held_out)
    names = _remaining(subset, sources, {}, apart)
    whole = len(names) == len(sources[subset].groups)
    return Selection(store, (subset,), None if whole else names)


def validating_sources(sources: Mapping[str, ClipSources], held_out: HeldOut) -> frozenset[str]:
    """Sources of the clips that are held out."""
    pairs = ((subset, name) for subset, names in held_out.items() for name in names)
    return frozenset(sources[subset].source(name) for subset, name in pairs)


def _part(
    part: PartConfig,
    store: FeatureStore,
    sources: Mapping[str, ClipSources],
    held_out: HeldOut,
    apart: frozenset[str],
) -> BatchPart:
    """Clips of one part of a batch that do not validate."""
    names = [_remaining(subset, sources, held_out, apart) for subset in part.subsets]
    n_all = sum(len(sources[subset].groups) for subset in part.subsets)
    chosen = None if sum(map(len, names)) == n_all else frozenset().union(*names)
    selection = Selection(store, part.subsets, chosen)
    counts = [f"{len(own)} of {subset}" for subset, own in zip(part.subsets, names, strict=True)]
    logger.info("%d clips of a batch, %s: of %s.", part.batch_size, part.name, ", ".join(counts))
    return BatchPart(part.name, selection, part.batch_size, part.unknown)


def _remaining(
    subset: str, sources: Mapping[str, ClipSources], held_out: HeldOut, apart: frozenset[str]
) -> frozenset[str]:
    """Clips of a subset that are not held out, nor of the source of a clip that is."""
    own, held = sources[subset], held_out.get(subset, frozenset())
    others = [name for name in own.groups if name not in held]
    kept = frozenset(name for name in others if own.source(name) not in apart)
    if len(kept) < len(others):
        logger.info(
            f"{subset}: {len(others) - len(kept)} clip(s) are left out, of sources whose clips of"
            " another subset validate."
        )
    return kept


def _validation(sets: SetsConfig, store: FeatureStore, held_out: HeldOut) -> Selection | None:
    """Clips that are held out and those of `sets.validate_on`; None: there are none."""
    decisive = sets.validate_on
    if not held_out:
        return None if decisive is None else Selection(store, (decisive,))
    names = frozenset[str]().union(*held_out.values())
    if decisive is None:
        return Selection(store, tuple(held_out), names)
    return Selection(store, (*held_out, decisive), names.union(store.names([decisive])))


def _held_out(
    task: TaskConfig, store: FeatureStore, sources: Mapping[str, ClipSources], folder: Path
) -> dict[str, frozenset[str]]:
    """Reads the clips that validate of each subset, after drawing them in the first run."""
    fractions, path = task.sets.fractions, folder / SPLIT
    keys = {subset: subset if task.sets.parts else _ONLY for subset in fractions}
    if fractions and not path.exists():
        drawn = {keys[subset]: _drawn(task, store, sources[subset]) for subset in fractions}
        write_json(path, drawn)
    held_out = {}
    for subset, key in keys.items():
        held_out[subset] = read_split(path, store.names([subset]), sources[subset], key)
        logger.info("%s", clip_groups.describe_hold_out(sources[subset], held_out[subset]))
    return held_out


def _drawn(task: TaskConfig, store: FeatureStore, sources: ClipSources) -> list[str]:
    """Draws the validation clips of a subset, in whole sources if these are known."""
    subset, classes = sources.subset, np.array(task.dataset.classes)
    stored = store.arrays([subset], ["tags"]) if not sources.all_single else {}
    tags = {name: classes[arrays["tags"] > 0].tolist() for name, arrays in stored.items()}
    where, fraction = f"{task.feature_dir}, {subset}", task.sets.fractions[subset]
    return clip_groups.hold_out(sources, tags, fraction, task.seed, where)


def read_split(
    path: Path, names: Sequence[str], sources: ClipSources | None = None, key: str = _ONLY
) -> frozenset[str]:
    """Reads the names of the validation clips.

    Args:
        path: file of a run.
        names: all labelled clips.
        sources: source recordings of the clips; None: unknown.
        key: of the list in the file.

    Raises:
        CheckpointError: the file is damaged or has other clips, or only some clips of a source.
    """
    held_out = frozenset(read_form(path, dict[str, list[str]]).get(key, ()))
    if not held_out or not held_out < set(names):
        raise CheckpointError(
            f"{path} does not name some of the {len(names)} clips. Use the features of before, or"
            " another job id."
        )
    divided = clip_groups.split_sources(sources, held_out) if sources is not None else []
    if divided:
        raise CheckpointError(
            f"{path} has some clips of a source in validation and others in training:"
            f" {len(divided)} source(s), such as {divided[0]!r}. Expected: each source in one of"
            " the two. Use another job id, which draws again."
        )
    return held_out
