"""Experiments with real sounds: their rows, their tables, and the work between both."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

from benchmarks.measure import ROOT, table
from benchmarks.real_learners import Learner, Scenes, as_setting, evaluate, evaluation
from benchmarks.seed_runs import Scores, minutes_of, published_of, scores_of, spread_text
from benchmarks.sound_folders import classes_of, find_background_halves, find_halves, link
from common.settings.tasks import load_task
from common.simulation.measured.table import response_digest

OWN = "simulated"  # evaluation of a run on its own test split
SYNTHETIC, REAL = "synthetic sounds", "real sounds"


@dataclass(frozen=True)
class Mean:
    """A means by which a network that learned from synthetic sounds does better on real ones.

    Attributes:
        label: row of the table.
        overrides: settings, `KEY=VALUE`, on top of those of the rows before it.
    """

    label: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Bench:
    """Work that the command line asks for.

    Attributes:
        folder: of everything that is written.
        seeds: as given; empty: those of each experiment.
        material: folders of the user by option, such as "sounds".
        quick: True for a minimal amount of work.
        published: True for networks of the published size.
    """

    folder: Path
    seeds: tuple[int, ...]
    material: Mapping[str, Path]
    quick: bool = False
    published: bool = False


@dataclass(frozen=True)
class Columns:
    """Columns of a table, and the lines of a run's own table that it shows.

    Attributes:
        digits: behind the decimal point, by heading.
        places: of each number in the scores of a line.
        line: label of the line of the system.
        baselines: labels of the lines of the baselines.
    """

    digits: Mapping[str, int]
    places: tuple[tuple[str, ...], ...]
    line: str
    baselines: tuple[str, ...]

    def numbers(self, scores: Scores) -> list[float | None]:
        """Numbers of the columns; None: undefined."""
        return [_at(scores, place) for place in self.places]

    def cells(self, rows: Sequence[Scores]) -> list[str]:
        """Cells of several seeds: means, and lowest and highest values."""
        columns = zip(*map(self.numbers, rows), strict=True)
        pairs = zip(columns, self.digits.values(), strict=True)
        return [spread_text(values, digits) for values, digits in pairs]


def _at(scores: Any, place: Sequence[str]) -> float | None:
    for name in place:
        scores = scores.get(name)
    return scores


LOCATION = Columns(
    {"ER": 2, "F": 3, "DOA error": 1, "frame recall": 3, "SELD error": 3},
    tuple(
        ("dcase2019", name) for name in ("er", "f", "doa_error_deg", "frame_recall", "seld_error")
    ),
    "all",
    ("always silent", "labels of another recording"),
)
DETECTION = Columns(
    {"segment F": 3, "event F": 3, "mAP": 3},
    (("segment_macro_f",), ("event_macro_f",), ("map",)),
    "pass2",
    ("always silent", "always active"),
)


class Plan(Protocol):
    """An experiment with the material of the user, checked before any work."""

    def simulate(self) -> None:
        """Writes the test recordings that all rows share."""

    def text(self) -> str:
        """Does all work that is left; returns the table with what must be said about it."""


@dataclass(frozen=True, kw_only=True)
class Experiment(ABC):
    """An entry of the table of experiments.

    Attributes:
        needs: options of the command line that give its material.
        wants: options that it takes if they are there.
        by_default: False if it runs only where it is named.
        published_size: settings of a network of the published size; none: there is none.
        quick: settings of a minimal amount of work, which only shows that everything works.
    """

    needs: tuple[str, ...] = ("sounds",)
    wants: tuple[str, ...] = ()
    by_default: bool = True
    published_size: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()

    @abstractmethod
    def plan(self, bench: Bench) -> Plan:
        """Checks the material.

        Raises:
            ConfigError, DataError: it cannot be used.
        """


@dataclass(frozen=True, kw_only=True)
class Study(Experiment):
    """Runs that learn from synthetic and from real sounds, scored on the same real sounds.

    Attributes:
        task_id: demo task.
        program: that trains it.
        columns: of the table.
        means: rows between both; each takes the settings of those before it, too.
        splits: those that are tested.
        test_set: set of sounds of these splits in the simulation; it takes the half `test`.
        settings: of all rows.
        leaves_out: True if classes without sounds are left out of all rows, False if they are an
            error.
    """

    task_id: str
    program: str
    columns: Columns
    means: tuple[Mean, ...]
    splits: str
    test_set: str
    settings: tuple[str, ...] = ()
    leaves_out: bool = False

    def plan(self, bench: Bench) -> "StudyPlan":
        """See `Experiment`."""
        (option,) = self.needs
        folder = bench.material[option]
        task: Any = load_task(ROOT / "params.yaml", self.task_id)
        known = classes = tuple(task.dataset.classes)
        common, quick = self.settings, self.quick if bench.quick else ()
        if self.leaves_out:
            classes = classes_of(folder, f"--{option}", known)
            common = (f"dataset.classes={json.dumps(classes)}", *common)
        real = (*common, *self._material(bench, folder, classes), *quick)
        learners = [
            *self._synthetic(common, quick),
            Learner(self.task_id, self.program, REAL, real),
        ]
        for learner in learners:
            learner.check(bench.folder)
        left_out = tuple(name for name in known if name not in classes)
        scenes = Scenes.of("real", self.task_id, bench.folder, real)
        seeds = bench.seeds or (0, 1, 2)
        return StudyPlan(self, bench.folder, seeds, tuple(learners), scenes, left_out)

    def _material(self, bench: Bench, folder: Path, classes: Sequence[str]) -> tuple[str, ...]:
        """Settings of real sounds: each half serves in all of its sets, and in no other.

        The half itself as the folder of a simulation would be dealt into all sets, of which a test
        hears one.
        """
        place, sets = bench.folder / "sounds", {"test": self.test_set}
        sounds = link(find_halves(folder, f"--{self.needs[0]}", classes), place, sets)
        settings = [f"simulation.source_dir={as_setting(sounds)}", "simulation.on_missing=error"]
        if "backgrounds" in self.wants and "backgrounds" in bench.material:
            found = find_background_halves(bench.material["backgrounds"], "--backgrounds")
            settings.append(f"simulation.background_dir={as_setting(link(found, place, sets))}")
        return tuple(settings)

    def _synthetic(self, common: tuple[str, ...], quick: tuple[str, ...]) -> Iterator[Learner]:
        yield Learner(self.task_id, self.program, SYNTHETIC, (*common, *quick))
        for mean in self.means:
            common = (*common, *mean.overrides)
            settings = (*common, *quick)  # which takes precedence
            yield Learner(self.task_id, self.program, f"+ {mean.label}", settings)


@dataclass(frozen=True)
class StudyPlan:
    """A study with the sounds of the user.

    Attributes:
        study: its settings.
        folder: of everything that is written.
        seeds: of the runs and of what they learn from.
        learners: synthetic sounds, the same with each means, real sounds.
        scenes: test recordings.
        left_out: classes without sounds.
    """

    study: Study
    folder: Path
    seeds: tuple[int, ...]
    learners: tuple[Learner, ...]
    scenes: Scenes
    left_out: tuple[str, ...] = ()

    def simulate(self) -> None:
        """See `Plan`."""
        self.scenes.simulate()

    def text(self) -> str:
        """See `Plan`."""
        self.carry_out()
        columns = self.study.columns
        rows = [self._row(self.learners[0], SYNTHETIC, OWN)]
        rows += [self._row(learner, REAL, self.scenes.name) for learner in self.learners]
        first = evaluation(self.learners[0].run(self.folder, self.seeds[0]), self.scenes.name)
        for label in columns.baselines:
            cells = columns.cells([scores_of(first, label)])
            rows.append([f"nothing: {label}", REAL, *cells, ""])
        notes = [seeds_text(self.seeds)]
        if self.left_out:
            notes.append(f"Left out for want of sounds: {', '.join(self.left_out)}.")
        heading = ("learned from", "tested on", *columns.digits, "minutes")
        return f"{' '.join(notes)}\n\n{table(heading, rows)}"

    def carry_out(self) -> None:
        """Trains all runs and scores them, seed by seed, so that a first seed is soon complete."""
        self.simulate()
        for seed in self.seeds:
            for learner in self.learners:
                run = learner.train(self.folder, seed)
                data = {self.scenes.name: self.scenes.root}
                if learner is self.learners[0]:
                    own = learner.places(self.folder, seed)["dataset_dir"]
                    data = {OWN: own, **data}
                evaluate(run, data, self.study.splits)

    def _row(self, learner: Learner, tested_on: str, name: str) -> list[str]:
        runs = [learner.run(self.folder, seed) for seed in self.seeds]
        line = self.study.columns.line
        scores = [scores_of(evaluation(run, name), line) for run in runs]
        minutes = minutes_text(runs) if name != OWN else ""
        return [learner.label, tested_on, *self.study.columns.cells(scores), minutes]


@dataclass(frozen=True, kw_only=True)
class MeasuredRooms(Experiment):
    """Runs of a study, made in computed rooms, scored in measured ones.

    Attributes:
        study: whose runs of the first seed are scored: real sounds, and synthetic ones with the
            all means.
    """

    study: Study

    def plan(self, bench: Bench) -> "MeasuredPlan":
        """See `Experiment`."""
        base, rooms = self.study.plan(bench), bench.material["rooms"]
        settings = (
            *base.scenes.settings,
            f"simulation.rir_dir={as_setting(rooms)}",
            "simulation.rir_rotate=true",
        )
        digest = response_digest(rooms)  # other rooms in the same folder are other recordings
        scenes = Scenes.of(f"rooms_{str(digest)[:8]}", self.study.task_id, bench.folder, settings)
        return MeasuredPlan(base, scenes)


@dataclass(frozen=True)
class MeasuredPlan:
    """Measured rooms of the user.

    Attributes:
        base: the study in computed rooms.
        scenes: the same test recordings in measured rooms.
    """

    base: StudyPlan
    scenes: Scenes

    def simulate(self) -> None:
        """See `Plan`."""
        self.scenes.simulate()

    def text(self) -> str:
        """See `Plan`."""
        self.simulate()
        self.base.carry_out()  # nothing, where the study itself was before
        study, seed = self.base.study, self.base.seeds[0]
        where = {"computed": self.base.scenes.name, "measured": self.scenes.name}
        rows = []
        for learner in self.base.learners[-2:]:  # all means, and real sounds
            run = learner.run(self.base.folder, seed)
            evaluate(run, {self.scenes.name: self.scenes.root}, study.splits)
            for rooms, name in where.items():
                scores = scores_of(evaluation(run, name), study.columns.line)
                rows.append([self._label(learner), rooms, *study.columns.cells([scores])])
        for label in study.columns.baselines:
            scores = scores_of(evaluation(run, self.scenes.name), label)
            rows.append([f"nothing: {label}", "measured", *study.columns.cells([scores])])
        heading = ("learned from, in computed rooms", "tested in rooms", *study.columns.digits)
        return f"Seed {seed}; real sounds in all tests.\n\n{table(heading, rows)}"

    def _label(self, learner: Learner) -> str:
        """Names all means of a row, since the rows before it are not in this table."""
        labels = [each.label for each in self.base.learners[:-1]]
        if learner.label not in labels:
            return learner.label
        return " ".join(labels[: labels.index(learner.label) + 1])


@dataclass(frozen=True, kw_only=True)
class Rebuilt(Experiment):
    """A dataset of the published size, rebuilt of the real sounds, in cross-validation.

    Attributes:
        task_id: its task.
    """

    task_id: str

    def plan(self, bench: Bench) -> "RebuiltPlan":
        """See `Experiment`."""
        task: Any = load_task(ROOT / "params.yaml", self.task_id)
        found = find_halves(bench.material["sounds"], "--sounds", task.dataset.classes)
        sounds = link(found, bench.folder / "sounds")  # the simulation deals both halves anew
        learner = Learner(
            self.task_id,
            "seld.py",
            "published size" if bench.published else "size of the task",
            (
                f"simulation.source_dir={as_setting(sounds)}",
                "simulation.on_missing=error",
                *(self.published_size if bench.published else ()),
                *(self.quick if bench.quick else ()),
            ),
        )
        learner.check(bench.folder)
        task = load_task(ROOT / "params.yaml", self.task_id, learner.settings)
        tests = {fold.name: fold.test[0] for fold in task.folds}
        return RebuiltPlan(learner, bench.folder, bench.seeds or (0,), tests)


@dataclass(frozen=True)
class RebuiltPlan:
    """A rebuilt dataset of the sounds of the user.

    Attributes:
        learner: what is trained.
        folder: of everything that is written.
        seeds: of the runs and of the dataset.
        tests: by fold, its test split.
    """

    learner: Learner
    folder: Path
    seeds: tuple[int, ...]
    tests: Mapping[str, int]

    def simulate(self) -> None:
        """Training does, since its test recordings are of its own dataset."""

    def text(self) -> str:
        """See `Plan`."""
        runs = [self.learner.train(self.folder, seed) for seed in self.seeds]
        rows = [
            [fold, *LOCATION.cells([scores_of(run, f"split {split}") for run in runs])]
            for fold, split in self.tests.items()
        ]
        rows.append(["mean of the folds", *self._means(runs)])
        rows += [
            [label, *LOCATION.cells([scores_of(runs[0], label)])] for label in LOCATION.baselines
        ]
        published = LOCATION.cells([published_of(runs[0])])
        rows.append(["*published, the recordings themselves, mean of the folds*", *published])
        notes = (
            f"{seeds_text(self.seeds)} {self.learner.label.capitalize()}, {minutes_text(runs)}"
            " minutes a run. Here rooms are computed, so that the rows are not the same experiment"
            " as the published one."
        )
        return f"{notes}\n\n{table(('', *LOCATION.digits), rows)}"

    def _means(self, runs: Sequence[Path]) -> list[str]:
        """Means over the folds, of each seed, as cells."""
        of_seeds = []
        for run in runs:
            folds = [LOCATION.numbers(scores_of(run, f"split {n}")) for n in self.tests.values()]
            of_seeds.append([mean_of(column) for column in zip(*folds, strict=True)])
        columns = zip(*of_seeds, strict=True)
        pairs = zip(columns, LOCATION.digits.values(), strict=True)
        return [spread_text(values, digits) for values, digits in pairs]


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None where a value is undefined."""
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def seeds_text(seeds: Sequence[int]) -> str:
    """One sentence on the seeds."""
    if len(seeds) == 1:
        return f"Seed {seeds[0]}."
    return f"Means over the seeds {', '.join(map(str, seeds))}, lowest and highest in brackets."


def minutes_text(runs: Sequence[Path]) -> str:
    """Mean minutes of the runs that were not resumed; a dash without any."""
    known = [minutes for run in runs if (minutes := minutes_of(run)) is not None]
    return f"{fmean(known):.1f}" if known else "-"
