"""Selection of sounds: own recordings dealt into disjoint sets, synthetic sounds elsewhere."""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from common.audio.files import read_header
from common.audio.formats import is_sound, shown
from common.datasets.groups import SourceGroup, check_deal, count_groups, deal_groups, describe_deal
from common.errors import ConfigError, DataError
from common.simulation.own_recordings import (
    BACKGROUND,
    Folders,
    OwnRecordings,
    as_folders,
    find_backgrounds,
    find_own_recordings,
    part_folders,
)
from common.simulation.random_streams import random_stream
from common.simulation.recording_table import TABLE, Interval
from common.simulation.sound_bank import deal

logger = logging.getLogger(__name__)

_ROUNDING_S = 0.02  # listed seconds may pass the end of a file by this


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
class SoundSets:
    """Disjoint sets of sounds.

    Attributes:
        titles: by number, in the order of priority for classes with too few sources.
        parts: by number, the part of own recordings that a set takes, where these have parts; sets
            that are not in it then take none. A set of its own title in the column split takes the
            files with it instead; validation sets take groups of `train` without a part for them.
        shared: sets with the recordings of another set, unless these have parts.
    """

    titles: Mapping[int, str]
    parts: Mapping[int, str] = field(default_factory=dict)
    shared: Mapping[int, int] = field(default_factory=dict)

    @property
    def separate(self) -> dict[int, str]:
        """Titles of the sets into which recordings without parts are dealt."""
        return {number: each for number, each in self.titles.items() if number not in self.shared}

    def by_part(self, present: Collection[str]) -> dict[str, list[int]]:
        """Lists the sets of each part; `present` are the parts of the recordings."""
        found: dict[str, list[int]] = {}
        for number, title in self.titles.items():
            if title not in present and number not in self.parts:
                continue
            part = title if title in present else self.parts[number]
            if part == "validation" and part not in present:
                part = "train"
            found.setdefault(part, []).append(number)
        return found


class Fold(Protocol):
    """Splits of one fold."""

    @property
    def train(self) -> tuple[int, ...]:
        """Splits to train on."""

    @property
    def validate_on(self) -> tuple[int, ...]:
        """Splits that choose the model."""

    @property
    def test(self) -> tuple[int, ...]:
        """Splits that are scored."""


def parts_of_splits(splits: Collection[int], folds: Sequence[Fold]) -> dict[int, str]:
    """Part of own recordings that each split takes, by its use in all folds.

    A split that is only tested takes `test`, one that only chooses models `validation`, all others
    `train`: those of cross-validation as well, which are trained on in some fold.
    """
    trained = {split for fold in folds for split in fold.train}
    validated = {split for fold in folds for split in fold.validate_on}
    tested = {split for fold in folds for split in fold.test}
    parts = dict.fromkeys(splits, "train")
    parts |= {split: "validation" for split in splits if split in validated - trained}
    return parts | {split: "test" for split in splits if split in tested - trained}


@dataclass(frozen=True)
class SoundSelection:
    """Own recordings of one class and set; without any, its sounds are synthetic.

    Attributes:
        class_name: of the sounds.
        set_number: of the set.
        recordings: files, in no other set.
        n_groups: number of sources that the recordings come from, in no other set.
        active: of each recording, the seconds in which it is heard, if they are known.
        bandwidths_hz: of each recording, the frequency at which it ends, if it is known.
        sources: of each recording, its group.
    """

    class_name: str
    set_number: int
    recordings: tuple[Path, ...]
    n_groups: int = 0
    active: tuple[tuple[Interval, ...], ...] = ()
    bandwidths_hz: tuple[float | None, ...] = ()
    sources: tuple[str, ...] = ()

    def n_synthetic(self, share: float) -> int:
        """Number of synthetic sounds with this share among them and own recordings."""
        return max(round(len(self.recordings) * share / (1 - share)), 1) if share else 0


