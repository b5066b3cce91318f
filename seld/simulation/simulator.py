"""Simulated recordings in the layouts of DCASE task 3, 2019 to 2025.

All formats, FOA, MIC and stereo, are of the same scenes. A recording depends on the seed, the
settings and its own name only: never on the number of processes, the formats written with it or
the order of work.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.settings.folds import FoldConfig
from common.simulation.dataset_folder import text_digest
from common.simulation.measured.places import MeasuredPlace
from common.simulation.measured.table import response_digest
from common.simulation.own_recordings import (
    BACKGROUND,
    digest_of,
    find_backgrounds,
    find_own_recordings,
)
from common.simulation.simulator import SimulationReport, Simulator, without_unused
from common.simulation.sound_bank import check_rate
from common.simulation.source_selection import (
    SoundSelection,
    SoundSets,
    count_sources,
    report_bandwidths,
    report_recordings,
    select_backgrounds,
)
from seld.dataset import DatasetConfig
from seld.recordings.layouts import EVALUATION_SPLIT, LAYOUTS, LISTED, Layout
from seld.recordings.layouts import SETS as SET_NAMES
from seld.simulation import framewise, measured, rendering
from seld.simulation.plans import RecordingPlan, Slot, name_recordings, plan_annotations, sound_sets
from seld.simulation.settings import N_ROOMS, SceneSettings, SimulationConfig, scene_settings

logger = logging.getLogger(__name__)
KINDS = ("foa", "mic", "stereo", "metadata")

# Settings that came later, see `without_unused`.
UNUSED = {
    "motion": None,
    "same_class_share": None,
    "measured": None,
    "synthetic_share": 0.0,
    "recipes": "plain",
    "synthetic_examples": 4,
    "snr_range_db": None,
}


@dataclass(frozen=True)
class SeldSimulator(Simulator[Slot | RecordingPlan, list[SoundSelection]]):
    """Recordings and their metadata; formats and splits can be added later.

    Attributes:
        simulation: sizes, levels and sounds.
        dataset: classes, sample rate and ranges of angles.
        formats: some of foa, mic and stereo.
        splits: splits to write, 0 is the evaluation set; None: the development set. Not used with
            annotations.
        layout: folders, names and metadata.
        folds: those that are trained, which decide the use of own recordings with parts; None:
            the layout's.
        highest_hz: upper edge of the highest band of the features; None: unknown.
    """

    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    formats: Sequence[str] = ("foa", "mic")
    splits: Sequence[int] | None = None
    layout: Layout = LAYOUTS["tau2019"]
    folds: Sequence[FoldConfig] | None = None
    highest_hz: float | None = None

    @classmethod
    def of_task(cls, task: Any, annotations: Path | None = None) -> "SeldSimulator":
        """Simulates the data of a task: its format and splits; split 0 only in mode eval."""
        layout = task.dataset.published
        if layout is LISTED:
            raise ConfigError(
                "`dataset.layout: list` is for own recordings, which are not simulated. Expected: a"
                f" layout among {', '.join(LAYOUTS)}, or `simulate_missing_dataset: false`."
            )
        return cls(
            Path(task.dataset_dir),
            task.simulation,
            task.dataset,
            task.simulation.formats or (task.dataset.format,),
            (*layout.splits, EVALUATION_SPLIT) if task.dataset.mode == "eval" else layout.splits,
            layout,
            task.folds,
            task.features.highest_hz(task.dataset.sample_rate_hz),
            seed=task.seed,
            parallel=task.parallel,
            annotations=annotations,
        )

    @cached_property
    def settings(self) -> SceneSettings:
        """Complete settings of the scenes."""
        return scene_settings(self.simulation, self.seed, self.layout)

    @property
    def written_splits(self) -> Sequence[int]:
        """Splits to write."""
        return self.layout.splits if self.splits is None else self.splits

    @property
    def dataset_name(self) -> str:
        """The real dataset of this layout, for the README."""
        return self.layout.title

    def content(self) -> dict[str, Any]:
        """Lists all settings on which the recordings depend."""
        given = sorted(self.annotations.glob("*.csv")) if self.annotations else []
        settings = without_unused(asdict(self.settings), UNUSED)
        if self.settings.measured:
            settings["room_responses"] = response_digest(self.simulation.rir_dir)
            settings["annotation_grid"] = measured.grid_of(self.settings, self.dataset)
        return {
            **settings,
            "classes": self.dataset.classes,
            "sample_rate_hz": self.dataset.sample_rate_hz,
            **self._own_recordings(),
            **self._own_backgrounds(),
            "annotations": text_digest([path.read_text() for path in given]),
        }

    @cached_property
    def sets(self) -> SoundSets:
        """Sets of sounds, by split."""
        return sound_sets(self.layout, self.folds)

    def _own_recordings(self) -> dict[str, Any]:
        """Digest of own recordings, and the part that each split takes, if they have parts."""
        folders, titles = self.simulation.source_dir, tuple(self.sets.titles.values())
        if folders is None:
            return {"own_recordings": None}
        found = find_own_recordings(folders, self.dataset.classes, titles)
        parts = {"parts": self.sets.by_part(set(found.parts.values()))} if found.parts else {}
        return {"own_recordings": digest_of(folders, found), **parts}

    def _own_backgrounds(self) -> dict[str, Any]:
        """The same of own backgrounds; nothing without any, as in earlier versions."""
        folders, titles = self.simulation.background_dir, tuple(self.sets.titles.values())
        if folders is None:
            return {}
        found = find_backgrounds(folders, titles)
        taken = self.sets.by_part(set(found.parts.values()))
        parts = {"background_parts": taken} if found.parts else {}
        return {"own_backgrounds": digest_of(folders, found, "**/*"), **parts}

    def folders(self) -> list[Path]:
        """Lists the folders of recordings and metadata."""
        return [
            self.root / folder
            for kind in KINDS
            for name in SET_NAMES
            for folder in self.layout.file_folders(kind, name)
        ]

    def plan(self, scratch: Path) -> tuple[list[Slot | RecordingPlan], list[SoundSelection]]:
        """Plans all recordings, by name, and selects their sounds."""
        check_rate(self.dataset.sample_rate_hz)
        channels = {"stereo": 2}.get(self.dataset.format, 4)
        if self.dataset.channels != channels:
            received = f"`dataset.channels: {self.dataset.channels}`"
            raise ConfigError(
                f"Simulated recordings of format {self.dataset.format} have {channels} channels."
                f" Received: {received}."
            )
        entries = self._given(self.annotations) if self.annotations else self._named(scratch)
        splits, folders = sorted({entry.split for entry in entries}), self.simulation.background_dir
        backgrounds = select_backgrounds(folders, splits, self.sets, self.settings)
        return entries, self.select_sounds(splits) + backgrounds

    def _named(self, scratch: Path) -> list[Slot | RecordingPlan]:
        places = self._places(scratch)
        slots = [
            slot
            for split in self.written_splits
            for slot in self._slots(split, places.get(split, ()))
        ]
        if not slots:
            raise ConfigError(
                "No recording is to be simulated. Expected: recordings in one of the splits"
                f" {list(self.written_splits)}. Received: `simulation.recordings_per_split:"
                f" {self.settings.recordings_per_split}`."
            )
        return sorted(slots, key=lambda slot: slot.name)

    def _slots(self, split: int, places: Sequence[MeasuredPlace]) -> list[Slot]:
        if self.layout.is_framewise:
            return framewise.name_recordings(split, self.settings, self.layout, places)
        return name_recordings(split, self.settings, places)

    def _places(self, scratch: Path) -> Mapping[int, Sequence[MeasuredPlace]]:
        """Prepares the measured rooms of each split; none without them."""
        if self.simulation.rir_dir is None or self.settings.measured is None:
            return {}
        wish = measured.MeasuredRooms(
            self.simulation.rir_dir, self.settings, self.dataset, tuple(self.formats), self.layout
        )
        return wish.places(self.written_splits, scratch, self.parallel)

    def _given(self, annotations: Path) -> list[Slot | RecordingPlan]:
        if self.settings.measured:
            raise ConfigError(
                "Given annotations are rendered in computed rooms. Expected: `simulation.rir_dir:"
                f" null`. Received: {self.simulation.rir_dir}. Set it, or leave --annotations out."
            )
        if self.layout.is_framewise:
            raise ConfigError(
                "Given annotations are rendered in the layout tau2019 only. Received:"
                f" {self.layout.name}. Leave --annotations out, or set `dataset.layout: tau2019`."
            )
        plans = plan_annotations(annotations, self.settings, self.dataset, N_ROOMS)
        for plan in plans:
            rendering.check_positions(plan)
        return [*plans]

    def select_sounds(self, set_numbers: Sequence[int]) -> list[SoundSelection]:
        """Selects the sounds of each class in some splits."""
        classes, source_dir = self.dataset.classes, self.simulation.source_dir
        selected = rendering.select_sounds(
            classes, set_numbers, self.settings, source_dir, self.folds
        )
        if self.highest_hz is not None:
            report_bandwidths(selected, self.highest_hz)
        limits = self.dataset.sample_rate_hz, self.settings.longest_source_s
        report_recordings(selected, self.sets.titles, *limits, source_dir)
        return selected

    def is_written(self, plan: Slot | RecordingPlan) -> bool:
        """True if all files of a recording exist; files are written whole."""
        kinds = (*self.formats, "metadata")
        files = (rendering.file_path(self.root, self.layout, plan, kind) for kind in kinds)
        return all(path.is_file() for path in files)

    def writer(
        self, pending: Sequence[Slot | RecordingPlan], sounds: list[SoundSelection], scratch: Path
    ) -> Callable[[Slot | RecordingPlan], float]:
        """Makes the dry sounds of the splits and the ambience of the rooms."""
        rate_hz, settings = self.dataset.sample_rate_hz, self.settings
        receiver = rendering.receiver_for(self.formats, settings.foa_norm)
        splits = {entry.split for entry in pending}
        needed = [selection for selection in sounds if selection.set_number in splits]
        own_backgrounds = {
            each.set_number: each.recordings for each in needed if each.class_name == BACKGROUND
        }
        needed = [selection for selection in needed if selection.class_name != BACKGROUND]
        rooms = {
            rendering.ambience_room(entry.room, settings)
            for entry in pending
            if entry.split not in own_backgrounds
        }
        text = "Making the sounds of %d splits and the ambience of %d rooms."
        logger.info(text, len(splits), len(rooms))
        path, parallel = scratch / "bank.npy", self.parallel
        bank, own = rendering.plan_bank(needed, settings, rate_hz, path, parallel)
        context = rendering.RenderContext(
            self.root,
            settings,
            rate_hz,
            receiver,
            self.dataset.classes,
            bank,
            scratch,
            self.layout,
            own_backgrounds,
        )
        used = rendering.used_examples(needed, pending, context)
        rendering.fill_bank(bank, own, used, settings, rate_hz, parallel)
        rendering.build_loops(sorted(rooms), context, self.parallel)
        rendering.build_backgrounds(pending, context, self.parallel)
        return partial(rendering.write_recording, context=context)


def run(task: Any, annotations: Path | None = None, overwrite: bool = False) -> SimulationReport:
    """Simulates the dataset of a task.

    Args:
        task: settings of the task.
        annotations: folder with metadata files to render instead of drawn scenes.
        overwrite: write existing files again.

    Raises:
        ConfigError: the task's classes, channels or sample rate cannot be simulated.
        DataError: the folder holds other data.
    """
    return SeldSimulator.of_task(task, annotations).run(overwrite)


def check(task: Any) -> None:
    """Compares a task's simulated dataset with its settings.

    Raises:
        DataError: it was simulated with other settings.
    """
    SeldSimulator.of_task(task).check()


def own_sources(task: Any) -> dict[tuple[str, str], tuple[int, int]]:
    """Counts groups and files of a task's own recordings by class and simulated split.

    Raises:
        ConfigError, DataError: see `common.simulation.source_selection.select_sounds`.
    """
    simulator = SeldSimulator.of_task(task)
    sizes = simulator.settings.recordings_per_split
    splits = [split for split in simulator.written_splits if sizes.get(split)]
    return count_sources(simulator.select_sounds(splits), simulator.sets.titles)
