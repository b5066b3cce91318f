"""Which sounds a simulated dataset consists of: own recordings dealt into disjoint sets, synthetic ones elsewhere."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from common.errors import ConfigError, DataError
from common.simulation.draws import random_stream
from common.simulation.sources import deal, recordings_of

logger = logging.getLogger(__name__)


class SourceSettings(Protocol):
    """What decides which file belongs to which set."""

    @property
    def version(self) -> str:
        """Of the generator."""

    @property
    def seed(self) -> int:
        """Root seed of the dataset."""

    @property
    def on_missing(self) -> Literal["synth", "error"]:
        """What to do for classes with too few recordings."""


@dataclass(frozen=True)
class SoundOrder:
    """The examples of one class and set: own recordings where there are any, synthetic ones otherwise."""

    class_name: str
    set_number: int
    recordings: tuple[Path, ...]


def order_sounds(
    classes: Sequence[str],
    set_numbers: Sequence[int],
    n_sets: int,
    synthetic: Collection[str],
    settings: SourceSettings,
    source_dir: Path | None,
) -> list[SoundOrder]:
    """Decides which sounds every class and set consists of.

    Args:
        classes: names of the classes, those of the folders in `source_dir`.
        set_numbers: sets that are needed; which file belongs to which set does not depend on them.
        n_sets: number of disjoint sets that the recordings of a class are dealt into.
        synthetic: classes that can be synthesised.
        settings: seed, and what to do where recordings are missing.
        source_dir: folder with one folder of recordings per class; None: all sounds are synthesised.

    Raises:
        DataError: there is no such folder, it holds no recording of any class, or one is missing and must not be.
        ConfigError: a class has neither recordings nor a synthetic sound.
    """
    dealt = {name: _dealt_recordings(name, n_sets, settings, source_dir) for name in classes}
    if source_dir is not None and not any(files for sets in dealt.values() for files in sets):
        raise DataError(
            f"{source_dir} holds no recording of any class. Expected: {source_dir}/<class>/*.wav or *.flac with "
            f"classes {', '.join(classes)}. Correct `simulation.source_dir`, or set it to null."
        )
    orders = [SoundOrder(name, number, tuple(dealt[name][number])) for name in classes for number in set_numbers]
    missing = [order for order in orders if not order.recordings]
    if source_dir is not None:
        _report_ignored(classes, source_dir)
    if source_dir is not None and missing:
        _report_missing(missing, n_sets, settings, source_dir)
    without_recipe = sorted({order.class_name for order in missing} - set(synthetic))
    if without_recipe:
        raise ConfigError(
            f"There is no synthetic sound for {', '.join(without_recipe)}. Expected: classes among "
            f"{', '.join(synthetic)}, or {n_sets} recordings of each other class in `simulation.source_dir`."
        )
    return orders


def _dealt_recordings(
    class_name: str, n_sets: int, settings: SourceSettings, source_dir: Path | None
) -> list[list[Path]]:
    paths = recordings_of(source_dir / class_name) if source_dir is not None else []
    return deal(paths, n_sets, random_stream(settings.seed, settings.version, "deal", class_name))


def _report_ignored(classes: Sequence[str], source_dir: Path) -> None:
    ignored = sorted(path.name for path in source_dir.iterdir() if path.is_dir() and path.name not in classes)
    if ignored:
        logger.warning("%s: ignored, no classes of the task: %s.", source_dir, ", ".join(ignored))


def _report_missing(missing: Sequence[SoundOrder], n_sets: int, settings: SourceSettings, source_dir: Path) -> None:
    names = ", ".join(sorted({order.class_name for order in missing}))
    if settings.on_missing == "error":
        raise DataError(
            f"{source_dir} holds too few recordings of {names}. Expected: {n_sets} files or more of each class, "
            "one for each split, since splits share no recording. Add files, or set `simulation.on_missing: synth`."
        )
    logger.warning("%s has no recordings for some splits of %s: synthetic sounds are used there.", source_dir, names)
