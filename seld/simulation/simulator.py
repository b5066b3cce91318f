"""Simulated recordings in the layout of TAU Spatial Sound Events 2019, both formats of the same
scenes.

What a recording contains depends on the seed, the settings and its own name only: never on the
number of processes, on the formats that are written with it, or on the order of work.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from common.errors import ConfigError
from common.runtime.parallel import ParallelConfig, parallel_map
from common.settings.section import Section
from common.simulation.dataset_folder import (
    SimulationReport,
    as_stored,
    check_same_simulation,
    finish_root,
    prepare_root,
    scratch_folder,
    text_digest,
)
from seld.dataset import DatasetConfig

if TYPE_CHECKING:  # importing what renders takes seconds: settings are read without it
    from common.simulation.source_selection import SoundOrder
    from seld.simulation.plans import RecordingPlan, Slot

logger = logging.getLogger(__name__)

GENERATOR_VERSION = "1"  # changes whenever the same settings would give other samples
DEV_SPLITS = (1, 2, 3, 4)
N_ROOMS = 5
DATASET_NAME = "TAU Spatial Sound Events 2019"


class SimulationConfig(Section):
    """Simulated recordings; what is null follows from the preset."""

    preset: Literal["fixture", "demo", "gpu", "full"] = Field(
        "demo",
        description=(
            "Size: fixture (seconds of audio, for tests), demo (60 recordings), gpu (200), full"
            " (500)."
        ),
    )
    formats: tuple[Literal["foa", "mic"], ...] | None = Field(
        None, min_length=1, description="Formats written of every scene; null: the task's."
    )
    recordings_per_split: dict[int, int] | None = Field(
        None, description="Recordings of each split, e.g. {1: 20, 2: 20}; 0 is the evaluation set."
    )
    rooms: tuple[int, ...] | None = Field(
        None, min_length=1, description="Numbers of the rooms, 0 to 4."
    )
    overlaps: tuple[int, ...] | None = Field(
        None, min_length=1, description="Layers of events: most at a time."
    )
    duration_s: float | None = Field(None, gt=1.5, description="Length of a recording.")
    ragged: bool = Field(
        False, description="As in the real data, lengths differ and labels may pass the end."
    )
    snr_db: float = Field(30.0, description="Mean power of the events against the ambience.")
    gain_range_db: float = Field(
        6.0, ge=0, description="Levels of events lie within plus and minus this."
    )
    variation: float = Field(
        1.0, ge=0, le=1, description="How much synthetic examples of a class differ."
    )
    allow_same_class_overlap: bool = Field(
        True, description="Whether two events of a class may sound at once."
    )
    foa_norm: Literal["n3d", "sn3d"] = Field(
        "n3d", description="Ambisonic normalisation; order is W, Y, Z, X."
    )
    wall_colour: bool | None = Field(
        None, description="Whether walls absorb high frequencies more than low ones."
    )
    source_dir: Path | None = Field(
        None,
        description=(
            "Own recordings, one folder per class; null: synthetic sounds. All of one source, by "
            "`file,group` of a metadata.csv or as <class>/<source>/*.wav, are in one split."
        ),
    )
    on_missing: Literal["synth", "error"] = Field(
        "synth", description="What to do for classes without recordings."
    )
    longest_source_s: float = Field(5.0, gt=0, description="Own recordings are cut to this length.")

    @field_validator("recordings_per_split")
    @classmethod
    def _splits_exist(cls, value: dict[int, int] | None) -> dict[int, int] | None:
        if value is not None and (
            set(value) - {0, *DEV_SPLITS} or any(n < 0 for n in value.values())
        ):
            raise ValueError(
                "splits are 0 (evaluation) to 4, with no negative number of recordings. Received:"
                f" {value}."
            )
        return value

    @field_validator("rooms")
    @classmethod
    def _rooms_exist(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (
            len(set(value)) < len(value) or not set(value) <= set(range(N_ROOMS))
        ):
            raise ValueError(
                f"rooms are different numbers from 0 to {N_ROOMS - 1}. Received: {list(value)}."
            )
        return value

    @field_validator("overlaps")
    @classmethod
    def _overlaps_are_possible(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (len(set(value)) < len(value) or min(value) < 1):
            raise ValueError(
                f"overlaps are different numbers of layers, 1 or more. Received: {list(value)}."
            )
        return value


@dataclass(frozen=True)
class SceneSettings:
    """Everything that decides what the recordings contain; stored in the dataset folder and
    compared with it."""

    version: str
    seed: int
    recordings_per_split: dict[int, int]
    rooms: tuple[int, ...]
    overlaps: tuple[int, ...]
    duration_s: float
    wall_colour: bool
    ragged: bool
    snr_db: float
    gain_range_db: float
    variation: float
    allow_same_class_overlap: bool
    foa_norm: Literal["n3d", "sn3d"]
    on_missing: Literal["synth", "error"]
    longest_source_s: float


@dataclass(frozen=True)
class Preset:
    """Sizes of a dataset."""

    recordings_per_split: dict[int, int]
    rooms: tuple[int, ...] = (0, 1, 2, 3, 4)
    overlaps: tuple[int, ...] = (1, 2)
    duration_s: float = 60.0
    wall_colour: bool = True


PRESETS = {
    "fixture": Preset(
        {split: 2 for split in (0, *DEV_SPLITS)}, rooms=(0,), duration_s=6.0, wall_colour=False
    ),
    "demo": Preset({0: 10, 1: 20, 2: 20, 3: 10, 4: 10}),
    "gpu": Preset({split: 40 for split in (0, *DEV_SPLITS)}),
    "full": Preset({split: 100 for split in (0, *DEV_SPLITS)}),
}


def run(task: Any, annotations: Path | None = None, overwrite: bool = False) -> SimulationReport:
    """Simulates the dataset that a task reads: its format, its development splits and, in mode
    eval, split 0.

    Args:
        task: settings of the task.
        annotations: folder with metadata files to render instead of drawn scenes.
        overwrite: write again what is there.

    Raises:
        ConfigError: the task's classes or channels cannot be simulated.
        DataError: the folder holds other data.
    """
    simulation: SimulationConfig = task.simulation
    return simulate_tau2019(
        Path(task.dataset_dir),
        simulation,
        formats=simulation.formats or (task.dataset.format,),
        splits=(*DEV_SPLITS, 0) if task.dataset.mode == "eval" else DEV_SPLITS,
        seed=task.seed,
        parallel=task.parallel,
        annotations=annotations,
        overwrite=overwrite,
        dataset=task.dataset,
    )


def check(task: Any) -> None:
    """Compares the dataset of a task, where it was simulated, with what its settings would write.

    Raises:
        DataError: it was simulated with other settings.
    """
    simulation: SimulationConfig = task.simulation
    settings, formats = (
        scene_settings(simulation, task.seed),
        simulation.formats or (task.dataset.format,),
    )
    job = _Job(Path(task.dataset_dir), simulation, settings, task.dataset, formats, task.parallel)
    check_same_simulation(job.root, lambda: _settings_to_store(job, None))


def own_sources(task: Any) -> dict[tuple[str, str], tuple[int, int]]:
    """Deals the own recordings of a task; gives groups and files of each class and split that is
    simulated.

    Raises:
        ConfigError, DataError: see `seld.simulation.rendering.order_sounds`.
    """
    from seld.simulation.plans import SETS
    from seld.simulation.rendering import order_sounds

    settings = scene_settings(task.simulation, task.seed)
    splits = (*DEV_SPLITS, 0) if task.dataset.mode == "eval" else DEV_SPLITS
    wanted = [split for split in splits if settings.recordings_per_split.get(split)]
    orders = order_sounds(task.dataset.classes, wanted, settings, task.simulation.source_dir)
    return {
        (each.class_name, SETS[each.set_number]): (each.n_groups, len(each.recordings))
        for each in orders
    }


def simulate_tau2019(
    root: Path,
    simulation: SimulationConfig | None = None,
    *,
    formats: Sequence[str] = ("foa", "mic"),
    splits: Sequence[int] = DEV_SPLITS,
    seed: int = 0,
    parallel: ParallelConfig | None = None,
    annotations: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    dataset: DatasetConfig | None = None,
) -> SimulationReport:
    """Writes simulated recordings and their metadata; those that are there are not rendered again.

    Args:
        root: dataset folder; must be new, empty, or hold recordings of the same settings.
        simulation: sizes, levels and sounds; None: the defaults.
        formats: foa, mic or both. A format can be added later.
        splits: which splits to write; 0 is the evaluation set. Splits can be added later.
        seed: decides everything random.
        parallel: number of processes and their engine; None: one process per core.
        annotations: folder with metadata files to render instead of drawn scenes; `splits` is not
            used then.
        overwrite: write again what is there, also where it was simulated with other settings.
        progress: show a progress bar.
        dataset: classes, sample rate and ranges of angles; None: those of TAU Spatial Sound Events
            2019.

    Returns:
        What was done.

    Raises:
        ConfigError: the classes or channels cannot be simulated.
        DataError: the folder holds other data, annotations or own recordings cannot be used, or the
            disk is full.
    """
    started_s = time.perf_counter()
    dataset = dataset or DatasetConfig()
    if dataset.channels != 4:
        raise ConfigError(
            "Simulated recordings have 4 channels. Received: `dataset.channels:"
            f" {dataset.channels}`."
        )
    simulation = simulation or SimulationConfig()
    parallel = parallel or ParallelConfig()
    job = _Job(
        root, simulation, scene_settings(simulation, seed), dataset, tuple(formats), parallel
    )
    entries = job.entries(splits, annotations)
    orders = job.orders(entries)
    stored = _settings_to_store(job, annotations)
    prepare_root(root, stored, _folders(root), DATASET_NAME, overwrite)
    pending = [entry for entry in entries if overwrite or not job.is_complete(entry)]
    with scratch_folder(root) as scratch:
        audio_s = _simulate(job, pending, orders, scratch, progress) if pending else 0.0
    finish_root(root, stored)
    written = tuple(entry.name for entry in pending)
    skipped = tuple(entry.name for entry in entries if entry.name not in set(written))
    report = SimulationReport(root, written, skipped, audio_s, time.perf_counter() - started_s)
    logger.info(
        "%s: %d recordings written (%.0f times real time), %d were there.",
        root,
        len(written),
        report.real_time_factor,
        len(skipped),
    )
    return report


def scene_settings(simulation: SimulationConfig, seed: int) -> SceneSettings:
    """Completes the settings with what follows from the preset."""
    values = simulation.model_dump()
    for name, value in vars(PRESETS[simulation.preset]).items():
        if values[name] is None:
            values[name] = value
    names = [entry.name for entry in fields(SceneSettings) if entry.name not in ("version", "seed")]
    return SceneSettings(GENERATOR_VERSION, seed, **{name: values[name] for name in names})


@dataclass(frozen=True)
class _Job:
    """What is to be simulated, where, and by how many processes."""

    root: Path
    simulation: SimulationConfig
    settings: SceneSettings
    dataset: DatasetConfig
    formats: tuple[str, ...]
    parallel: ParallelConfig

    def entries(
        self, splits: Sequence[int], annotations: Path | None
    ) -> "list[Slot | RecordingPlan]":
        """Lists the recordings to be made, by name."""
        from seld.simulation.plans import name_recordings, plan_annotations
        from seld.simulation.rendering import check_positions

        if annotations is None:
            slots = [slot for split in splits for slot in name_recordings(split, self.settings)]
            if not slots:
                raise ConfigError(
                    "No recording is to be simulated. Expected: recordings in one of the splits"
                    f" {list(splits)}. Received: `simulation.recordings_per_split:"
                    f" {self.settings.recordings_per_split}`."
                )
            return sorted(slots, key=lambda slot: slot.name)
        plans = plan_annotations(annotations, self.settings, self.dataset, N_ROOMS)
        for plan in plans:
            check_positions(plan)
        return [*plans]

    def orders(self, entries: "Sequence[Slot | RecordingPlan]") -> "list[SoundOrder]":
        """Lists the sounds that the recordings need; checks own recordings before anything is
        written."""
        from seld.simulation.rendering import order_sounds

        set_numbers = sorted({entry.split for entry in entries})
        return order_sounds(
            self.dataset.classes, set_numbers, self.settings, self.simulation.source_dir
        )

    def is_complete(self, entry: "Slot | RecordingPlan") -> bool:
        """Says whether all files of a recording are there."""
        from seld.simulation.rendering import is_complete

        return is_complete(self.root, entry.split, entry.name, self.formats)


def _simulate(
    job: _Job,
    entries: "Sequence[Slot | RecordingPlan]",
    orders: "Sequence[SoundOrder]",
    scratch: Path,
    progress: bool,
) -> float:
    """Makes sounds and ambience, then the recordings; returns the seconds of recordings."""
    from tqdm import tqdm

    from seld.simulation import rendering

    rate_hz = job.dataset.sample_rate_hz
    receiver = rendering.receiver_for(job.formats, job.settings.foa_norm)
    rooms, sets = sorted({entry.room for entry in entries}), {entry.split for entry in entries}
    logger.info(
        "Making the sounds of %d splits and the ambience of %d rooms.", len(sets), len(rooms)
    )
    needed = [order for order in orders if order.set_number in sets]
    bank = rendering.build_bank(needed, job.settings, rate_hz, scratch, job.parallel)
    rendering.build_loops(rooms, job.settings, receiver, rate_hz, scratch, job.parallel)
    studio = rendering.Studio(
        job.root, job.settings, rate_hz, receiver, job.dataset.classes, bank, scratch
    )
    written = parallel_map(partial(rendering.write_recording, studio=studio), entries, job.parallel)
    bar = tqdm(written, total=len(entries), desc="recordings", unit="file", disable=not progress)
    return sum(n_samples / rate_hz for n_samples in bar)


def _settings_to_store(job: _Job, annotations: Path | None) -> dict[str, Any]:
    """Lists all that decides the content of the recordings, as JSON stores it."""
    from common.simulation.own_recordings import source_digest

    given = sorted(annotations.glob("*.csv")) if annotations else []
    return as_stored(
        {
            **asdict(job.settings),
            "classes": job.dataset.classes,
            "sample_rate_hz": job.dataset.sample_rate_hz,
            "own_recordings": source_digest(job.simulation.source_dir, job.dataset.classes),
            "annotations": text_digest([path.read_text() for path in given]),
        }
    )


def _folders(root: Path) -> list[Path]:
    return [
        root / f"{kind}_{name}" for kind in ("foa", "mic", "metadata") for name in ("dev", "eval")
    ]