def select_sounds(
    classes: Sequence[str],
    set_numbers: Sequence[int],
    sets: SoundSets,
    synthetic: Collection[str],
    settings: SourceSettings,
    source_dir: Folders | None,
) -> list[SoundSelection]:
    """Selects the sounds of each class and set; all recordings of a known source are in one set.

    Args:
        classes: names of the classes, those of the folders in `source_dir`.
        set_numbers: sets that are needed; the sets of files do not depend on them.
        sets: all sets, and the parts of the recordings that they take.
        synthetic: classes that can be synthesised.
        settings: seed, and sounds of classes with too few recordings.
        source_dir: one or several folders of recordings; None: all sounds are synthesised.

    Raises:
        DataError: there is no such folder, it holds no recording of any class, one is missing and
            must not be, a class has fewer sources than sets, or a table cannot be used.
        ConfigError: a class has neither recordings nor a synthetic sound.
    """
    found = OwnRecordings({name: () for name in classes}, None, "")
    folders = as_folders(source_dir)
    where = ", ".join(map(str, folders))
    if folders:
        found = find_own_recordings(folders, classes, tuple(sets.titles.values()))
        _check_found(found, classes, folders)
        _check_active(found)
        _report_ignored(found, classes, folders)
    wanted = {number: sets.titles[number] for number in sets.titles if number in set_numbers}
    dealt = deal_own_recordings(found, sets, wanted, settings, where)
    selections = [
        _selection(name, number, dealt[name][number], found)
        for name in classes
        for number in set_numbers
    ]
    missing = [selection for selection in selections if not selection.recordings]
    if folders and missing:
        _report_missing(missing, len(sets.separate), settings, where)
    _check_recipes(missing, synthetic, len(sets.separate))
    return selections


def select_backgrounds(
    background_dir: Folders | None,
    set_numbers: Sequence[int],
    sets: SoundSets,
    settings: SourceSettings,
) -> list[SoundSelection]:
    """Deals own backgrounds, in any folders below, into disjoint sets.

    Args:
        background_dir: one or several folders; None: there are none.
        set_numbers: the needed sets.
        sets: all sets, and the parts of the backgrounds that they take.
        settings: the seed.

    Returns:
        The backgrounds of each set that has some; in others they are synthetic.

    Raises:
        DataError: there are no recordings, too few groups of them for the needed sets, or a table
            cannot be used.
    """
    if background_dir is None:
        return []
    folders = as_folders(background_dir)
    where = ", ".join(map(str, folders))
    found = find_backgrounds(folders, tuple(sets.titles.values()))
    if not found.files:
        raise DataError(
            f"{where} has no recording. Expected: sound files, such as .wav, in any"
            " folders below it. Correct `simulation.background_dir`, or set it to null."
        )
    wanted = {number: sets.titles[number] for number in set_numbers}
    dealt = deal_own_recordings(found, sets, wanted, settings, where, "background_dir")[BACKGROUND]
    absent = [title for number, title in wanted.items() if not dealt[number]]
    if absent:
        names = ", ".join(absent)
        logger.warning("%s: too few recordings, synthetic ones in %s.", where, names)
    return [
        _selection(BACKGROUND, number, files, found)
        for number, files in dealt.items()
        if files and number in wanted
    ]


