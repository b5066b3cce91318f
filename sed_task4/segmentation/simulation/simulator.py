"""Simulated sounds and scenes for mixtures, in the layouts of DCASE 2018 task 2 and task 1.

A file depends only on the seed, the settings and its own name: not on the number of processes or
the order of work.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from common.errors import ConfigError, DataError
from common.io.files import write_text
from common.settings.folds import FoldConfig
from common.simulation.dataset_folder import SETTINGS_FILE, read_settings, text_digest
from common.simulation.own_recordings import background_digest, find_own_recordings, source_digest
from common.simulation.simulator import SimulationReport, Simulator, without_unused
from common.simulation.sound_bank import check_rate
from common.simulation.source_selection import (
    SoundSelection,
    SoundSets,
    mixed,
    parts_of_splits,
    report_bandwidths,
    report_recordings,
    select_backgrounds,
    select_sounds,
)
from sed_task4.segmentation import dataset as data
from sed_task4.segmentation.dataset import DatasetConfig, EventFile
from sed_task4.segmentation.mixing import forget_mixtures
from sed_task4.segmentation.mixture_lists import fold_titles
from sed_task4.segmentation.simulation import plans as planning
from sed_task4.segmentation.simulation import rendering
from sed_task4.segmentation.simulation.plans import LABEL_SOUNDS, SCENE_SOUNDS, OwnSource, SceneFile
from sed_task4.segmentation.simulation.settings import (
    PRESETS,
    SimulationConfig,
    SoundSettings,
    sound_settings,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentationSimulator(Simulator[EventFile | SceneFile, None]):
    """Sounds, scenes and their tables.

    Attributes:
        simulation: sizes and rates.
        dataset: classes, length of a scene, folders and number of folds.
        folds: those that are trained, which decide the use of own recordings with parts.
        highest_hz: upper edge of the highest band of the features; None: unknown.
    """

    unit: ClassVar[str] = "files"

    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    folds: Sequence[FoldConfig] = ()
    highest_hz: float | None = None

    @classmethod
    def of_task(cls, task: Any, annotations: Path | None = None) -> "SegmentationSimulator":
        """Simulates the sounds and scenes that a task mixes."""
        common = {"seed": task.seed, "parallel": task.parallel, "annotations": annotations}
        highest_hz = task.features.highest_hz(task.dataset.sample_rate_hz)
        folder = Path(task.dataset_dir)
        return cls(folder, task.simulation, task.dataset, task.folds, highest_hz, **common)

    @cached_property
    def settings(self) -> SoundSettings:
        """Complete settings of the files."""
        return sound_settings(self.simulation, self.seed, self.dataset.clip_s)

    @property
    def dataset_name(self) -> str:
        """The real datasets of these layouts, for the README."""
        return "DCASE 2018 task 2 (FSDKaggle2018) and task 1 (TUT Urban Acoustic Scenes 2018)"

    @property
    def sounds_dir(self) -> Path:
        """Folder of the table of the sounds."""
        return self.root / self.dataset.events_dir.expanduser()

    @property
    def scenes_dir(self) -> Path:
        """Folder of the table of the scenes."""
        return data.scenes_folder(self.root, self.dataset)

    @cached_property
    def sets(self) -> SoundSets:
        """Sets of own sounds, by fold."""
        titles = fold_titles(self.dataset.n_folds)
        return SoundSets(titles, parts_of_splits(titles, self.folds))

    @cached_property
    def own_sounds(self) -> tuple[list[EventFile], dict[str, OwnSource]]:
        """Sound files with own recordings among them, and their origin; none without any."""
        selections = self.select_sounds()
        n_files, share = self.settings.files_per_class, self.settings.synthetic_share
        return planning.plan_mixed_sounds(selections, n_files, share, self.seed)

    def select_sounds(self) -> list[SoundSelection]:
        """Selects the own recordings of each class and fold; none without a folder of them."""
        folders = self.simulation.source_dir
        if folders is None or self.annotations is not None:
            return []
        found = find_own_recordings(folders, self.dataset.classes, tuple(self.sets.titles.values()))
        may_lack = PRESETS[self.simulation.preset].may_lack_classes
        known = [name for name, paths in found.by_class.items() if paths]
        classes = simulated_classes(self.dataset.classes, may_lack, known)
        args = classes, list(self.sets.titles), self.sets, LABEL_SOUNDS, self.settings, folders
        selected = select_sounds(*args)
        if self.highest_hz is not None:
            report_bandwidths(selected, self.highest_hz)
        limits = self.settings.sound_rate_hz, self.settings.longest_source_s
        report_recordings(selected, self.sets.titles, *limits, folders)
        return mixed(selected, LABEL_SOUNDS, self.settings.synthetic_share)

    @cached_property
    def own_scenes(self) -> tuple[list[SceneFile], dict[str, OwnSource]]:
        """Scenes of own backgrounds, and their origin; none without any."""
        folders = self.simulation.background_dir
        if folders is None or self.annotations is not None:
            return [], {}
        found = select_backgrounds(folders, list(self.sets.titles), self.sets, self.settings)
        return planning.plan_own_scenes(self.settings.scenes, self.dataset.n_folds, found)

    @cached_property
    def sounds(self) -> list[EventFile]:
        """Sound files: those of a given train.csv, of own recordings, or drawn ones."""
        may_lack = PRESETS[self.simulation.preset].may_lack_classes
        if self.own_sounds[0]:
            return self.own_sounds[0]
        if self.annotations is None:
            chosen, n_files = self.settings, self.settings.files_per_class
            classes = simulated_classes(self.dataset.classes, may_lack)
            return planning.plan_sounds(classes, n_files, chosen.verified_share, chosen.seed)
        table = self.annotations / "train.csv"
        if not table.is_file():
            return []
        text = data.read_text(table, "Correct --annotations.")
        listed = data.parse_event_files(text, str(table))
        known = simulated_classes(sorted({file.label for file in listed}), may_lack)
        return [file for file in listed if file.label in known]

    @cached_property
    def scenes(self) -> list[SceneFile]:
        """Scenes: those of a given meta.csv, of own backgrounds, or drawn ones."""
        if self.own_scenes[0]:
            return self.own_scenes[0]
        if self.annotations is None:
            return planning.plan_scenes(self.settings.scenes)
        table = self.annotations / "meta.csv"
        if not table.is_file():
            return []
        rows = data.parse_scenes(data.read_text(table, "Correct --annotations."), str(table))
        unknown = sorted({label for _, label in rows} - set(SCENE_SOUNDS))
        if unknown:
            known = ", ".join(SCENE_SOUNDS)
            raise DataError(
                f"{table}: unknown scene(s) {', '.join(unknown)}. Expected: {known}. Correct it."
            )
        return [SceneFile(name, label, "-".join(name.split("-")[1:3])) for name, label in rows]

    def content(self) -> dict[str, Any]:
        """Lists everything that the content of the files depends on."""
        folder = self.annotations
        if folder and not any((folder / name).is_file() for name in ("train.csv", "meta.csv")):
            raise DataError(f"No train.csv and no meta.csv in {folder}. Correct --annotations.")
        texts = self._tables()
        # Folders of drawn files have no such key, so that those of earlier versions are accepted.
        given = {"annotations": True} if folder else {}
        settings = without_unused(asdict(self.settings), {"recipes": "plain"})
        if self.simulation.source_dir is None:  # as in earlier versions
            for name in ("on_missing", "longest_source_s", "synthetic_share"):
                del settings[name]
        return {**settings, "files": text_digest(list(texts)), **given, **self._own_digests()}

    def _own_digests(self) -> dict[str, Any]:
        """Digests of own recordings and backgrounds; nothing without any."""
        sources, backgrounds = self.simulation.source_dir, self.simulation.background_dir
        titles = tuple(self.sets.titles.values())
        digests = {
            "own_recordings": source_digest(sources, self.dataset.classes, titles),
            "own_backgrounds": background_digest(backgrounds, titles),
        }
        return {name: each for name, each in digests.items() if each is not None}

    def _tables(self) -> tuple[str, str]:
        """Formats the tables of the sounds and of the scenes."""
        own_sounds, own_scenes = self.own_sounds[0], self.own_scenes[0]
        sounds = planning.format_own_sounds if own_sounds else planning.format_sounds
        scenes = planning.format_own_scenes if own_scenes else planning.format_scenes
        return sounds(self.sounds), scenes(self.scenes)

    def folders(self) -> list[Path]:
        """Lists the folders of tables, sounds and scenes."""
        sounds, scenes = self.sounds_dir, self.scenes_dir
        return [sounds, scenes, sounds / "audio_train", scenes / "audio"]

    def plan(self, scratch: Path) -> tuple[list[EventFile | SceneFile], None]:
        """Lists all sounds and scenes."""
        own = self.simulation.source_dir, self.simulation.background_dir
        if self.annotations is not None and any(own):
            text = "%s: own recordings are not used, since the files of given tables are rendered."
            logger.warning(text, self.annotations)
        check_rate(self.settings.sound_rate_hz)
        return [*self.sounds, *self.scenes], None

    def is_written(self, plan: EventFile | SceneFile) -> bool:
        """True if the file exists."""
        *_, sounds, scenes = self.folders()
        return ((sounds if isinstance(plan, EventFile) else scenes) / plan.name).is_file()

    def writer(
        self, pending: Sequence[EventFile | SceneFile], sounds: None, scratch: Path
    ) -> Callable[[EventFile | SceneFile], float]:
        """Makes the loops of scenes."""
        *_, sounds_dir, scenes_dir = self.folders()
        own = self.own_sounds[1] | self.own_scenes[1]
        context = rendering.RenderContext(sounds_dir, scenes_dir, self.settings, scratch, own)
        scenes = [file for file in pending if isinstance(file, SceneFile)]
        rendering.build_loops(scenes, context, self.parallel)
        return partial(rendering.write_file, context=context)

    def write_metadata(self, plans: Sequence[EventFile | SceneFile]) -> None:
        """Writes the tables last: all their files exist."""
        sounds, scenes = self._tables()
        if self.sounds:
            write_text(self.sounds_dir / "train.csv", sounds)
        if self.scenes:
            write_text(self.scenes_dir / "meta.csv", scenes)

    def remove_derived(self, stored: dict[str, Any]) -> None:
        """Removes mixtures of files of other settings.

        This precedes the new settings, so that a killed simulation leaves no outdated mixtures.
        """
        settings = read_settings(self.root / SETTINGS_FILE)
        if settings not in (None, stored):
            forget_mixtures(self.root, self.dataset)


def run(task: Any, annotations: Path | None = None, overwrite: bool = False) -> SimulationReport:
    """Simulates the sounds and scenes that a task mixes.

    Args:
        task: settings; `dataset_dir`, `dataset`, `simulation`, `seed` and `parallel` are used.
        annotations: folder with a train.csv, a meta.csv or both, to be rendered as they are.
        overwrite: write existing files again.

    Raises:
        ConfigError: a class has no synthetic sound.
        DataError: the folder holds other data, or annotations cannot be used.
    """
    return SegmentationSimulator.of_task(task, annotations).run(overwrite)


def check(task: Any) -> None:
    """Compares a task's simulated dataset with its settings.

    Raises:
        ConfigError: a class has no synthetic sound.
        DataError: it was simulated with other settings.
    """
    SegmentationSimulator.of_task(task).check()


def simulated_classes(
    classes: Sequence[str], may_lack_classes: bool, own: Sequence[str] = ()
) -> list[str]:
    """Lists the classes that have a synthetic sound or own recordings.

    Args:
        classes: classes of the task or of given annotations.
        may_lack_classes: leave out the others, with a note in the log.
        own: classes with own recordings.

    Raises:
        ConfigError: a class, or with `may_lack_classes` every class, has neither.
    """
    known = {*LABEL_SOUNDS, *own}
    lacking = [name for name in classes if name not in known]
    if lacking and (not may_lack_classes or len(lacking) == len(classes)):
        raise ConfigError(
            f"There is no synthetic sound for {', '.join(lacking)}. Expected: classes among "
            f"{', '.join(LABEL_SOUNDS)}. Change `dataset.classes`, or mix real recordings."
        )
    if lacking:
        logger.warning("No synthetic sound for %s: these classes are left out.", ", ".join(lacking))
    return [name for name in classes if name in known]
