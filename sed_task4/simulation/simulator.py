"""Simulated clips in the layouts of DCASE task 4, 2018 and 2019: weak, unlabelled, synthetic and
strongly labelled.

What a clip contains depends on the seed, the settings and its own name only: never on the number of
processes, on the subsets that are written with it, or on the order of work.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from common.errors import ConfigError
from common.io.files import write_text
from common.runtime.parallel import ParallelConfig, parallel_map
from common.settings.section import Section
from common.simulation.dataset_folder import (
    SimulationReport,
    as_stored,
    check_root,
    check_same_simulation,
    finish_root,
    prepare_root,
    scratch_folder,
    text_digest,
)
from sed_task4.dataset import LAYOUTS, SUFFIXES, DatasetConfig, Layout, subset_place

if TYPE_CHECKING:  # importing what renders takes a second: settings are read without it
    from common.simulation.sound_bank import SoundBank
    from sed_task4.simulation.plans import ClipPlan

logger = logging.getLogger(__name__)

GENERATOR_VERSION = "1"  # changes whenever the same settings would give other samples
DATASET_NAMES: Mapping[Layout, str] = {
    "dcase2019": "DCASE 2019 task 4 (DESED)",
    "dcase2018": "DCASE 2018 task 4",
}


@dataclass(frozen=True)
class Preset:
    """Sizes of a dataset."""

    clips: Mapping[str, int]
    loops_per_set: int = 4


PRESETS = {
    "fixture": Preset(
        {
            "weak": 6,
            "unlabel_in_domain": 4,
            "unlabel_out_of_domain": 2,
            "synthetic": 6,
            "validation": 6,
            "test": 6,
            "eval": 4,
        },
        loops_per_set=1,
    ),
    "demo": Preset(
        {
            "weak": 400,
            "unlabel_in_domain": 400,
            "unlabel_out_of_domain": 100,
            "synthetic": 200,
            "validation": 150,
            "test": 150,
            "eval": 100,
        }
    ),
    "gpu": Preset(
        {
            "weak": 1578,
            "unlabel_in_domain": 4000,
            "unlabel_out_of_domain": 1000,
            "synthetic": 2045,
            "validation": 1168,
            "test": 288,
            "eval": 692,
        }
    ),
    "full": Preset(
        {
            "weak": 1578,
            "unlabel_in_domain": 14412,
            "unlabel_out_of_domain": 4000,
            "synthetic": 2045,
            "validation": 1168,
            "test": 288,
            "eval": 880,
        }
    ),
}


class SimulationConfig(Section):
    """Simulated clips; what is null follows from the preset."""

    preset: Literal["fixture", "demo", "gpu", "full"] = Field(
        "demo",
        description=(
            "Size: fixture (a minute or two of audio, for tests), demo (1150 clips), gpu, full."
        ),
    )
    clips_per_subset: dict[str, int] | None = Field(
        None, description="Numbers of clips that differ from the preset's, e.g. {weak: 200}."
    )
    sample_rate_hz: int = Field(
        44100, ge=8000, description="Of the files; features resample what they read."
    )
    synthetic_snr_db: tuple[float, float] = Field(
        (6.0, 30.0),
        description="Range of the power of events against the background in the synthetic subset.",
    )
    real_snr_db: tuple[float, float] = Field(
        (0.0, 20.0), description="The same in all other subsets."
    )
    domain_gap: bool = Field(
        True,
        description=(
            "Whether all but the synthetic subset differ from it in level, colour and"
            " reverberation."
        ),
    )
    variation: float = Field(
        1.0, ge=0, le=1, description="How much synthetic examples of a class differ."
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
    background_dir: Path | None = Field(
        None,
        description=(
            "Own backgrounds in any folders below; null: synthetic ones. All of one source, by "
            "`file,group` of a metadata.csv, are in one split."
        ),
    )

    @field_validator("clips_per_subset")
    @classmethod
    def _subsets_exist(cls, value: dict[str, int] | None) -> dict[str, int] | None:
        known = PRESETS["demo"].clips
        if value is not None and (set(value) - set(known) or any(n < 0 for n in value.values())):
            raise ValueError(
                f"subsets are {', '.join(known)}, with no negative number of clips. Received:"
                f" {value}."
            )
        return value

    @field_validator("synthetic_snr_db", "real_snr_db")
    @classmethod
    def _ranges_rise(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] <= value[1]:
            raise ValueError(f"a range is [lowest, highest]. Received: {list(value)}.")
        return value


@dataclass(frozen=True)
class SceneSettings:
    """Everything that decides what the clips contain; stored in the dataset folder and compared
    with it."""

    version: str
    seed: int
    clips_per_subset: dict[str, int]
    loops_per_set: int
    clip_s: float
    sample_rate_hz: int
    synthetic_snr_db: tuple[float, float]
    real_snr_db: tuple[float, float]
    domain_gap: bool
    variation: float
    on_missing: Literal["synth", "error"]
    longest_source_s: float


def run(task: Any, annotations: Path | None = None, overwrite: bool = False) -> SimulationReport:
    """Simulates the dataset that a task reads: its layout and its subsets.

    Args:
        task: settings of the task.
        annotations: folder with metadata files of strong labels to render instead of drawn scenes.
        overwrite: write again what is there.

    Raises:
        ConfigError: the task's classes cannot be simulated.
        DataError: the folder holds other data.
    """
    simulation: SimulationConfig = task.simulation
    sets = getattr(task, "sets", None)
    if simulation.source_dir is not None and sets is not None and sets.holds_out:
        logger.warning(
            "The clips of %s share own recordings, and a part of them validates: its scores will be"
            " too good. Let other recordings decide, e.g. `sets.validate_on: validation`. Scores of"
            " test clips are not affected.",
            sets.train,
        )
    return simulate_task4(
        Path(task.dataset_dir),
        simulation,
        subsets=task.set_names,
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
    settings = scene_settings(task.simulation, task.seed, task.dataset.clip_s)
    job = _Job(Path(task.dataset_dir), task.simulation, settings, task.dataset, task.parallel)
    check_same_simulation(job.root, lambda: job.stored_settings(None))


def own_sources(task: Any) -> dict[tuple[str, str], tuple[int, int]]:
    """Deals the own recordings of a task; gives groups and files of each class and split that is
    simulated.

    Raises:
        ConfigError, DataError: see `sed_task4.simulation.rendering.order_sounds`.
    """
    from sed_task4.simulation.plans import SETS, SUBSETS
    from sed_task4.simulation.rendering import order_sounds

    settings = scene_settings(task.simulation, task.seed, task.dataset.clip_s)
    drawn = [subset for subset in task.set_names if subset in SUBSETS]
    wanted = sorted({SUBSETS[subset].set_number for subset in drawn})
    orders = order_sounds(task.dataset.classes, wanted, settings, task.simulation.source_dir)
    return {
        (each.class_name, SETS[each.set_number]): (each.n_groups, len(each.recordings))
        for each in orders
    }


def simulate_task4(
    root: Path,
    simulation: SimulationConfig | None = None,
    *,
    subsets: Iterable[str] | None = None,
    layout: Layout | None = None,
    seed: int = 0,
    parallel: ParallelConfig | None = None,
    annotations: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    dataset: DatasetConfig | None = None,
) -> SimulationReport:
    """Writes simulated clips and their metadata; clips that are there are not rendered again.

    Args:
        root: dataset folder; must be new, empty, or hold clips of the same settings. Under 2018 the
            data lie in `root`/dataset.
        simulation: sizes, levels and sounds; None: the defaults.
        subsets: which to write; None: all of the layout. Subsets can be added later.
        layout: replaces that of `dataset`.
        seed: decides everything random.
        parallel: number of processes and their engine; None: one process per core.
        annotations: folder with metadata files of strong labels to render instead of drawn scenes;
            `subsets` is not used then.
        overwrite: write again what is there, also where it was simulated with other settings.
        progress: show a progress bar.
        dataset: layout, classes and length of a clip; None: those of DCASE 2019.

    Returns:
        What was done.

    Raises:
        ConfigError: the classes cannot be simulated, or the layout lacks a subset.
        DataError: the folder holds other data, annotations or own recordings cannot be used, or the
            disk is full.
    """
    started_s = time.perf_counter()
    dataset = dataset or DatasetConfig()
    if layout is not None:
        dataset = dataset.model_copy(update={"layout": layout})
    simulation = simulation or SimulationConfig()
    settings = scene_settings(simulation, seed, dataset.clip_s)
    job = _Job(Path(root), simulation, settings, dataset, parallel or ParallelConfig())
    stored = job.stored_settings(annotations)
    check_root(
        job.root, stored, job.folders(), overwrite
    )  # own recordings are read, into the folder, before all else
    with scratch_folder(job.root) as scratch:
        plans, metadata, bank = (
            job.given(annotations, scratch) if annotations else job.drawn(subsets, scratch)
        )
        prepare_root(job.root, stored, job.folders(), DATASET_NAMES[dataset.layout], overwrite)
        pending = [plan for plan in plans if overwrite or not job.audio_path(plan).is_file()]
        audio_s = job.render(pending, bank, scratch, progress) if pending else 0.0
    for subset, text in metadata.items():
        job.write_metadata(subset, text)
    job.complete_metadata()
    finish_root(job.root, stored)
    written = {job.audio_path(plan): plan.name for plan in pending}
    skipped = tuple(plan.name for plan in plans if job.audio_path(plan) not in written)
    elapsed_s = time.perf_counter() - started_s
    report = SimulationReport(job.root, tuple(written.values()), skipped, audio_s, elapsed_s)
    logger.info(
        "%s: %d clips written (%.0f times real time), %d were there.",
        root,
        len(written),
        report.real_time_factor,
        len(skipped),
    )
    return report


def scene_settings(simulation: SimulationConfig, seed: int, clip_s: float = 10.0) -> SceneSettings:
    """Completes the settings with what follows from the preset."""
    preset = PRESETS[simulation.preset]
    values = simulation.model_dump() | {
        "clips_per_subset": {**preset.clips, **(simulation.clips_per_subset or {})},
        "loops_per_set": preset.loops_per_set,
        "clip_s": clip_s,
    }
    names = [entry.name for entry in fields(SceneSettings) if entry.name not in ("version", "seed")]
    return SceneSettings(GENERATOR_VERSION, seed, **{name: values[name] for name in names})


@dataclass(frozen=True)
class _Job:
    """What is to be simulated, where, and by how many processes."""

    root: Path
    simulation: SimulationConfig
    settings: SceneSettings
    dataset: DatasetConfig
    parallel: ParallelConfig

    @property
    def data_root(self) -> Path:
        """The folder that holds audio/ and metadata/."""
        return self.root / "dataset" if self.dataset.layout == "dcase2018" else self.root

    def audio_path(self, plan: "ClipPlan") -> Path:
        """Says where a clip is written."""
        return self.data_root / subset_place(self.dataset.layout, plan.subset).audio / plan.name

    def folders(self) -> list[Path]:
        """Lists the folders of clips and metadata, of both layouts."""
        places = [place for layout in LAYOUTS.values() for place in layout.values()]
        names = sorted(
            {name for place in places for name in (place.audio, str(Path(place.metadata).parent))}
        )
        return [root / name for root in (self.root, self.root / "dataset") for name in names]

    def stored_settings(self, annotations: Path | None) -> dict[str, Any]:
        """Lists all that decides the content of the clips, as JSON stores it."""
        from common.simulation.own_recordings import background_digest, source_digest

        simulation = self.simulation
        suffixes = SUFFIXES[self.dataset.layout] if annotations else ()
        given = sorted(
            path for suffix in suffixes for path in Path(annotations or "").glob(f"*{suffix}")
        )
        return as_stored(
            {
                **asdict(self.settings),
                "layout": self.dataset.layout,
                "classes": self.dataset.classes,
                "own_recordings": source_digest(simulation.source_dir, self.dataset.classes),
                "own_backgrounds": background_digest(simulation.background_dir),
                "annotations": text_digest([path.read_text("utf-8", "replace") for path in given]),
            }
        )

    def given(
        self, annotations: Path, scratch: Path
    ) -> "tuple[list[ClipPlan], dict[str, str], SoundBank | None]":
        """Plans the clips of given annotations; returns them, the metadata of each subset, and own
        recordings."""
        from sed_task4.simulation.plans import plan_annotations

        plans, texts = plan_annotations(annotations, self.dataset)
        return plans, texts, self._bank({plan.set_number for plan in plans}, scratch)

    def drawn(
        self, subsets: Iterable[str] | None, scratch: Path
    ) -> "tuple[list[ClipPlan], dict[str, str], SoundBank | None]":
        """Draws the clips of subsets; returns them, the metadata of each subset, and own
        recordings."""
        from sed_task4.simulation.plans import SUBSETS, name_clips, plan_clip

        named = self._whole_subsets(subsets)
        bank = self._bank({SUBSETS[subset].set_number for subset in named}, scratch)
        plans: list[ClipPlan] = []
        texts: dict[str, str] = {}
        for subset in named:
            own_s = self._own_durations_s(bank, SUBSETS[subset].set_number)
            slots = name_clips(subset, self.settings.clips_per_subset[subset])
            drawn = [plan_clip(slot, self.settings, self.dataset.classes, own_s) for slot in slots]
            plans += drawn
            texts |= self._metadata(subset, drawn)
        if not plans:
            raise ConfigError(
                "No clip is to be simulated. Expected: clips in one of the subsets"
                f" {', '.join(named)}. Received: `simulation.clips_per_subset:"
                f" {self.settings.clips_per_subset}`."
            )
        return plans, texts, bank

    def _whole_subsets(self, subsets: Iterable[str] | None) -> list[str]:
        """Lists the subsets to write; lists of validation clips come with those."""
        from sed_task4.simulation.plans import PARTS_OF_VALIDATION

        wanted = list(LAYOUTS[self.dataset.layout]) if subsets is None else list(subsets)
        for subset in wanted:
            subset_place(self.dataset.layout, subset)
        return list(
            dict.fromkeys("validation" if name in PARTS_OF_VALIDATION else name for name in wanted)
        )

    def _bank(self, set_numbers: Iterable[int], scratch: Path) -> "SoundBank | None":
        from sed_task4.simulation import rendering

        orders = rendering.order_sounds(
            self.dataset.classes, sorted(set_numbers), self.settings, self.simulation.source_dir
        )
        return rendering.build_bank(
            orders, self.settings, self.simulation.background_dir, scratch, self.parallel
        )

    def _own_durations_s(self, bank: "SoundBank | None", set_number: int) -> dict[str, list[float]]:
        spans = bank.spans if bank is not None else {}
        rate_hz = self.settings.sample_rate_hz
        return {
            name: [(stop - start) / rate_hz for start, stop in spans[name, set_number]]
            for name in self.dataset.classes
            if (name, set_number) in spans
        }

    def _metadata(self, subset: str, plans: "Sequence[ClipPlan]") -> dict[str, str]:
        """Writes out the metadata of a subset, and of the lists that are parts of it."""
        from sed_task4.simulation.plans import TEST_EVERY, format_names, format_strong, format_weak

        kind = subset_place(self.dataset.layout, subset).kind
        texts = {
            subset: {"weak": format_weak, "strong": format_strong, "unlabelled": format_names}[
                kind
            ](plans)
        }
        if subset == "validation":
            test = plans[::TEST_EVERY]
            chosen = {plan.name for plan in test}
            texts["test_dcase2018"] = format_strong(test)
            texts["eval_dcase2018"] = format_strong(
                [plan for plan in plans if plan.name not in chosen]
            )
        return texts

    def render(
        self, plans: "Sequence[ClipPlan]", bank: "SoundBank | None", scratch: Path, progress: bool
    ) -> float:
        """Renders and writes clips; returns their duration together in seconds."""
        from tqdm import tqdm

        from sed_task4.simulation import rendering

        real_sets = sorted({plan.set_number for plan in plans if plan.domain.real})
        rendering.build_loops(real_sets, self.settings, scratch, self.parallel)
        studio = rendering.Studio(self.data_root, self.dataset.layout, self.settings, bank, scratch)
        written = parallel_map(partial(rendering.write_clip, studio=studio), plans, self.parallel)
        bar = tqdm(written, total=len(plans), desc="clips", unit="file", disable=not progress)
        return sum(n_samples / self.settings.sample_rate_hz for n_samples in bar)

    def write_metadata(self, subset: str, text: str) -> None:
        """Writes the metadata of a subset: .tsv and .csv for 2019, whose readers expect one or the
        other."""
        stem = self.data_root / subset_place(self.dataset.layout, subset).metadata
        suffixes = SUFFIXES[self.dataset.layout]
        for suffix in suffixes if self.dataset.layout == "dcase2019" else suffixes[:1]:
            write_text(stem.with_name(stem.name + suffix), text)

    def complete_metadata(self) -> None:
        """Writes empty metadata for subsets of 2018 that are not there: its programs ask for all
        five files."""
        from sed_task4.simulation.plans import format_names, format_strong, format_weak

        empty = {
            "weak": format_weak([]),
            "strong": format_strong([]),
            "unlabelled": format_names([]),
        }
        for subset, place in (
            LAYOUTS[self.dataset.layout].items() if self.dataset.layout == "dcase2018" else ()
        ):
            stem = self.data_root / place.metadata
            if not stem.with_name(stem.name + SUFFIXES["dcase2018"][0]).exists():
                self.write_metadata(subset, empty[place.kind])