def deal_own_recordings(
    found: OwnRecordings,
    sets: SoundSets,
    wanted: Mapping[int, str],
    settings: SourceSettings,
    where: str,
    setting: str = "source_dir",
) -> dict[str, dict[int, list[Path]]]:
    """Deals recordings into disjoint sets: whole groups where they are known, files otherwise.

    Args:
        found: the recordings of each class.
        sets: all sets, see `select_sounds`.
        wanted: titles of the sets in which each class must have recordings, if groups are known.
        settings: the seed.
        where: folders of the recordings, for errors and the log.
        setting: its name, for errors and the log.

    Returns:
        The files of each class and set.

    Raises:
        DataError: a class has fewer groups than wanted sets.
    """
    for remark in found.remarks:
        logger.warning("%s.", remark)
    if found.groups is None and found.files:
        logger.warning(
            "%s: every file counts as a source of its own (%s). Clips of one recording may be"
            " in several splits: list sources in %s, file,group%s.",
            where,
            found.note,
            TABLE,
            ", or put each into <class>/<source>/" if setting == "source_dir" else "",
        )
    if found.parts:
        return _dealt_parts(found, sets, wanted, settings, where, setting)
    titles = sets.separate
    if found.groups is None:
        dealt = {
            name: _dealt_files(name, paths, titles, settings)
            for name, paths in found.by_class.items()
        }
    else:
        needed = {number: sets.shared.get(number, number) for number in wanted}
        dealt = _dealt_groups(
            found,
            titles,
            {each: titles[each] for each in titles if each in needed.values()},
            settings,
            where,
            setting,
        )
    return {
        name: of | {number: of[other] for number, other in sets.shared.items()}
        for name, of in dealt.items()
    }


def _dealt_groups(
    found: OwnRecordings,
    titles: Mapping[int, str],
    wanted: Mapping[int, str],
    settings: SourceSettings,
    where: str,
    setting: str,
) -> dict[str, dict[int, list[Path]]]:
    """Deals whole groups of recordings without parts."""
    groups = _groups_of(found, found.files)
    rng = random_stream(settings.seed, settings.version, "deal groups", setting)
    dealt = _deal(groups, list(titles), rng)
    check_deal(groups, dealt, wanted, where, _remedy(setting))
    logger.info("%s: %s. Groups: %s.", where, found.note, describe_deal(groups, dealt, titles))
    return _by_set(found, dealt, titles)


def _dealt_parts(
    found: OwnRecordings,
    sets: SoundSets,
    wanted: Mapping[int, str],
    settings: SourceSettings,
    where: str,
    setting: str,
) -> dict[str, dict[int, list[Path]]]:
    """Deals the groups of each part among the sets that take it."""
    if found.groups is not None:
        logger.info("%s: %s.", where, found.note)
    dealt: dict[str, int] = {}
    every = [name for name, paths in found.by_class.items() if paths]
    taken = sets.by_part(set(found.parts.values()))
    for part, numbers in taken.items():
        groups = _groups_of(found, [path for path in found.files if found.parts[path] == part])
        rng = random_stream(settings.seed, settings.version, "deal groups", setting, part)
        mine = _deal(groups, numbers, rng)
        needed = {number: wanted[number] for number in numbers if number in wanted}
        check_deal(groups, mine, needed, f"{where}, part {part}", _remedy(setting), every)
        if groups:
            titles = {number: sets.titles[number] for number in numbers}
            counts = describe_deal(groups, mine, titles)
            logger.info("%s, part %s: groups: %s.", where, part, counts)
        dealt |= mine
    serving = {part for part, numbers in taken.items() if wanted.keys() & set(numbers)}
    unused = Counter(part for part in found.parts.values() if part not in serving)
    if unused:
        counts = ", ".join(f"{number} file(s) of {part}" for part, number in unused.items())
        logger.warning("%s: not used, since no simulated set takes them: %s.", where, counts)
    return _by_set(found, dealt, sets.titles)


def _groups_of(found: OwnRecordings, paths: Collection[Path]) -> list[SourceGroup]:
    chosen = set(paths)
    return count_groups(
        (found.sources[path], [name])
        for name, members in found.by_class.items()
        for path in members
        if path in chosen
    )


def _deal(
    groups: Sequence[SourceGroup], numbers: Sequence[int], rng: np.random.Generator
) -> dict[str, int]:
    """Deals groups evenly into sets, in the order of their priority."""
    if not groups:
        return {}
    places = sorted(numbers)
    order = [places.index(number) for number in numbers]
    dealt = deal_groups(groups, [1 / len(numbers)] * len(numbers), rng, order)
    return {name: places[place] for name, place in dealt.items()}


