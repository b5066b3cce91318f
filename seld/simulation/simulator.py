"""Simulated recordings in the layout of TAU Spatial Sound Events 2019.

Both formats, FOA and MIC, are of the same scenes. A recording depends on the seed, the settings and
its own name only: never on the number of processes, the formats written with it or the order of
work.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.simulation.dataset_folder import text_digest
from common.simulation.own_recordings import source_digest
from common.simulation.simulator import SimulationReport, Simulator
from common.simulation.source_selection import SoundSelection, count_sources
from seld.dataset import DatasetConfig
from seld.simulation import rendering
from seld.simulation.plans import SETS, RecordingPlan, Slot, name_recordings, plan_annotations
from seld.simulation.settings import (
    DEV_SPLITS,
    N_ROOMS,
    SceneSettings,
    SimulationConfig,
    scene_settings,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeldSimulator(Simulator[Slot | RecordingPlan, list[SoundSelection]]):
    """Recordings and their metadata; formats and splits can be added later.

    Attributes:
        simulation: sizes, levels and sounds.
        dataset: classes, sample rate and ranges of angles.
        formats: foa, mic or both.
        splits: splits to write, 0 is the evaluation set; not used with annotations.
    """

    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    formats: Sequence[str] = ("foa", "mic")
    splits: Sequence[int] = DEV_SPLITS

    @classmethod
    def of_task(cls, task: Any, annotations: Path | None = None) -> "SeldSimulator":
        """Simulates the data of a task: its format and splits; split 0 only in mode eval."""
        return cls(
            Path(task.dataset_dir),
            task.simulation,
            task.dataset,
            task.simulation.formats or (task.dataset.format,),
            (*DEV_SPLITS, 0) if task.dataset.mode == "eval" else DEV_SPLITS,
            seed=task.seed,
            parallel=task.parallel,
            annotations=annotations,
        )

    @cached_property
    def settings(self) -> SceneSettings:
        """Complete settings of the scenes."""
        return scene_settings(self.simulation, self.seed)

    @property
    def dataset_name(self) -> str:
        """The real dataset of this layout, for the README."""
        return "TAU Spatial Sound Events 2019"

    def content(self) -> dict[str, Any]:
        """Lists all settings on which the recordings depend."""
        given = sorted(self.annotations.glob("*.csv")) if self.annotations else []
        return {
            **asdict(self.settings),
            "classes": self.dataset.classes,
            "sample_rate_hz": self.dataset.sample_rate_hz,
            "own_recordings": source_digest(self.simulation.source_dir, self.dataset.classes),
            "annotations": text_digest([path.read_text() for path in given]),
        }

    def folders(self) -> list[Path]:
        """Lists the folders of recordings and metadata."""
        kinds, names = ("foa", "mic", "metadata"), ("dev", "eval")
        return [self.root / f"{kind}_{name}" for kind in kinds for name in names]

    def plan(self, scratch: Path) -> tuple[list[Slot | RecordingPlan], list[SoundSelection]]:
        """Plans all recordings, by name, and selects their sounds."""
        if self.dataset.channels != 4:
            received = f"`dataset.channels: {self.dataset.channels}`"
            raise ConfigError(f"Simulated recordings have 4 channels. Received: {received}.")
        entries = self._given(self.annotations) if self.annotations else self._named()
        return entries, self.select_sounds(sorted({entry.split for entry in entries}))

    def _named(self) -> list[Slot | RecordingPlan]:
        slots = [slot for split in self.splits for slot in name_recordings(split, self.settings)]
        if not slots:
            raise ConfigError(
                "No recording is to be simulated. Expected: recordings in one of the splits"
                f" {list(self.splits)}. Received: `simulation.recordings_per_split:"
                f" {self.settings.recordings_per_split}`."
            )
        return sorted(slots, key=lambda slot: slot.name)

    def _given(self, annotations: Path) -> list[Slot | RecordingPlan]:
        plans = plan_annotations(annotations, self.settings, self.dataset, N_ROOMS)
        for plan in plans:
            rendering.check_positions(plan)
        return [*plans]

    def select_sounds(self, set_numbers: Sequence[int]) -> list[SoundSelection]:
        """Selects the sounds of each class in some splits."""
        classes, source_dir = self.dataset.classes, self.simulation.source_dir
        return rendering.select_sounds(classes, set_numbers, self.settings, source_dir)

    def is_written(self, plan: Slot | RecordingPlan) -> bool:
        """True if all files of a recording exist; files are written whole."""
        files = [rendering.audio_path(self.root, plan.split, plan.name, f) for f in self.formats]
        files.append(rendering.metadata_path(self.root, plan.split, plan.name))
        return all(path.is_file() for path in files)

    def writer(
        self, pending: Sequence[Slot | RecordingPlan], sounds: list[SoundSelection], scratch: Path
    ) -> Callable[[Slot | RecordingPlan], float]:
        """Makes the dry sounds of the splits and the ambience of the rooms."""
        rate_hz, settings = self.dataset.sample_rate_hz, self.settings
        receiver = rendering.receiver_for(self.formats, settings.foa_norm)
        rooms, splits = sorted({entry.room for entry in pending}), {e.split for e in pending}
        text = "Making the sounds of %d splits and the ambience of %d rooms."
        logger.info(text, len(splits), len(rooms))
        needed = [selection for selection in sounds if selection.set_number in splits]
        bank = rendering.build_bank(needed, settings, rate_hz, scratch, self.parallel)
        context = rendering.RenderContext(
            self.root, settings, rate_hz, receiver, self.dataset.classes, bank, scratch
        )
        rendering.build_loops(rooms, context, self.parallel)
        return partial(rendering.write_recording, context=context)


def run(task: Any, annotations: Path | None = None, overwrite: bool = False) -> SimulationReport:
    """Simulates the dataset of a task.

    Args:
        task: settings of the task.
        annotations: folder with metadata files to render instead of drawn scenes.
        overwrite: write existing files again.

    Raises:
        ConfigError: the task's classes or channels cannot be simulated.
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
    splits = [split for split in simulator.splits if sizes.get(split)]
    return count_sources(simulator.select_sounds(splits), SETS)
