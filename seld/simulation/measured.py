"""Measured rooms of SELD scenes: what their formats allow, places of splits, labels on the grid."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import ConfigError, DataError
from common.settings.parallel import ParallelConfig
from common.simulation.measured.places import MeasuredPlace, deal_places, prepare_places
from common.simulation.measured.responses import UNKNOWN_DISTANCE_M, Kind, MeasuredResponse
from common.simulation.random_streams import random_stream
from common.simulation.receivers import unit_vectors
from seld.dataset import DatasetConfig
from seld.geometry import AngleGrid
from seld.recordings.layouts import Layout
from seld.simulation.plans import n_measured, sets_of
from seld.simulation.settings import SceneSettings

logger = logging.getLogger(__name__)
_ON_GRID_DEG = 1e-3  # differences below it are rounding errors


def grid_of(settings: SceneSettings, dataset: DatasetConfig) -> dict[str, Any] | None:
    """Grid to which the labels of own directions are moved; None where they are as measured.

    Turned responses come from directions on the grid, and later layouts have none.
    """
    is_moved = settings.measured and not settings.measured.rotate and settings.motion is None
    return asdict(dataset.grid) if is_moved else None


@dataclass(frozen=True)
class MeasuredRooms:
    """Measured rooms of a dataset to be simulated.

    Attributes:
        folder: with the responses and their table.
        settings: seed, share and rotation.
        dataset: rate and grid.
        formats: to be written.
        layout: of the dataset.
    """

    folder: Path
    settings: SceneSettings
    dataset: DatasetConfig
    formats: tuple[str, ...]
    layout: Layout

    @property
    def kind(self) -> Kind:
        """Kind of the responses, by the formats to be written.

        Raises:
            ConfigError: they need two kinds, or microphone responses are to be turned.
        """
        if "mic" not in self.formats:
            return "foa"
        if len(self.formats) > 1:
            raise ConfigError(
                "Measured room responses are ambisonic, or of the four microphones of the format"
                " mic, never both. Expected: `simulation.formats` of foa and stereo, or [mic]."
                f" Received: {list(self.formats)}."
            )
        if self.settings.measured and self.settings.measured.rotate:
            raise ConfigError(
                "Responses of microphones cannot be turned: they are used at their own directions."
                " Expected: `simulation.rir_rotate: false`, or the format foa. Received: true."
            )
        return "mic"

    def places(
        self, written_splits: Sequence[int], scratch: Path, parallel: ParallelConfig
    ) -> Mapping[int, Sequence[MeasuredPlace]]:
        """Prepares all responses and deals their places to the splits.

        Args:
            written_splits: splits to be written; the places of each do not depend on them.
            scratch: folder for prepared responses.
            parallel: number of processes and their engine.

        Raises:
            ConfigError: the formats do not allow measured rooms.
            DataError: the folder cannot be used, see `prepare_places`; a direction is outside the
                ranges of the annotations; a distance is missing that the layout needs; or a split
                has no place.
        """
        kind, settings = self.kind, self.settings
        titles = sets_of(self.layout)
        splits = {split: titles[split] for split in titles if n_measured(split, settings)}
        wanted = [split for split in splits if split in written_splits]
        if not any(settings.recordings_per_split.get(split) for split in written_splits):
            return {}  # no recording at all, which is refused elsewhere
        if not wanted:
            raise ConfigError(
                "No recording would be in a measured room. Expected: a `simulation.rir_share` that"
                " is at least one recording of a split. Received:"
                f" {settings.measured.share if settings.measured else 0:g} of"
                f" {settings.recordings_per_split}. Raise it, or set it to 0."
            )
        found = prepare_places(self.folder, kind, self.dataset.sample_rate_hz, scratch, parallel)
        self._check_distances([response for place in found for response in place.responses])
        if grid_of(settings, self.dataset):
            found = self._on_grid(found)
        rng = random_stream(settings.seed, settings.version, "deal places")
        dealt = deal_places(found, splits, wanted, rng, self.folder)
        self._report(dealt, wanted)
        return dealt

    def _check_distances(self, responses: Sequence[MeasuredResponse]) -> None:
        unknown = [response for response in responses if response.distance_m is None]
        if unknown and not self.layout.is_framewise:
            text = "%s: %d response(s) without distance are annotated with %g m."
            logger.warning(text, self.folder, len(unknown), UNKNOWN_DISTANCE_M)
        if unknown and self.layout.is_framewise and self.layout.has_distance:
            raise DataError(
                f"{unknown[0].where}: the distance is unknown, as of {len(unknown)} response(s),"
                f" and the layout {self.layout.name} has distances. Expected: metres in the column"
                " distance. Add them, or set `dataset.layout` to one without, such as starss2022."
            )

    def _on_grid(self, places: Sequence[MeasuredPlace]) -> list[MeasuredPlace]:
        """Gives each response the nearest direction of the grid as its label."""
        grid = self.dataset.grid
        moved_deg = []
        labelled = []
        for place in places:
            pairs = [_nearest(response, grid) for response in place.responses]
            labelled.append(replace(place, responses=tuple(response for response, _ in pairs)))
            moved_deg += [angle for _, angle in pairs if angle > _ON_GRID_DEG]
        if moved_deg:
            text = (
                "%s: %d response(s) are off the grid of the annotations, every %g degrees: labels"
                " are the nearest directions of it, up to %.1f degrees away."
            )
            logger.warning(text, self.folder, len(moved_deg), grid.step_deg, max(moved_deg))
        return labelled

    def _report(self, dealt: Mapping[int, Sequence[MeasuredPlace]], wanted: Sequence[int]) -> None:
        """Logs the share of measured rooms, and what they cannot do."""
        settings, motion = self.settings, self.settings.motion
        n = sum(n_measured(split, settings) for split in wanted)
        of = sum(settings.recordings_per_split.get(split, 0) for split in wanted)
        rotate = settings.measured is not None and settings.measured.rotate
        notes = "turned to all directions" if rotate else "sources stand at measured directions"
        logger.info("%d of %d recordings are in measured rooms: %s.", n, of, notes)
        if rotate:
            return
        if motion and motion.moving_share:
            logger.info("Sources move in computed rooms only, in %d recordings.", of - n)
        single = [
            place.name
            for split in wanted
            for place in dealt[split]
            if len({response.direction_deg for response in place.responses}) == 1
        ]
        if single:
            text = (
                "%s: %d place(s) have one direction only, from which all of their sources come;"
                " `simulation.rir_rotate: true` turns ambisonic responses to others."
            )
            logger.warning(text, self.folder, len(single))


def _nearest(response: MeasuredResponse, grid: AngleGrid) -> tuple[MeasuredResponse, float]:
    """Labels a response with the nearest direction of the grid; also their angle in degrees."""
    azimuths, elevations = grid.angles_of(np.arange(grid.size))
    cosines = unit_vectors(azimuths, elevations) @ unit_vectors(*response.direction_deg)
    nearest = int(cosines.argmax())
    angle_deg = float(np.rad2deg(np.arccos(np.clip(cosines[nearest], -1, 1))))
    if angle_deg > grid.step_deg / np.sqrt(2) + _ON_GRID_DEG:
        raise DataError(
            f"{response.where}: azimuth {response.azimuth_deg:g} and elevation"
            f" {response.elevation_deg:g} degrees are outside the ranges of the annotations."
            f" Expected: {grid.describe()}. Remove the row, widen `dataset.elevation_range_deg` and"
            " `dataset.azimuth_range_deg`, or set `simulation.rir_rotate: true`."
        )
    label = float(azimuths[nearest]), float(elevations[nearest])
    return replace(response, label_deg=label), angle_deg
