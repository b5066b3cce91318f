"""Simulated sounds and scenes in the layouts of DCASE 2018 task 2 and task 1, from which mixtures
are made.

What a file contains depends on the seed, the settings and its own name only: never on the number of
processes or the order of work.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from common.errors import ConfigError, DataError
from common.io.files import write_text
from common.runtime.parallel import ParallelConfig, parallel_map
from common.settings.section import Section
from common.simulation.dataset_folder import (
    SETTINGS_FILE,
    SimulationReport,
    as_stored,
    check_root,
    check_same_simulation,
    finish_root,
    prepare_root,
    read_settings,
    scratch_folder,
    text_digest,
)
from sed_task4.segmentation.dataset import (
    DatasetConfig,
    EventFile,
    parse_event_files,
    parse_scenes,
    read_text,
    scenes_folder,
)

if TYPE_CHECKING:  # importing what renders takes a second: settings are read without it
    from sed_task4.segmentation.simulation.plans import SceneFile
    from sed_task4.segmentation.simulation.rendering import Studio

logger = logging.getLogger(__name__)

GENERATOR_VERSION = "1"  # changes whenever the same settings would give other samples
DATASET_NAME = "DCASE 2018 task 2 (FSDKaggle2018) and task 1 (TUT Urban Acoustic Scenes 2018)"


@dataclass(frozen=True)
class Preset:
    """Sizes of a dataset.

    Attributes:
        scenes: recordings of scenes.
        files_per_class: sound files of each class.
        verified_share: part of them that counts as verified: only those are mixed.
        loops_per_kind: different voices, engines ... that scenes are made of.
        may_lack_classes: classes without a synthetic sound are left out instead of refused.
    """

    scenes: int
    files_per_class: int
    verified_share: float
    loops_per_kind: int = 4
    may_lack_classes: bool = False


PRESETS = {
    "fixture": Preset(12, 8, 1.0, loops_per_kind=1, may_lack_classes=True),
    "demo": Preset(200, 100, 0.8),
    "gpu": Preset(2000, 80, 0.4, loops_per_kind=16, may_lack_classes=True),
    "full": Preset(8000, 250, 0.4, loops_per_kind=32, may_lack_classes=True),
}


class SimulationConfig(Section):
    """Simulated sounds and scenes; what is null follows from the preset."""

    preset: Literal["fixture", "demo", "gpu", "full"] = Field(
        "demo",
        description=(
            "Size: fixture (for tests), demo (100 sounds per class, 200 scenes), gpu, full. All but"
            " demo leave out classes without a synthetic sound."
        ),
    )
    scenes: int | None = Field(
        None, gt=0, description="Recordings of scenes, of the length of a mixture."
    )
    files_per_class: int | None = Field(None, gt=0, description="Sound files of each class.")
    verified_share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Part of the files that counts as verified: only those are mixed.",
    )
    sound_rate_hz: int = Field(44100, ge=8000, description="Of the sound files.")
    scene_rate_hz: int = Field(48000, ge=8000, description="Of the scenes.")
    variation: float = Field(1.0, ge=0, le=1, description="How much sounds of a class differ.")


@dataclass(frozen=True)
class SoundSettings:
    """Everything that decides what the files contain; stored in the dataset folder and compared
    with it."""

    version: str
    seed: int
    scenes: int
    files_per_class: int
    verified_share: float
    loops_per_kind: int
    clip_s: float
    sound_rate_hz: int
    scene_rate_hz: int
    variation: float


def run(task: Any, annotations: Path | None = None, overwrite: bool = False) -> SimulationReport:
    """Simulates the sounds and scenes that a task mixes.

    Args:
        task: settings; `dataset_dir`, `dataset`, `simulation`, `seed` and `parallel` are used.
        annotations: folder with a train.csv, a meta.csv or both, whose rows are rendered instead of
            drawn ones.
        overwrite: write again what is there.

    Raises:
        ConfigError: there is no synthetic sound of some class.
        DataError: the folder holds other data, or annotations cannot be used.
    """
    simulation: SimulationConfig = task.simulation
    return simulate_segmentation(
        Path(task.dataset_dir),
        task.dataset,
        simulation,
        seed=task.seed,
        parallel=task.parallel,
        annotations=annotations,
        overwrite=overwrite,
    )


def check(task: Any) -> None:
    """Compares the dataset of a task, where it was simulated, with what its settings would write.

    Raises:
        ConfigError: there is no synthetic sound of some class.
        DataError: it was simulated with other settings.
    """
    settings = sound_settings(task.simulation, task.seed, task.dataset.clip_s)
    job = _Job(Path(task.dataset_dir), task.dataset, task.simulation, settings)
    check_same_simulation(job.root, lambda: job.stored_settings(*job.plans(None), None))


def simulate_segmentation(
    root: Path,
    dataset: DatasetConfig,
    simulation: SimulationConfig | None = None,
    *,
    seed: int = 0,
    parallel: ParallelConfig | None = None,
    annotations: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> SimulationReport:
    """Writes simulated sounds and scenes and their tables; files that are there are not rendered
    again.

    Args:
        root: dataset folder; must be new, empty, or hold files of the same settings.
        dataset: classes, length of a scene and folders.
        simulation: sizes and rates; None: the defaults.
        seed: decides everything random.
        parallel: number of processes and their engine; None: one process per core.
        annotations: folder with a train.csv, a meta.csv or both, whose rows are rendered instead of
            drawn ones.
        overwrite: write again what is there, also where it was simulated with other settings.
        progress: show a progress bar.

    Returns:
        What was done.

    Raises:
        ConfigError: there is no synthetic sound of some class.
        DataError: the folder holds other data, annotations cannot be used, or the disk is full.
    """
    started_s = time.perf_counter()
    simulation = simulation or SimulationConfig()
    root, parallel = Path(root), parallel or ParallelConfig()
    job = _Job(root, dataset, simulation, sound_settings(simulation, seed, dataset.clip_s))
    sounds, scenes = job.plans(annotations)
    stored = job.open_folder(sounds, scenes, annotations, overwrite)
    with scratch_folder(job.root) as scratch:
        written, audio_s = job.render(sounds, scenes, scratch, parallel, overwrite, progress)
    job.write_tables(sounds, scenes)
    finish_root(job.root, stored)
    names = [file.name for file in sounds] + [file.name for file in scenes]
    skipped = tuple(sorted(set(names) - set(written)))
    report = SimulationReport(
        job.root, tuple(written), skipped, audio_s, time.perf_counter() - started_s
    )
    logger.info(
        "%s: %d files written (%.0f times real time), %d were there.",
        root,
        len(written),
        report.real_time_factor,
        len(skipped),
    )
    return report


def sound_settings(simulation: SimulationConfig, seed: int, clip_s: float = 10.0) -> SoundSettings:
    """Completes the settings with what follows from the preset."""
    values = simulation.model_dump() | {"clip_s": clip_s}
    for name, value in vars(PRESETS[simulation.preset]).items():
        if values.get(name) is None:
            values[name] = value
    names = [entry.name for entry in fields(SoundSettings) if entry.name not in ("version", "seed")]
    return SoundSettings(GENERATOR_VERSION, seed, **{name: values[name] for name in names})


def simulated_classes(classes: Sequence[str], may_lack_classes: bool) -> list[str]:
    """Lists the classes that have a synthetic sound.

    Args:
        classes: those wanted.
        may_lack_classes: leave out the others, with a note in the log.

    Raises:
        ConfigError: there are others and they must not be left out, or none has a sound.
    """
    from sed_task4.segmentation.simulation.plans import LABEL_SOUNDS

    lacking = [name for name in classes if name not in LABEL_SOUNDS]
    if lacking and (not may_lack_classes or len(lacking) == len(classes)):
        raise ConfigError(
            f"There is no synthetic sound for {', '.join(lacking)}. Expected: classes among "
            f"{', '.join(LABEL_SOUNDS)}. Change `dataset.classes`, or mix real recordings."
        )
    if lacking:
        logger.warning(
            "There is no synthetic sound for %s: these classes are left out.", ", ".join(lacking)
        )
    return [name for name in classes if name in LABEL_SOUNDS]


@dataclass(frozen=True)
class _Job:
    """What is to be simulated, and where."""

    root: Path
    dataset: DatasetConfig
    simulation: SimulationConfig
    settings: SoundSettings

    @property
    def sounds_dir(self) -> Path:
        """Folder of the table of the sounds."""
        return self.root / self.dataset.events_dir.expanduser()

    @property
    def scenes_dir(self) -> Path:
        """Folder of the table of the scenes."""
        return scenes_folder(self.root, self.dataset)

    def plans(self, annotations: Path | None) -> "tuple[list[EventFile], list[SceneFile]]":
        """Plans all files, those of given tables or drawn ones."""
        from sed_task4.segmentation.simulation.plans import plan_scenes, plan_sounds

        if annotations is not None:
            return self._given(Path(annotations))
        settings = self.settings
        classes = simulated_classes(
            self.dataset.classes, PRESETS[self.simulation.preset].may_lack_classes
        )
        sounds = plan_sounds(
            classes, settings.files_per_class, settings.verified_share, settings.seed
        )
        return sounds, plan_scenes(settings.scenes)

    def _given(self, folder: Path) -> "tuple[list[EventFile], list[SceneFile]]":
        from sed_task4.segmentation.simulation.plans import SCENE_SOUNDS, SceneFile

        sounds_table, scenes_table = folder / "train.csv", folder / "meta.csv"
        if not sounds_table.is_file() and not scenes_table.is_file():
            raise DataError(
                f"There is neither a train.csv nor a meta.csv in {folder}. Correct --annotations."
            )
        sounds: list[EventFile] = []
        scenes: list[SceneFile] = []
        if sounds_table.is_file():
            listed = parse_event_files(
                read_text(sounds_table, "Correct --annotations."), str(sounds_table)
            )
            may_lack = PRESETS[self.simulation.preset].may_lack_classes
            known = simulated_classes(sorted({file.label for file in listed}), may_lack)
            sounds = [file for file in listed if file.label in known]
        if scenes_table.is_file():
            rows = parse_scenes(
                read_text(scenes_table, "Correct --annotations."), str(scenes_table)
            )
            unknown = sorted({label for _, label in rows} - set(SCENE_SOUNDS))
            if unknown:
                raise DataError(
                    f"{scenes_table}: unknown scene(s) {', '.join(unknown)}. Expected:"
                    f" {', '.join(SCENE_SOUNDS)}. Correct the table."
                )
            scenes = [
                SceneFile(name, label, "-".join(name.split("-")[1:3])) for name, label in rows
            ]
        return sounds, scenes

    def stored_settings(
        self, sounds: "Sequence[EventFile]", scenes: "Sequence[SceneFile]", annotations: Path | None
    ) -> dict[str, Any]:
        """Lists all that decides the content of the files, as JSON stores it."""
        from sed_task4.segmentation.simulation.plans import format_scenes, format_sounds

        files = text_digest([format_sounds(sounds), format_scenes(scenes)])
        given = (
            {"annotations": True} if annotations else {}
        )  # beside drawn files nothing is said of any
        return as_stored({**asdict(self.settings), "files": files, **given})

    def open_folder(
        self,
        sounds: "Sequence[EventFile]",
        scenes: "Sequence[SceneFile]",
        annotations: Path | None,
        overwrite: bool,
    ) -> dict[str, Any]:
        """Makes the dataset folder, or checks that what it holds belongs together with what is to
        be written.

        Returns:
            All that decides the content of the files, as the folder stores it.
        """
        from sed_task4.segmentation.mixing import forget_mixtures

        stored = self.stored_settings(sounds, scenes, annotations)
        folders = [
            self.sounds_dir,
            self.scenes_dir,
            self.sounds_dir / "audio_train",
            self.scenes_dir / "audio",
        ]
        check_root(self.root, stored, folders, overwrite)
        if read_settings(self.root / SETTINGS_FILE) not in (None, stored):
            forget_mixtures(
                self.root, self.dataset
            )  # before the new settings are written: it may be killed
        prepare_root(self.root, stored, folders, DATASET_NAME, overwrite)
        return stored

    def render(
        self,
        sounds: "Sequence[EventFile]",
        scenes: "Sequence[SceneFile]",
        scratch: Path,
        parallel: ParallelConfig,
        overwrite: bool,
        progress: bool,
    ) -> tuple[list[str], float]:
        """Renders what is missing; returns the names of the files and their duration together in
        seconds."""
        from sed_task4.segmentation.simulation import rendering

        studio = rendering.Studio(
            self.sounds_dir / "audio_train", self.scenes_dir / "audio", self.settings, scratch
        )
        new_sounds = [
            file for file in sounds if overwrite or not (studio.sounds_dir / file.name).is_file()
        ]
        new_scenes = [
            file for file in scenes if overwrite or not (studio.scenes_dir / file.name).is_file()
        ]
        audio_s = 0.0
        if new_sounds:
            write = partial(rendering.write_sound, studio=studio)
            audio_s += (
                _counted(write, new_sounds, parallel, "sounds", progress)
                / self.settings.sound_rate_hz
            )
        if new_scenes:
            _build_loops(new_scenes, studio, parallel)
            write = partial(rendering.write_scene, studio=studio)
            audio_s += (
                _counted(write, new_scenes, parallel, "scenes", progress)
                / self.settings.scene_rate_hz
            )
        return [file.name for file in new_sounds] + [file.name for file in new_scenes], audio_s

    def write_tables(self, sounds: "Sequence[EventFile]", scenes: "Sequence[SceneFile]") -> None:
        """Writes the tables last: whoever finds them finds what they list."""
        from sed_task4.segmentation.simulation.plans import format_scenes, format_sounds

        if sounds:
            write_text(self.sounds_dir / "train.csv", format_sounds(sounds))
        if scenes:
            write_text(self.scenes_dir / "meta.csv", format_scenes(scenes))


def _build_loops(scenes: "Sequence[SceneFile]", studio: "Studio", parallel: ParallelConfig) -> None:
    from sed_task4.segmentation.simulation.plans import SCENE_SOUNDS
    from sed_task4.segmentation.simulation.rendering import build_loop

    kinds = sorted({kind for file in scenes for kind in SCENE_SOUNDS[file.label].loops})
    wanted = [(kind, number) for kind in kinds for number in range(studio.settings.loops_per_kind)]
    for _ in parallel_map(
        partial(build_loop, settings=studio.settings, scratch=studio.scratch), wanted, parallel
    ):
        pass


def _counted(
    write: Any, files: Sequence[Any], parallel: ParallelConfig, what: str, progress: bool
) -> int:
    """Writes files in parallel with a progress bar; returns their samples together."""
    from tqdm import tqdm

    return sum(
        tqdm(
            parallel_map(write, files, parallel),
            total=len(files),
            desc=what,
            unit="file",
            disable=not progress,
        )
    )