def _by_set(
    found: OwnRecordings, dealt: Mapping[str, int], numbers: Collection[int]
) -> dict[str, dict[int, list[Path]]]:
    of = found.sources
    return {
        name: {
            number: [path for path in paths if dealt.get(of[path]) == number] for number in numbers
        }
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
    return SoundSelection(
        class_name,
        set_number,
        tuple(paths),
        len({found.sources[path] for path in paths}),
        tuple(found.active(path) for path in paths),
        tuple(found.bandwidth_hz(path) for path in paths),
        tuple(found.sources[path] for path in paths),
    )


def mixed(
    selections: Sequence[SoundSelection], synthetic: Collection[str], share: float
) -> list[SoundSelection]:
    """Prepares selections for synthetic sounds among own recordings.

    Args:
        selections: sounds of classes.
        synthetic: classes that can be synthesised.
        share: of synthetic sounds; 1: own recordings are not used.

    Raises:
        ConfigError: a class cannot be synthesised.
    """
    lacking = sorted({each.class_name for each in selections} - set(synthetic))
    if share and lacking:
        raise ConfigError(
            f"There is no synthetic sound for {', '.join(lacking)}. Expected: classes among"
            f" {', '.join(synthetic)}, or `simulation.synthetic_share: 0`. Received: {share:g}."
        )
    if share < 1:
        return list(selections)
    return [SoundSelection(each.class_name, each.set_number, ()) for each in selections]


def count_sources(
    selections: Sequence[SoundSelection], sets: Mapping[int, str]
) -> dict[tuple[str, str], tuple[int, int]]:
    """Counts groups and files of own recordings by class and title of the set."""
    return {
        (each.class_name, sets[each.set_number]): (each.n_groups, len(each.recordings))
        for each in selections
    }


def report_recordings(
    selections: Sequence[SoundSelection],
    titles: Mapping[int, str],
    rate_hz: int,
    longest_s: float,
    folders: Folders | None,
) -> None:
    """Logs the own recordings of each class and set, and how many are changed or left out.

    Args:
        selections: sounds of classes; those without recordings do not count.
        titles: of the sets.
        rate_hz: sample rate of the simulated recordings.
        longest_s: maximum length of a sound.
        folders: one or several that they are from; None: there are none.
    """
    given = [each for each in selections if each.recordings]
    if not given:
        return
    rows: dict[str, list[str]] = {}
    for each in given:
        counts = f"{titles[each.set_number]} {each.n_groups} / {len(each.recordings)}"
        rows.setdefault(each.class_name, []).append(counts)
    lines = [f"  {name}: {', '.join(counts)}" for name, counts in rows.items()]
    logger.info("Own sounds, groups / files of each class:\n%s", "\n".join(lines))
    paths = sorted({path for each in given for path in each.recordings})
    headers = [read_header(path) for path in paths]
    changes = {
        f"longer than `simulation.longest_source_s`, {longest_s:g} s, and cut after it, silence at"
        " their beginning apart": sum(each.duration_s > longest_s for each in headers),
        f"resampled to {rate_hz} Hz": sum(each.sample_rate_hz != rate_hz for each in headers),
        "mixed to one channel": sum(each.channels > 1 for each in headers),
    }
    changed = [f"{number} {what}" for what, number in changes.items() if number]
    logger.info("Own sounds: %d file(s)%s.", len(paths), "".join(f"; {each}" for each in changed))
    unread = _unread(folders, list(rows))
    if unread:
        logger.warning(
            "Own sounds: %d file(s) in folders of classes are left out, not of a sound format read"
            " here: %s.",
            len(unread),
            shown(unread),
        )


def _unread(folders: Folders | None, classes: Collection[str]) -> list[str]:
    """Names of files in the folders of classes that are no recordings; hidden ones do not count."""
    return [
        path.name
        for folder in as_folders(folders)
        for place in (folder, *part_folders(folder, classes).values())
        for name in classes
        for path in sorted((place / name).rglob("*"))
        if path.is_file() and path.name[0] != "." and not is_sound(path) and path.name != TABLE
    ]


def report_bandwidths(selections: Sequence[SoundSelection], highest_hz: float) -> None:
    """Reports classes with recordings that end below the highest band of the features.

    Args:
        selections: with `bandwidths_hz`; unknown ones do not count.
        highest_hz: upper edge of the highest band.
    """
    known: dict[str, dict[Path, float]] = {}  # by file, which several sets may share
    for each in selections:
        pairs = zip(each.recordings, each.bandwidths_hz, strict=False)
        mine = {path: value for path, value in pairs if value is not None}
        known.setdefault(each.class_name, {}).update(mine)
    low = {
        name: [hz for hz in values.values() if hz < highest_hz] for name, values in known.items()
    }
    counts = [
        f"{name} {len(values)} of {len(known[name])} (median {np.median(values):g} Hz, lowest"
        f" {min(values):g} Hz)"
        for name, values in low.items()
        if values
    ]
    if counts:
        logger.warning(
            "Recordings that end below the highest band of the features, %g Hz: %s. A network can"
            " tell classes by that: lower `features.fmax_hz`.",
            highest_hz,
            ", ".join(counts),
        )


def _check_found(found: OwnRecordings, classes: Sequence[str], folders: Sequence[Path]) -> None:
    """Refuses folders without recordings of a class; suggests folders in them that hold classes."""
    if found.files:
        return
    entries = [
        entry
        for folder in folders
        if folder.is_dir()
        for entry in sorted(folder.iterdir())
        if entry.is_dir()
    ]
    deeper = [entry.name for entry in entries if any((entry / name).is_dir() for name in classes)]
    hint = f" Its folders {', '.join(deeper)} hold classes: give one of them." if deeper else ""
    raise DataError(
        f"{', '.join(map(str, folders))} holds no recording of any class. Expected:"
        f" {folders[0]}/<class>/*.wav or *.flac with classes {', '.join(classes)}, or the column"
        f" label in {TABLE}. Correct `simulation.source_dir`, or set it to null.{hint}"
    )


def _check_active(found: OwnRecordings) -> None:
    """Refuses active seconds beyond the end of a file."""
    for path in found.files:
        active = found.active(path)
        header = read_header(path) if active else None
        if header is not None and active[-1][1] > header.duration_s + _ROUNDING_S:
            raise DataError(
                f"{found.rows[path].where}: {path} is active until {active[-1][1]:g} s. Expected:"
                f" at most its length, {header.duration_s:g} s. Correct the column active."
            )


def _report_ignored(found: OwnRecordings, classes: Sequence[str], folders: Sequence[Path]) -> None:
    used = {parent for path in found.files for parent in path.parents}
    for folder in folders:
        parts = set(part_folders(folder, classes).values())
        ignored = sorted(
            path.name
            for path in folder.iterdir()
            if path.is_dir() and path.name not in classes and path not in used | parts
        )
        if ignored:
            logger.warning("%s: ignored, no classes of the task: %s.", folder, ", ".join(ignored))


def _check_recipes(
    missing: Sequence[SoundSelection], synthetic: Collection[str], n_sets: int
) -> None:
    """Refuses classes with neither recordings nor a synthetic sound."""
    without_recipe = sorted({selection.class_name for selection in missing} - set(synthetic))
    if without_recipe:
        raise ConfigError(
            f"There is no synthetic sound for {', '.join(without_recipe)}. Expected: classes among"
            f" {', '.join(synthetic)}, or {n_sets} recordings of each other class in"
            " `simulation.source_dir`."
        )


def _report_missing(
    missing: Sequence[SoundSelection], n_sets: int, settings: SourceSettings, where: str
) -> None:
    names = ", ".join(sorted({selection.class_name for selection in missing}))
    if settings.on_missing == "error":
        raise DataError(
            f"{where} holds too few recordings of {names}. Expected: {n_sets} files or more of"
            " each class, one for each split, since splits share no recording. Add files, or set"
            " `simulation.on_missing: synth`."
        )
    logger.warning(
        "%s has no recordings for some splits of %s: synthetic sounds are used there.", where, names
    )
