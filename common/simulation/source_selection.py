"""Selection of sounds: own recordings dealt into disjoint sets, synthetic sounds elsewhere."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from common.datasets.groups import check_deal, count_groups, deal_groups, describe_deal
from common.errors import ConfigError, DataError
from common.simulation.own_recordings import TABLE, OwnRecordings, find_own_recordings
from common.simulation.random_streams import random_stream
from common.simulation.sound_bank import deal

logger = logging.getLogger(__name__)


class SourceSettings(Protocol):
    """Settings that decide which file belongs to which set."""

    @property
    def version(self) -> str:
        """Version of the generator."""

    @property
    def seed(self) -> int:
        """Root seed of the dataset."""

    @property
    def on_missing(self) -> Literal["synth", "error"]:
        """Synthetic sounds, or an error, for classes with too few recordings."""


@dataclass(frozen=True)
class SoundSelection:
    """Own recordings of one class and set; without any, its sounds are synthetic.

    Attributes:
        class_name: of the sounds.
        set_number: of the set.
        recordings: files, in no other set.
        n_groups: number of sources that the recordings come from, in no other set.
    """

    class_name: str
    set_number: int
    recordings: tuple[Path, ...]
    n_groups: int = 0


def select_sounds(
    classes: Sequence[str],
    set_numbers: Sequence[int],
    sets: Mapping[int, str],
    synthetic: Collection[str],
    settings: SourceSettings,
    source_dir: Path | None,
) -> list[SoundSelection]:
    """Selects the sounds of each class and set; all recordings of a known source are in one set.

    Args:
        classes: names of the classes, those of the folders in `source_dir`.
        set_numbers: sets that are needed; the sets of files do not depend on them.
        sets: titles of the disjoint sets by number, in the order of priority for classes with too
            few sources.
        synthetic: classes that can be synthesised.
        settings: seed, and sounds of classes with too few recordings.
        source_dir: folder with one folder of recordings per class; None: all sounds are
            synthesised.

    Raises:
        DataError: there is no such folder, it holds no recording of any class, one is missing and
            must not be, or a class has fewer sources than sets.
        ConfigError: a class has neither recordings nor a synthetic sound.
    """
    found = OwnRecordings({name: () for name in classes}, None, "")
    if source_dir is not None:
        found = find_own_recordings(source_dir, classes)
        _check_found(found, classes, source_dir)
        _report_ignored(classes, source_dir)
    wanted = {number: sets[number] for number in sets if number in set_numbers}
    dealt = deal_own_recordings(found, sets, wanted, settings, source_dir)
    selections = [
        _selection(name, number, dealt[name][number], found)
        for name in classes
        for number in set_numbers
    ]
    missing = [selection for selection in selections if not selection.recordings]
    if source_dir is not None and missing:
        _report_missing(missing, len(sets), settings, source_dir)
    without_recipe = sorted({selection.class_name for selection in missing} - set(synthetic))
    if without_recipe:
        raise ConfigError(
            f"There is no synthetic sound for {', '.join(without_recipe)}. Expected: classes among"
            f" {', '.join(synthetic)}, or {len(sets)} recordings of each other class in"
            " `simulation.source_dir`."
        )
    return selections


def deal_own_recordings(
    found: OwnRecordings,
    sets: Mapping[int, str],
    wanted: Mapping[int, str],
    settings: SourceSettings,
    folder: Path | None,
    setting: str = "source_dir",
) -> dict[str, dict[int, list[Path]]]:
    """Deals recordings into disjoint sets: whole groups where they are known, files otherwise.

    Args:
        found: the recordings of each class.
        sets: titles of all sets, see `select_sounds`.
        wanted: titles of the sets in which each class must have recordings, if groups are known.
        settings: the seed.
        folder: folder of the recordings; None: there are none.
        setting: its name, for errors and the log.

    Returns:
        The files of each class and set.

    Raises:
        DataError: a class has fewer groups than wanted sets.
    """
    if found.groups is None:
        if found.files:
            logger.warning(
                "%s: every file counts as a source of its own (%s). Clips of one recording may be"
                " in several splits: list sources in %s, file,group%s.",
                folder,
                found.note,
                TABLE,
                ", or put each into <class>/<source>/" if setting == "source_dir" else "",
            )
        return {
            name: _dealt_files(name, paths, sets, settings)
            for name, paths in found.by_class.items()
        }
    pairs = [
        (found.groups[path], [name]) for name, paths in found.by_class.items() for path in paths
    ]
    groups = count_groups(pairs)
    rng = random_stream(settings.seed, settings.version, "deal groups", setting)
    dealt = deal_groups(groups, [1 / len(sets)] * len(sets), rng, list(sets))
    check_deal(groups, dealt, wanted, str(folder), _remedy(setting))
    logger.info("%s: %s. Groups: %s.", folder, found.note, describe_deal(groups, dealt, sets))
    of = found.groups
    return {
        name: {number: [path for path in paths if dealt[of[path]] == number] for number in sets}
        for name, paths in found.by_class.items()
    }


def _remedy(setting: str) -> str:
    if setting == "source_dir":
        return (
            "Add recordings of other sources, or move the folder of the class away: with "
            "`simulation.on_missing: synth` its sounds are then synthetic in all splits."
        )
    return f"Add recordings of other sources, or set `simulation.{setting}` to null."


def _dealt_files(
    label: str, paths: Sequence[Path], sets: Mapping[int, str], settings: SourceSettings
) -> dict[int, list[Path]]:
    rng = random_stream(settings.seed, settings.version, "deal", label)
    return dict(zip(sorted(sets), deal(paths, len(sets), rng), strict=True))


def _selection(
    class_name: str, set_number: int, paths: Sequence[Path], found: OwnRecordings
) -> SoundSelection:
    groups = paths if found.groups is None else [found.groups[path] for path in paths]
    return SoundSelection(class_name, set_number, tuple(paths), len(set(groups)))


def count_sources(
    selections: Sequence[SoundSelection], sets: Mapping[int, str]
) -> dict[tuple[str, str], tuple[int, int]]:
    """Counts groups and files of own recordings by class and title of the set."""
    return {
        (each.class_name, sets[each.set_number]): (each.n_groups, len(each.recordings))
        for each in selections
    }


def _check_found(found: OwnRecordings, classes: Sequence[str], source_dir: Path) -> None:
    """Refuses a folder without recordings of a class; suggests folders in it that hold classes."""
    if found.files:
        return
    entries = (
        sorted(entry for entry in source_dir.iterdir() if entry.is_dir())
        if source_dir.is_dir()
        else []
    )
    deeper = [entry.name for entry in entries if any((entry / name).is_dir() for name in classes)]
    hint = f" Its folders {', '.join(deeper)} hold classes: give one of them." if deeper else ""
    raise DataError(
        f"{source_dir} holds no recording of any class. Expected: {source_dir}/<class>/*.wav or"
        f" *.flac with classes {', '.join(classes)}. Correct `simulation.source_dir`, or set it to"
        f" null.{hint}"
    )


def _report_ignored(classes: Sequence[str], source_dir: Path) -> None:
    ignored = sorted(
        path.name for path in source_dir.iterdir() if path.is_dir() and path.name not in classes
    )
    if ignored:
        logger.warning("%s: ignored, no classes of the task: %s.", source_dir, ", ".join(ignored))


def _report_missing(
    missing: Sequence[SoundSelection], n_sets: int, settings: SourceSettings, source_dir: Path
) -> None:
    names = ", ".join(sorted({selection.class_name for selection in missing}))
    if settings.on_missing == "error":
        raise DataError(
            f"{source_dir} holds too few recordings of {names}. Expected: {n_sets} files or more of"
            " each class, one for each split, since splits share no recording. Add files, or set"
            " `simulation.on_missing: synth`."
        )
    logger.warning(
        "%s has no recordings for some splits of %s: synthetic sounds are used there.",
        source_dir,
        names,
    )
