"""Simulated clips in the layouts of DCASE task 4.

Subsets are weakly labelled, unlabelled, synthetic and strongly labelled, or windows with soft
labels. A clip depends only on the
seed, the settings and its own name: not on the number of processes, other subsets or the order.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from common.errors import ConfigError
from common.io.files import write_text
from common.simulation.dataset_folder import text_digest
from common.simulation.own_recordings import background_digest, source_digest
from common.simulation.simulator import SimulationReport, Simulator, without_unused
from common.simulation.sound_bank import SoundBank, check_rate
from common.simulation.source_selection import (
    SoundSelection,
    count_sources,
    mixed,
    report_bandwidths,
    report_recordings,
    select_backgrounds,
    select_sounds,
)
from sed_task4.clips.layouts import LAYOUTS, SUFFIXES, Layout, subset_place
from sed_task4.dataset import DatasetConfig
from sed_task4.simulation import plans as planning
from sed_task4.simulation import rendering
from sed_task4.simulation.plans import SETS, SUBSETS, TEST_EVERY, ClipPlan, sound_sets
from sed_task4.simulation.settings import (
    SceneSettings,
    SimulationConfig,
    scene_settings,
    subsets_of_settings,
)
from sed_task4.simulation.windows import format_soft, is_windowed, name_recordings, plan_recording

logger = logging.getLogger(__name__)

DATASET_NAMES: Mapping[Layout, str] = {
    "dcase2019": "DCASE 2019 task 4 (DESED)",
    "dcase2018": "DCASE 2018 task 4",
    "desed2020": "DCASE 2020 task 4 (DESED)",
    "desed2021": "DCASE task 4 of 2021 to 2023 (DESED)",
    "desed2024": "DCASE 2024 task 4 (DESED and MAESTRO Real)",
}
FORMATS: Mapping[str, Callable[[Iterable[ClipPlan]], str]] = {
    "weak": planning.format_weak,
    "strong": planning.format_strong,
    "unlabelled": planning.format_names,
}


@dataclass(frozen=True)
class Task4Simulator(Simulator[ClipPlan, SoundBank | None]):
    """Clips and their metadata; subsets can be added later.

    Attributes:
        simulation: sizes, levels and sounds.
        dataset: layout, classes and length of a clip; data of 2018 lie in `root`/dataset.
        subsets: subsets to write; None: all of the layout. Not used with annotations.
        highest_hz: upper edge of the highest band of the features; None: unknown.
    """

    unit: ClassVar[str] = "clips"

    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    subsets: Sequence[str] | None = None
    highest_hz: float | None = None

    @classmethod
    def of_task(cls, task: Any, annotations: Path | None = None) -> "Task4Simulator":
        """Simulates the layout and the subsets that a task reads."""
        common = {"seed": task.seed, "parallel": task.parallel, "annotations": annotations}
        folder = Path(task.dataset_dir)
        highest_hz = task.features.highest_hz(task.dataset.sample_rate_hz)
        return cls(folder, task.simulation, task.dataset, task.set_names, highest_hz, **common)

    @cached_property
    def settings(self) -> SceneSettings:
        """Complete settings of the scenes."""
        return scene_settings(self.simulation, self.seed, self.dataset.clip_s)

    @property
    def dataset_name(self) -> str:
        """The real dataset of this layout, for the README."""
        return DATASET_NAMES[self.dataset.layout]

    @property
    def data_root(self) -> Path:
        """The folder of audio/ and metadata/."""
        return self.root / "dataset" if self.dataset.layout == "dcase2018" else self.root

    def content(self) -> dict[str, Any]:
        """Lists everything that the content of the clips depends on."""
        suffixes = SUFFIXES[self.dataset.layout] if self.annotations else ()
        folder = self.annotations or self.root
        given = sorted(path for suffix in suffixes for path in folder.glob(f"*{suffix}"))
        settings = without_unused(
            asdict(self.settings), {"synthetic_share": 0.0, "recipes": "plain"}
        )
        kept = subsets_of_settings(LAYOUTS[self.dataset.layout])
        numbers = settings["clips_per_subset"].items()
        settings["clips_per_subset"] = {name: n for name, n in numbers if name in kept}
        sources, backgrounds = self.simulation.source_dir, self.simulation.background_dir
        titles = tuple(SETS.values())
        return {
            **settings,
            "layout": self.dataset.layout,
            "classes": self.dataset.classes,
            "own_recordings": source_digest(sources, self.dataset.classes, titles),
            "own_backgrounds": background_digest(backgrounds, titles),
            "annotations": text_digest([path.read_text("utf-8", "replace") for path in given]),
        }

    def folders(self) -> list[Path]:
        """Lists the folders of clips and metadata, of both layouts."""
        places = [place for layout in LAYOUTS.values() for place in layout.values()]
        audio = {place.audio for place in places}
        metadata = {str(Path(place.metadata).parent) for place in places}
        roots = self.root, self.root / "dataset"
        return [root / name for root in roots for name in sorted(audio | metadata)]

    def plan(self, scratch: Path) -> tuple[list[ClipPlan], SoundBank | None]:
        """Plans the clips and reads own recordings, whose durations are those of events."""
        check_rate(self.settings.sample_rate_hz)
        if self.annotations is not None:
            given = planning.plan_annotations(self.annotations, self.dataset)
            return given, self._bank({plan.set_number for plan in given}, scratch)
        subsets, settings = self._whole_subsets(), self.settings
        bank = self._bank({SUBSETS[subset].set_number for subset in subsets}, scratch)
        plans: list[ClipPlan] = []
        for subset in subsets:
            own_s = self._own_durations_s(bank, SUBSETS[subset].set_number)
            plans += self._plans_of(subset, own_s)
        if not plans:
            raise ConfigError(
                f"No clip to simulate. Expected: clips in one of the subsets {', '.join(subsets)}."
                f" Received: `simulation.clips_per_subset: {settings.clips_per_subset}`."
            )
        return plans, bank

    def _plans_of(self, subset: str, own_s: Mapping[str, Sequence[float]]) -> list[ClipPlan]:
        """Plans the clips of a subset, or the recordings of its windows, with its own classes."""
        settings, n_clips = self.settings, self.settings.clips_per_subset[subset]
        known = subset_place(self.dataset.layout, subset).classes or self.dataset.classes
        classes = [name for name in self.dataset.classes if name in known]
        if not classes:
            raise ConfigError(
                f"No class of {subset} can be simulated. Expected: some of {', '.join(known)} in"
                f" `dataset.classes`. Received: {', '.join(self.dataset.classes)}."
            )
        if is_windowed(subset):
            slots = name_recordings(subset, n_clips, settings.clip_s)
            return [plan_recording(slot, settings, classes, own_s) for slot in slots]
        slots = planning.name_clips(subset, n_clips)
        return [planning.plan_clip(slot, settings, classes, own_s) for slot in slots]

    def _whole_subsets(self) -> list[str]:
        """Lists the subsets to write; the lists of validation clips belong to their subset."""
        layout = self.dataset.layout
        wanted = list(LAYOUTS[layout]) if self.subsets is None else list(self.subsets)
        for subset in wanted:
            subset_place(layout, subset)
        parts = planning.PARTS_OF_VALIDATION
        whole = ("validation" if name in parts else name for name in wanted)
        return list(dict.fromkeys(whole))

    def select_sounds(self, set_numbers: Iterable[int]) -> list[SoundSelection]:
        """Selects the sounds of each class in some sets."""
        sets, sounds = sound_sets(self.dataset.layout), planning.EVENT_SOUNDS
        folders, numbers = self.simulation.source_dir, sorted(set_numbers)
        selected = select_sounds(
            self.dataset.classes, numbers, sets, sounds, self.settings, folders
        )
        if self.highest_hz is not None:
            report_bandwidths(selected, self.highest_hz)
        if folders is None:
            return selected
        limits = self.settings.sample_rate_hz, self.settings.longest_source_s
        report_recordings(selected, SETS, *limits, folders)
        return mixed(selected, sounds, self.settings.synthetic_share)

    def _bank(self, set_numbers: Iterable[int], scratch: Path) -> SoundBank | None:
        numbers, folders = sorted(set_numbers), self.simulation.background_dir
        sets, settings = sound_sets(self.dataset.layout), self.settings
        wanted = self.select_sounds(numbers)
        wanted += select_backgrounds(folders, numbers, sets, settings)
        return rendering.build_bank(wanted, settings, scratch, self.parallel)

    def _own_durations_s(self, bank: SoundBank | None, set_number: int) -> dict[str, list[float]]:
        spans = bank.spans if bank is not None else {}
        rate_hz = self.settings.sample_rate_hz
        return {
            name: [(stop - start) / rate_hz for start, stop in spans[name, set_number]]
            for name in self.dataset.classes
            if (name, set_number) in spans
        }

    def is_written(self, plan: ClipPlan) -> bool:
        """True if the clip exists, or all windows of the recording."""
        root, layout = self.data_root, self.dataset.layout
        names = [each.name for each in rendering.files_of(plan, self.settings.clip_s)]
        paths = (rendering.audio_path(root, layout, plan.subset, name) for name in names)
        return all(path.is_file() for path in paths)

    def writer(
        self, pending: Sequence[ClipPlan], sounds: SoundBank | None, scratch: Path
    ) -> Callable[[ClipPlan], float]:
        """Makes the loops of voices and steps."""
        real_sets = sorted({plan.set_number for plan in pending if plan.domain.real})
        rendering.build_loops(real_sets, self.settings, scratch, self.parallel)
        layout, settings = self.dataset.layout, self.settings
        context = rendering.RenderContext(self.data_root, layout, settings, sounds, scratch)
        return partial(rendering.write_clip, context=context)

    def write_metadata(self, plans: Sequence[ClipPlan]) -> None:
        """Writes the metadata of all subsets; 2018 gets empty files for absent subsets."""
        texts = self._empty_metadata()
        if self.annotations is not None:
            texts |= planning.given_metadata(self.annotations, self.dataset.layout)
        else:
            for subset in self._whole_subsets():
                texts |= self._metadata(subset, [plan for plan in plans if plan.subset == subset])
        suffixes = SUFFIXES[self.dataset.layout]
        # Readers of 2019 expect .tsv or .csv.
        written = suffixes if self.dataset.layout == "dcase2019" else suffixes[:1]
        for subset, text in texts.items():
            stem = self._metadata_stem(subset)
            for suffix in written:
                write_text(stem.with_name(stem.name + suffix), text)

    def _metadata_stem(self, subset: str) -> Path:
        return self.data_root / subset_place(self.dataset.layout, subset).metadata

    def _metadata(self, subset: str, plans: Sequence[ClipPlan]) -> dict[str, str]:
        """Formats the metadata of a subset, and of the lists that are parts of it."""
        kind = subset_place(self.dataset.layout, subset).kind
        if kind == "soft":
            return {subset: format_soft(plans, self.settings)}
        texts = {subset: FORMATS[kind](plans)}
        if subset == "validation" and self.dataset.layout == "dcase2019":
            rest = [plan for index, plan in enumerate(plans) if index % TEST_EVERY]
            texts["test_dcase2018"] = planning.format_strong(plans[::TEST_EVERY])
            texts["eval_dcase2018"] = planning.format_strong(rest)
        return texts

    def _empty_metadata(self) -> dict[str, str]:
        """Formats metadata of absent subsets of 2018, whose programs need all five files."""
        if self.dataset.layout != "dcase2018":
            return {}
        suffix, texts = SUFFIXES["dcase2018"][0], {}
        for subset, place in LAYOUTS["dcase2018"].items():
            stem = self._metadata_stem(subset)
            if not stem.with_name(stem.name + suffix).exists():
                texts[subset] = FORMATS[place.kind]([])
        return texts


def run(task: Any, annotations: Path | None = None, overwrite: bool = False) -> SimulationReport:
    """Simulates the dataset of a task.

    Args:
        task: settings of the task.
        annotations: folder with metadata files of strong labels to render instead of drawn scenes.
        overwrite: write existing files again.

    Raises:
        ConfigError: the task's classes or sample rate cannot be simulated.
        DataError: the folder holds other data.
    """
    sets = getattr(task, "sets", None)
    if task.simulation.source_dir is not None and sets is not None and sets.holds_out:
        logger.warning(
            f"The training and validation clips of {', '.join(sets.fractions)} share own"
            " recordings: validation scores will be too good. Validate on other recordings, e.g."
            " `sets.validate_on: validation`. Scores of test clips are not affected."
        )
    return Task4Simulator.of_task(task, annotations).run(overwrite)


def check(task: Any) -> None:
    """Compares a task's simulated dataset with its settings.

    Raises:
        DataError: it was simulated with other settings.
    """
    Task4Simulator.of_task(task).check()


def own_sources(task: Any) -> dict[tuple[str, str], tuple[int, int]]:
    """Counts groups and files of a task's own recordings by class and simulated set.

    Raises:
        ConfigError, DataError: see `common.simulation.source_selection.select_sounds`.
    """
    set_numbers = {SUBSETS[name].set_number for name in task.set_names if name in SUBSETS}
    return count_sources(Task4Simulator.of_task(task).select_sounds(set_numbers), SETS)
