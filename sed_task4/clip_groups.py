"""Clips of one source stay together: in training, in validation or in a subset that is tested on.

The source of a clip is told by the column `group` of its metadata. Where there is none, names of
the form of DCASE task 4, Y<id>_<start>_<end>.wav, tell the video on YouTube that it was cut from.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.datasets.groups import apart_problem, check_deal, count_groups, deal_groups
from common.errors import DataError
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
        told: by name of the clip, the group that its metadata tell; None without a column `group`.
    """

    subset: str
    told: Mapping[str, str | None]

    @property
    def has_groups(self) -> bool:
        """Whether the metadata have a column `group`."""
        return any(group is not None for group in self.told.values())

    @property
    def all_alone(self) -> bool:
        """Whether nothing tells that two clips are of one source."""
        return not self.has_groups and len({self.source(name) for name in self.told}) == len(
            self.told
        )

    def source(self, name: str) -> str:
        """The group of a clip, or else its video, or else the clip itself."""
        video = _VIDEO.fullmatch(name)
        return self.told.get(name) or (video["id"] if video else name)

    def told_groups(self) -> dict[str, str]:
        """One clip of each group that the metadata tell."""
        return {
            group: name
            for name, group in sorted(self.told.items(), reverse=True)
            if group is not None
        }

    def videos(self) -> dict[str, str]:
        """One clip of each video that names tell, where the metadata tell no group."""
        matches = {
            name: _VIDEO.fullmatch(name) for name, group in self.told.items() if group is None
        }
        return {match["id"]: name for name, match in sorted(matches.items()) if match}


def hold_out(
    sources: ClipSources, tags: Mapping[str, Iterable[str]], fraction: float, seed: int, source: str
) -> list[str]:
    """Draws the clips that validate: all clips of some sources.

    Without a column `group`, and where no two clips are of one video, single clips are drawn at
    random. Otherwise whole sources are dealt, so that the share of each class comes near the
    fraction.

    Args:
        sources: of all clips with labels.
        tags: classes of each clip.
        fraction: share that validates.
        seed: of the draw; the order of the clips has no influence.
        source: what errors name as origin of the groups.

    Returns:
        Sorted names, at least one and not all.

    Raises:
        DataError: fewer than two clips or sources; or with a column `group`, a class of one source.
    """
    names = sorted(sources.told)
    if sources.all_alone:
        return draw_validation(names, fraction, seed)
    groups = count_groups((sources.source(name), tags.get(name, ())) for name in names)
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
    """The sources of clips as the dataset tells them."""
    return ClipSources(subset, {clip.name: clip.group for clip in clips})


def group_problems(
    sets: "SetsConfig", clips: Mapping[str, Sequence[Clip]], seed: int, where: str
) -> list[str]:
    """Tells everything that training will refuse of the groups of these clips.

    Args:
        sets: which subset serves for what.
        clips: those of each subset that is there.
        seed: of the draw of the clips that validate.
        where: what the sentences name as origin.
    """
    sources = {subset: sources_of(subset, members) for subset, members in clips.items()}
    problems = subset_problems(sets, sources, where)
    if sets.holds_out and sets.train in sources and sources[sets.train].has_groups:
        tags = {clip.name: labels_of(clip) for clip in clips[sets.train]}
        try:
            hold_out(
                sources[sets.train], tags, sets.validation_fraction, seed, f"{where}, {sets.train}"
            )
        except DataError as error:
            problems.append(str(error))
    return problems


def draw_validation(names: Sequence[str], fraction: float, seed: int) -> list[str]:
    """Draws single clips that validate.

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
            "A part of the clips validates. Expected: at least 2 labelled clips. Received:"
            f" {len(names)}."
        )
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    ordered = sorted(names)
    return sorted(
        ordered[number] for number in np.random.default_rng(seed).permutation(len(names))[:count]
    )


def describe_hold_out(sources: ClipSources, held_out: Iterable[str]) -> str:
    """Tells for the log what the clips that validate were drawn by."""
    held = set(held_out)
    names, validating = (
        {sources.source(name) for name in sources.told},
        {sources.source(name) for name in held},
    )
    drawn = f"{len(validating)} source(s), {len(held)} clip(s), validate"
    by = (
        "the column group"
        if sources.has_groups
        else "the ids in their names"
        if sources.videos()
        else None
    )
    if by:
        return (
            f"{sources.subset}: {len(sources.told)} clips of {len(names)} sources by {by}; {drawn}."
        )
    return (
        f"{sources.subset}: no column group, every clip is taken for a source of its own; {drawn}."
        " Clips of one recording may be in training and validation."
    )


def split_sources(sources: ClipSources, held_out: Iterable[str]) -> list[str]:
    """Finds sources of which some clips validate and others train, sorted."""
    held = set(held_out)
    validating = {sources.source(name) for name in held}
    return sorted(validating & {sources.source(name) for name in sources.told if name not in held})


def subset_problems(
    sets: "SetsConfig", subsets: Mapping[str, ClipSources], where: str
) -> list[str]:
    """Tells which groups are learned from and decide or are tested on, or decide and are tested on.

    Videos that names alone tell were published so: where subsets share some, the log counts them.

    Args:
        sets: which subset serves for what.
        subsets: sources of the clips of those that are there.
        where: what the sentences name as origin.
    """
    tested_on = [*([sets.validate_on] if sets.validate_on else []), *sets.test]
    learned = [subset for subset in (sets.train, sets.unlabelled) if subset and subset in subsets]
    tested = [subset for subset in dict.fromkeys(tested_on) if subset in subsets]
    pairs = [(one, other) for one in learned for other in tested]
    decisive = sets.validate_on
    if decisive and decisive in subsets and decisive not in sets.test:
        clips = subsets[decisive].told.keys()  # where clips are in both, that is as wanted
        pairs += [(decisive, each) for each in tested if not clips & subsets[each].told.keys()]
    problems = []
    for one, other in pairs:
        mine, theirs = subsets[one], subsets[other]
        remedy = "Correct the column group, or remove the clips from one of the two."
        if problem := apart_problem(
            {one: mine.told_groups(), other: theirs.told_groups()}, where, remedy
        ):
            problems.append(problem)
        shared = mine.videos().keys() & theirs.videos().keys()
        if shared:
            logger.warning(
                "%s and %s have clips of %d video(s) in common, by their names, such as %s: they"
                " are used as they are.",
                one,
                other,
                len(shared),
                min(shared),
            )
    return problems
