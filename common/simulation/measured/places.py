"""Places of measured room responses: their responses together, dealt to splits as wholes."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from common.audio.formats import shown
from common.datasets.groups import SourceGroup, deal_groups
from common.errors import DataError
from common.runtime.parallel import parallel_map
from common.settings.parallel import ParallelConfig
from common.simulation.measured.responses import (
    Kind,
    MeasuredResponse,
    Preparation,
    prepare_responses,
)
from common.simulation.measured.table import TABLE, read_response_table, report_unlisted

logger = logging.getLogger(__name__)
SUSPECT_DEG = 30.0  # between intensity and given direction: another convention, or a wrong angle
SUSPECT_DB = 2.5  # of dipoles, in the median; B-format microphones are within 2 dB


@dataclass(frozen=True)
class MeasuredPlace:
    """A room or site.

    Attributes:
        name: from the table, or the file's.
        number: among all places of the folder, sorted by name.
        responses: at least one.
    """

    name: str
    number: int
    responses: tuple[MeasuredResponse, ...]


def prepare_places(
    folder: Path, kind: Kind, rate_hz: int, scratch: Path, parallel: ParallelConfig
) -> list[MeasuredPlace]:
    """Reads and checks all responses of a folder, and prepares them for rendering.

    The log counts responses that were resampled, without distance, or whose sound seems to come
    from elsewhere than the table says.

    Args:
        folder: holds `metadata.csv`, see `common.simulation.measured.table`.
        kind: format of the responses.
        rate_hz: sample rate of the simulation.
        scratch: folder for the prepared responses, which all processes read.
        parallel: number of processes and their engine.

    Returns:
        The places, sorted by name.

    Raises:
        ConfigError: a SOFA file needs a package that is not installed.
        DataError: the table or a file cannot be used.
    """
    rows = read_response_table(folder)
    report_unlisted(folder, rows)
    prepare = partial(prepare_responses, kind=kind, rate_hz=rate_hz, folder=scratch)
    done = parallel_map(prepare, list(enumerate(rows)), parallel)
    prepared = sorted(done, key=lambda each: each.row.path)  # any order, see `parallel_map`
    by_place: dict[str, list[MeasuredResponse]] = {}
    for each in prepared:
        name = each.row.place or each.row.path.relative_to(folder).as_posix()
        by_place.setdefault(name, []).extend(each.responses)
    _report(folder, prepared, rate_hz, len(by_place))
    return [
        MeasuredPlace(name, number, tuple(by_place[name]))
        for number, name in enumerate(sorted(by_place))
    ]


def _report(folder: Path, prepared: Sequence[Preparation], rate_hz: int, n_places: int) -> None:
    responses = [response for each in prepared for response in each.responses]
    parts = [f"{len(responses)} room response(s) of {n_places} place(s)"]
    rates = Counter(each.rate_hz for each in prepared if each.rate_hz != rate_hz)
    parts += [f"{n} file(s) resampled from {of} to {rate_hz} Hz" for of, n in sorted(rates.items())]
    if unknown := sum(response.distance_m is None for response in responses):
        parts.append(f"{unknown} without distance, levelled as at 1 m")
    logger.info("%s: %s.", folder, "; ".join(parts))
    if any(each.row.place is None for each in prepared):
        text = (
            "%s: every file counts as a place of its own (%s has no column place). Responses of one"
            " room may be in several splits: add the column."
        )
        logger.warning(text, folder, TABLE)
    _report_directions(folder, prepared)
    _report_normalisation(folder, prepared)


def _report_directions(folder: Path, prepared: Sequence[Preparation]) -> None:
    """Warns of direct sounds that come from elsewhere than the table says."""
    angles = {
        each.row.path.name: max(direct.off_deg for direct in each.directs)
        for each in prepared
        if any(direct.off_deg > SUSPECT_DEG for direct in each.directs)
    }
    if angles:
        text = (
            "%s: the direct sound of %d file(s) comes from more than %g degrees away from the"
            " given direction, up to %.0f (%s). Check convention, normalisation and angles."
        )
        worst = max(angles.values())
        logger.warning(text, folder, len(angles), SUSPECT_DEG, worst, shown(sorted(angles)))


def _report_normalisation(folder: Path, prepared: Sequence[Preparation]) -> None:
    """Warns where the dipoles of most direct sounds are not those of plane waves."""
    declared: dict[tuple[str, str], list[float]] = {}
    for each in prepared:
        key = each.row.convention, each.row.normalisation or "default"
        declared.setdefault(key, []).extend(direct.dipoles_db for direct in each.directs)
    for (convention, normalisation), levels_db in declared.items():
        level_db = float(np.median(levels_db)) if levels_db else 0.0
        if abs(level_db) > SUSPECT_DB:
            text = (
                "%s: X, Y and Z of %d response(s) of convention %s and normalisation %s are %+.1f"
                " dB against those of plane waves. N3D read as SN3D is +4.8 dB, SN3D read as N3D"
                " -4.8, FuMa read as SN3D +3.0: check the column normalisation."
            )
            received = len(levels_db), convention, normalisation, level_db
            logger.warning(text, folder, *received)


def deal_places(
    places: Sequence[MeasuredPlace],
    splits: Mapping[int, str],
    wanted: Sequence[int],
    rng: np.random.Generator,
    folder: Path,
) -> dict[int, list[MeasuredPlace]]:
    """Deals whole places to splits; none is in two of them.

    Args:
        places: of the folder.
        splits: titles of all splits by number, in the order of priority where there are fewer
            places than splits.
        wanted: splits that need a place.
        rng: decides between equally good deals.
        folder: for errors and the log.

    Returns:
        The places of each split, sorted by name.

    Raises:
        DataError: a wanted split has no place.
    """
    groups = [
        SourceGroup(place.name, len(place.responses), {"responses": len(place.responses)})
        for place in places
    ]
    numbers = list(splits)
    dealt = deal_groups(groups, [1 / len(numbers)] * len(numbers), rng)
    of_split = {
        split: [place for place in places if dealt[place.name] == index]
        for index, split in enumerate(numbers)
    }
    absent = [splits[split] for split in wanted if not of_split[split]]
    if absent:
        raise DataError(
            f"{folder} has {len(places)} place(s), none for {', '.join(absent)}, since splits share"
            f" no place. Expected: {len(numbers)} or more, for {', '.join(splits.values())}. Name"
            f" different rooms in the column place of {TABLE}, add responses of others, or leave"
            " splits without recordings by `simulation.recordings_per_split`."
        )
    counted = ", ".join(f"{splits[split]} {len(found)}" for split, found in of_split.items())
    logger.info("%s: places by split: %s.", folder, counted)
    return of_split
