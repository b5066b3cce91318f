"""The loop that simulates a dataset; families plan its recordings and render one at a time."""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from itertools import compress
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from tqdm import tqdm

from common.io.terminal import bar_pace
from common.runtime.parallel import parallel_map
from common.settings.parallel import ParallelConfig
from common.settings.section import Section
from common.simulation.dataset_folder import (
    as_stored,
    check_root,
    check_same_simulation,
    finish_root,
    prepare_root,
    scratch_folder,
)

logger = logging.getLogger(__name__)

Settings = TypeVar("Settings")


class Named(Protocol):
    """A recording that is to be made."""

    @property
    def name(self) -> str:
        """Name of its file."""


Plan = TypeVar("Plan", bound=Named)
Sounds = TypeVar("Sounds")


@dataclass(frozen=True)
class SimulationReport:
    """Recordings written by a simulation.

    Attributes:
        root: dataset folder.
        written: names of the recordings that were rendered.
        skipped: names of those that were there already.
        audio_s: duration of the rendered recordings together.
        elapsed_s: time it took, set-up included.
    """

    root: Path
    written: tuple[str, ...]
    skipped: tuple[str, ...]
    audio_s: float
    elapsed_s: float

    @property
    def real_time_factor(self) -> float:
        """Seconds of recordings per second of work; several formats of one count once."""
        return self.audio_s / self.elapsed_s


@dataclass(frozen=True)
class Simulator(ABC, Generic[Plan, Sounds]):
    """A dataset to be simulated. Every recording depends on settings, seed and its name only.

    Attributes:
        root: dataset folder; must be new, empty, or hold recordings of the same settings.
        seed: decides everything random.
        parallel: number of processes and their engine.
        annotations: folder with annotations to render instead of drawn scenes.
    """

    unit: ClassVar[str] = "recordings"

    root: Path
    _: KW_ONLY
    seed: int = 0
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    annotations: Path | None = None

    def run(self, overwrite: bool = False, progress: bool = True) -> SimulationReport:
        """Writes all recordings and their metadata; existing ones are not rendered again.

        Args:
            overwrite: write existing files again, also those of other settings.
            progress: show a progress bar.

        Raises:
            ConfigError: the settings ask for something that cannot be simulated.
            DataError: the folder holds other data, annotations or own recordings cannot be used,
                or the disk is full.
        """
        started_s = time.perf_counter()
        stored, folders = self.stored_settings(), self.folders()
        check_root(self.root, stored, folders, overwrite)
        with scratch_folder(self.root) as scratch:
            plans, sounds = self.plan(scratch)
            self.remove_derived(stored)
            prepare_root(self.root, stored, folders, self.dataset_name, overwrite)
            missing = [overwrite or not self.is_written(plan) for plan in plans]
            pending = list(compress(plans, missing))
            audio_s = self._render(pending, sounds, scratch, progress) if pending else 0.0
        self.write_metadata(plans)
        finish_root(self.root, stored)
        written = tuple(plan.name for plan in pending)
        skipped = tuple(compress((plan.name for plan in plans), (not each for each in missing)))
        elapsed_s = time.perf_counter() - started_s
        report = SimulationReport(self.root, written, skipped, audio_s, elapsed_s)
        logger.info(
            "%s: %d %s written (%.0f times real time), %d were there.",
            self.root,
            len(written),
            self.unit,
            report.real_time_factor,
            len(skipped),
        )
        return report

    def _render(
        self, pending: Sequence[Plan], sounds: Sounds, scratch: Path, progress: bool
    ) -> float:
        write = self.writer(pending, sounds, scratch)
        seconds = parallel_map(write, pending, self.parallel)
        shown = {"unit": "file", "disable": not progress, **bar_pace()}
        return sum(tqdm(seconds, self.unit, len(pending), **shown), start=0.0)

    def check(self) -> None:
        """Compares the dataset in `root` with these settings.

        Raises:
            DataError: it was simulated with other settings.
        """
        check_same_simulation(self.root, self.stored_settings)

    def stored_settings(self) -> dict[str, Any]:
        """Lists everything that decides the content of the recordings, as JSON stores it."""
        return as_stored(self.content())

    @property
    @abstractmethod
    def dataset_name(self) -> str:
        """The real dataset of this layout, for the README."""

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """Lists everything that decides the content of the recordings."""

    @abstractmethod
    def folders(self) -> list[Path]:
        """Lists the folders of recordings and metadata."""

    @abstractmethod
    def plan(self, scratch: Path) -> tuple[list[Plan], Sounds]:
        """Plans all recordings and selects their sounds; checks all that was given.

        Args:
            scratch: folder for sounds that all processes share.
        """

    @abstractmethod
    def is_written(self, plan: Plan) -> bool:
        """True if all files of a recording exist."""

    @abstractmethod
    def writer(
        self, pending: Sequence[Plan], sounds: Sounds, scratch: Path
    ) -> Callable[[Plan], float]:
        """Makes the sounds that recordings share.

        Args:
            pending: recordings to be rendered.
            sounds: from `plan`.
            scratch: folder for sounds that all processes share.

        Returns:
            Function that renders a recording, writes its files and returns its duration in seconds.
        """

    def write_metadata(self, plans: Sequence[Plan]) -> None:
        """Writes the metadata of the whole dataset, if there are any."""

    def remove_derived(self, stored: dict[str, Any]) -> None:
        """Removes files made from recordings of other settings than `stored`, if there are any."""


def without_unused(settings: dict[str, Any], unused: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves out later settings at the values with which nothing changes.

    Datasets that were written before there were these settings so stay valid.

    Args:
        settings: complete settings of a simulation.
        unused: those values.
    """
    return {k: value for k, value in settings.items() if k not in unused or value != unused[k]}


def complete_settings(
    kind: type[Settings], simulation: Section, preset: object, **given: object
) -> Settings:
    """Fills open settings of a simulation from its preset.

    Args:
        kind: dataclass of the complete settings.
        simulation: its section of params.yaml; null: as in the preset.
        preset: dataclass of sizes.
        given: settings that stand in neither, or replace those.
    """
    chosen = {name: value for name, value in simulation.model_dump().items() if value is not None}
    values = vars(preset) | chosen | given
    names = {entry.name for entry in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in values.items() if name in names})
