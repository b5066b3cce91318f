"""Clips of one source stay together: in training, in validation or in a subset that is tested on.

The column `group` of the metadata names the source of a clip. Without it, the names of DCASE
task 4, Y<id>_<start>_<end>.wav, give the YouTube video that the clip was cut from, and those of
windows, <scene>_<number>-<start>-<end>.wav, the recording.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.datasets.groups import apart_problem, check_deal, count_groups, deal_groups
from common.errors import DataError
from sed_task4.clips.recording_windows import Window
from sed_task4.dataset import Clip, labels_of

if TYPE_CHECKING:
    from sed_task4.config import SetsConfig

logger = logging.getLogger(__name__)

GROUP = "group"  # of the facts of a feature store
HOLD_OUT = {0: "training", 1: "validation"}
_VIDEO = re.compile(r"Y(?P<id>.+)_\d+\.\d+_\d+\.\d+\.\w+")


@dataclass(frozen=True)
class ClipSources:
    """Sources of the clips of a subset.

    Attributes:
        subset: its name.
        groups: group in the metadata by name of the clip; None without a column `group`.
    """

    subset: str
    groups: Mapping[str, str | None]

    @property
    def has_groups(self) -> bool:
        """True if the metadata have a column `group`."""
        return any(group is not None for group in self.groups.values())

    @property
    def all_single(self) -> bool:
        """True if no two clips are known to be of one source."""
        sources = {self.source(name) for name in self.groups}
        return not self.has_groups and len(sources) == len(self.groups)

    def source(self, name: str) -> str:
        """Group of a clip, or else its video, or else the clip itself."""
        return self.groups.get(name) or _source_of_name(name) or name

    def clip_of_group(self) -> dict[str, str]:
        """One clip of each group in the metadata."""
        ordered = sorted(self.groups.items(), reverse=True)
        return {group: name for name, group in ordered if group is not None}

    def videos(self) -> dict[str, str]:
        """One clip of each video or recording in the names of clips without a group."""
        found = {name: _source_of_name(name) for name, each in self.groups.items() if each is None}
        return {source: name for name, source in sorted(found.items()) if source}


def _source_of_name(name: str) -> str | None:
    """Video or recording that the name of a clip gives; None: none."""
    video, window = _VIDEO.fullmatch(name), Window.find(name)
    if video:
        return video["id"]
    return window.recording if window and window.scene else None


def scene_of(name: str) -> str | None:
    """Scene that the name of a window of a recording gives; None: it is none."""
    window = Window.find(name)
    return window.scene if window else None


def hold_out(
    sources: ClipSources, tags: Mapping[str, Iterable[str]], fraction: float, seed: int, source: str
) -> list[str]:
    """Draws the validation clips: all clips of some sources.

    Without a column `group`, and where no two clips are of one video, single clips are drawn at
    random. Otherwise whole sources are dealt, so that each class comes near its share.

    Args:
        sources: of all clips with labels.
        tags: classes of each clip; the scene of a window counts as one, too.
        fraction: share that validates.
        seed: of the draw; the order of the clips has no influence.
        source: origin of the groups, for errors.

    Returns:
        Sorted names, at least one and not all.

    Raises:
        DataError: fewer than two clips or sources; or with a column `group`, a class of one source.
    """
    names = sorted(sources.groups)
    if sources.all_single:
        return draw_validation(names, fraction, seed)
    scenes = {name: [f"scene {scene}"] for name in names if (scene := scene_of(name))}
    counted = ((name, [*tags.get(name, ()), *scenes.get(name, ())]) for name in names)
    groups = count_groups((sources.source(name), labels) for name, labels in counted)
    if len(groups) < 2:
        raise DataError(
            f"{source}: all {len(names)} clips are of one source, {groups[0].name!r}. Expected: two"
            f" or more, since the part of them that validates shares none with the rest. {_REMEDY}"
        )
    dealt = deal_groups(groups, [1 - fraction, fraction], np.random.default_rng(seed))
    if sources.has_groups:
        check_deal(groups, dealt, HOLD_OUT, source, _REMEDY)
    if len(set(dealt.values())) < 2:
        smallest = min(groups, key=lambda group: (group.n_files, group.name)).name
        dealt[smallest] = 1 - dealt[smallest]
    return [name for name in names if dealt[sources.source(name)] == 1]


_REMEDY = (
    "Add clips of other sources, correct the column group, name another subset in"
    " `sets.validate_on`, or hold nothing out with `sets.validation_fraction: 0`."
)


def sources_of(subset: str, clips: Iterable[Clip]) -> ClipSources:
    """Sources of clips, from the metadata of the dataset."""
    return ClipSources(subset, {clip.name: clip.group for clip in clips})


def group_problems(
    sets: "SetsConfig", clips: Mapping[str, Sequence[Clip]], seed: int, where: str
) -> list[str]:
    """Lists the faults of the groups of these clips that training refuses.

    Args:
        sets: which subset serves for what.
        clips: those of each available subset.
        seed: of the draw of the clips that validate.
        where: origin of the clips, for errors.
    """
    sources = {subset: sources_of(subset, members) for subset, members in clips.items()}
    problems = subset_problems(sets, sources, where)
    for subset, fraction in sets.fractions.items():
        if subset not in sources or not sources[subset].has_groups:
            continue
        tags = {clip.name: labels_of(clip) for clip in clips[subset]}
        try:
            hold_out(sources[subset], tags, fraction, seed, f"{where}, {subset}")
        except DataError as error:
            problems.append(str(error))
    return problems


def draw_validation(names: Sequence[str], fraction: float, seed: int) -> list[str]:
    """Draws single clips for validation.

    Args:
        names: all clips with labels.
        fraction: share that validates.
        seed: of the draw; the order of `names` has no influence.

    Returns:
        Sorted names, at least one and not all.

    Raises:
        DataError: fewer than two clips.
    """
    if len(names) < 2:
        raise DataError(
            f"Validation needs a part of the clips. Expected: 2 or more. Received: {len(names)}."
        )
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    ordered, drawn = sorted(names), np.random.default_rng(seed).permutation(len(names))
    return sorted(ordered[number] for number in drawn[:count])


def describe_hold_out(sources: ClipSources, held_out: Iterable[str]) -> str:
    """Describes for the log how the validation clips were drawn."""
    held = set(held_out)
    names = {sources.source(name) for name in sources.groups}
    drawn = (
        f"{len({sources.source(name) for name in held})} source(s), {len(held)} clip(s), validate"
    )
    by = "the ids in their names" if sources.videos() else None
    by = "the column group" if sources.has_groups else by
    start = f"{sources.subset}: {len(sources.groups)} clips"
    if by:
        return f"{start} of {len(names)} sources by {by}; {drawn}."
    return (
        f"{sources.subset}: no column group, every clip is taken for a source of its own; {drawn}."
        " Clips of one recording may be in training and validation."
    )


def split_sources(sources: ClipSources, held_out: Iterable[str]) -> list[str]:
    """Finds sources of which some clips validate and others train, sorted."""
    held = set(held_out)
    validating = {sources.source(name) for name in held}
    return sorted(
        validating & {sources.source(name) for name in sources.groups if name not in held}
    )


def subset_problems(
    sets: "SetsConfig", subsets: Mapping[str, ClipSources], where: str
) -> list[str]:
    """Lists groups that are in subsets which must share none: training, validation and test.

    Videos that subsets share by the names of their clips were published so: the log counts them.

    Args:
        sets: which subset serves for what.
        subsets: sources of the clips of the available subsets.
        where: origin of the clips, for errors.
    """
    remedy = "Correct the column group, or remove the clips from one of the two."
    tested_on = [*([sets.validate_on] if sets.validate_on else []), *sets.test]
    learned = [subset for subset in sets.learned if subset in subsets]
    tested = [subset for subset in dict.fromkeys(tested_on) if subset in subsets]
    pairs = [(one, other) for one in learned for other in tested]
    decisive = sets.validate_on
    if decisive and decisive in subsets and decisive not in sets.test:
        clips = subsets[decisive].groups.keys()  # clips may be in both on purpose
        pairs += [(decisive, each) for each in tested if not clips & subsets[each].groups.keys()]
    problems = []
    for one, other in pairs:
        mine, theirs = subsets[one], subsets[other]
        parts = {one: mine.clip_of_group(), other: theirs.clip_of_group()}
        if problem := apart_problem(parts, where, remedy):
            problems.append(problem)
        shared = mine.videos().keys() & theirs.videos().keys()
        if shared:
            logger.warning(
                f"{one} and {other} have clips of {len(shared)} video(s) in common, by their names,"
                f" such as {min(shared)}: they are used as they are."
            )
    return problems
