"""Base of the experiments of all families: a task with its system, trained, tested and scored."""

import dataclasses
import logging
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Generic, Self, TypeVar

import keras

from common.data.feature_store import FeatureStore
from common.data.selection import Selection
from common.errors import ConfigError
from common.family import load
from common.features.frontend import Frontend
from common.io.files import write_json, write_text
from common.metrics.score_table import name_published
from common.settings.folds import FoldConfig
from common.settings.section import Section
from common.settings.tasks import BaseTask, TrainingConfig, flat_settings
from common.training.callbacks import Scorer
from common.training.checkpoints import Checkpoints, begin_anew_if_outdated, note_earlier_models
from common.training.ensemble import chosen_folds
from common.training.run_directory import RunTest, model_notes, tests_of_folds
from common.training.stage import Goal, StageData, goes_on, train_stage
from common.training.system import Stage, neighbours, prepare_system, stages_to_redo

logger = logging.getLogger(__name__)
Task = TypeVar("Task", bound=BaseTask)
Result = TypeVar("Result")


@dataclass(frozen=True)
class BaseExperiment(ABC, Generic[Task, Result]):
    """A task with its system, checked and ready to run; `Result` is what a test gives.

    Attributes:
        task: the settings.
        system: the module of the system.
        network: the system's own settings.
    """

    task: Task
    system: ModuleType
    network: Section
    # Names of files in the folder of a stage that are made of its model after the training.
    made_of_models: ClassVar[tuple[str, ...]] = ()
    # Axes and unit of the outputs of the family's models, by name and number of axes, for programs
    # that run exported models.
    OUTPUTS: ClassVar[Mapping[str, Sequence[tuple[tuple[str, ...], str]]]] = {}

    @classmethod
    def prepare(cls, task: Task) -> Self:
        """Loads the system and checks that network, features and data fit, before any work.

        Raises:
            ConfigError: they do not.
        """
        experiment = cls.of(task)
        experiment.check()
        return experiment

    @classmethod
    def of(cls, task: Task) -> Self:
        """Loads the system; checks network and features, but nothing that only training needs.

        Raises:
            ConfigError: they do not fit.
        """
        return cls(task, *prepare_system(task, cls.feature_shape(task)))

    @staticmethod
    @abstractmethod
    def feature_shape(task: Task) -> tuple[int, int]:
        """Bands and channels of the task's features, (F, C)."""

    @property
    @abstractmethod
    def frontend(self) -> Frontend | None:
        """Features that the models compute of audio; None: they take stored features."""

    def decoding_facts(self, folder: Path) -> dict[str, Any]:
        """Settings by which outputs are decoded, and what training has searched for them.

        Args:
            folder: of the last stage, which holds what was searched.
        """
        settings = flat_settings(self.task.model_dump(mode="json"))
        keys = self.task.decoding_keys
        return {k: v for k, v in settings.items() if any(f"{k}.".startswith(f"{s}.") for s in keys)}

    @abstractmethod
    def decisive_score(self, stage: Stage) -> tuple[str, str]:
        """Score of the validation set that selects a stage's model, and "min" or "max"."""

    @abstractmethod
    def learning_panels(self, stage: Stage) -> Sequence:
        """Panels of a stage's learning curves, see `common.display.plotting.learning_curves`."""

    @abstractmethod
    def report(self, results: Sequence[Result], folder: Path) -> str:
        """Writes and returns the tables of scores over some tests."""

    @abstractmethod
    def run(self, stores: Sequence[FeatureStore], folder: Path) -> str:
        """Trains, tests and scores.

        Args:
            stores: the extracted sets that the task reads.
            folder: the run's directory.

        Returns:
            The tables of scores as text, also written to `scores.txt` and `scores.json`.
        """

    @classmethod
    def for_evaluation(cls, task: Task, data: Task, splits: Sequence[str] = ()) -> Self:
        """The experiment of a run, on recordings of another task of its family.

        Args:
            task: the settings of the run.
            data: has the dataset, whose rate and lengths may differ; its classes are the run's.
            splits: those that are wanted, see `RunTest`; empty: all that may be tested.

        Raises:
            ConfigError: the models of the run cannot answer for such recordings.
        """
        raise ConfigError(f"The family {task.family} tests its runs on their own test data only.")

    def tests_of(self, fold: str | None, splits: Sequence[str], is_own: bool) -> Sequence[RunTest]:
        """Tests of an evaluation.

        Args:
            fold: whose models predict; None: all.
            splits: those that are wanted; empty: all that may be tested.
            is_own: the recordings are those of the run, most of which it has learned from.

        Raises:
            ConfigError: there is no such fold, or models have learned from a split.
        """
        raise NotImplementedError

    def trained_stages(self, folder: Path) -> list[Stage]:
        """Stages that predict together, of a fold or a run that may be in training: all of them."""
        return self.system.stages(self.task)

    def check_trained(
        self, run: Path, tests: Sequence[RunTest], checkpoint: str | None = None
    ) -> list[str]:
        """Looks for the models of a run that some tests need.

        Args:
            run: its directory.
            tests: recordings, and the models that predict them.
            checkpoint: which models, see `common.training.checkpoints.Checkpoints.path`.

        Returns:
            Lines on those that are not the scored ones of a finished stage.

        Raises:
            CheckpointError: one is not kept, or no epoch of it has ended.
        """
        lines: list[str] = []
        for test in tests:
            for fold in chosen_folds(self.task, test.fold):
                for stage in self.trained_stages(run / fold):
                    found = Checkpoints.of(run / fold / stage.name)
                    found.path(checkpoint)
                    if about := found.about(checkpoint):
                        lines.append(f"{Path(fold, stage.name).as_posix()}: {about}.")
        return list(dict.fromkeys(lines))

    def evaluation_sets(self, tests: Sequence[RunTest]) -> list[str]:
        """Sets of the dataset that some tests need."""
        raise NotImplementedError

    def extract(self, set_name: str) -> FeatureStore:
        """Extracts a set of the dataset, without checks of folds that are not trained."""
        raise NotImplementedError

    def evaluation_stores(self, tests: Sequence[RunTest]) -> list[FeatureStore]:
        """Features of the recordings of some tests; extracts the sets that are not there."""
        family, stores = load(self.task.family, "extraction"), []
        for name in self.evaluation_sets(tests):
            if family.is_extracted(self.task, name):
                stores.append(family.open_store(self.task, name))
            else:
                stores.append(self.extract(name))
        return stores

    def evaluate(
        self,
        stores: Sequence[FeatureStore],
        run: Path,
        folder: Path,
        tests: Sequence[RunTest],
        checkpoint: str | None = None,
    ) -> str:
        """Tests the models of a run; trains nothing.

        Args:
            stores: see `evaluation_stores`.
            run: directory of the run.
            folder: of the results.
            tests: recordings, and the models that predict them.
            checkpoint: which models, see `check_trained`.

        Returns:
            The tables of scores, also written to `scores.txt` and `scores.json`.
        """
        raise NotImplementedError

    def score_names(self, stage: Stage) -> Sequence[str]:
        """Names of the scores of a stage's validation set, known before it is trained.

        They are those of the history without `val_`; empty: not known, and nothing can be checked
        against them.
        """
        return ()

    def levels(self) -> Sequence[keras.layers.Layer]:
        """New layers between raw features and their statistics, see `common.models.levels`."""
        return ()

    def check(self) -> None:
        """Raises ConfigError if settings of the family do not fit the system."""

    def new_network(self) -> keras.Model:
        """Network with fresh weights, from standardised features (B, T, F, C) to outputs."""
        shape = (None, *self.feature_shape(self.task))
        n_classes = self.task.dataset.n_classes  # type: ignore[attr-defined]
        return self.system.build_model(shape, n_classes, self.network)

    def begin_stages(self, folder: Path) -> list[Stage]:
        """Stages of the system; removes the folders of those that `overwrite` asks for."""
        stages = self.system.stages(self.task)
        for name in stages_to_redo(stages, self.task.overwrite):
            shutil.rmtree(folder / name, ignore_errors=True)
        return stages

    def begin_stage(self, stage: Stage, folder: Path) -> None:
        """Removes a stage that learned from an earlier one whose model is another one since.

        An earlier stage that went on may have another model; then those that started from it, or
        learned from its predictions, are trained anew.

        Args:
            stage: the one whose turn it is.
            folder: of the stage.
        """
        earlier, _ = neighbours(self.system.stages(self.task), stage)
        begin_anew_if_outdated(folder, earlier)

    def train(
        self,
        stage: Stage,
        data: StageData,
        new_scorer: Callable[[], Scorer],
        folder: Path,
        training: TrainingConfig,
        start: keras.Model | None = None,
    ) -> keras.Model:
        """Trains a stage, or loads it if it is finished.

        Args:
            stage: model, targets and losses.
            data: training batches and validation recordings.
            new_scorer: makes the scorer of one validation.
            folder: of the stage.
            training: length, patience and learning rate.
            start: model whose weights the stage starts from; None: fresh weights.
        """
        if goes_on(folder, training):
            earlier, later = neighbours(self.system.stages(self.task), stage)
            note_earlier_models(folder.parent, [*earlier, stage.name], later)
            for name in self.made_of_models:
                for path in folder.rglob(name):
                    path.unlink()
        goal = Goal(*self.decisive_score(stage), new_scorer, self.learning_panels(stage))
        task = self.task
        return train_stage(stage, data, goal, training, task.run, folder, task.seed, start)

    def write_scores(self, report: Any, folder: Path) -> str:
        """Writes `scores.json` and `scores.txt` of a score report; returns the text."""
        notes = (*report.notes, *model_notes(folder), *self.task.published_notes)
        rows = name_published(report.rows, self.task.published_label)
        report = dataclasses.replace(report, rows=rows, notes=notes)
        write_json(folder / "scores.json", report.to_dict())
        write_text(folder / "scores.txt", report.to_text() + "\n")
        return report.to_text()


class FoldedExperiment(BaseExperiment[Task, Result]):
    """An experiment over the folds of its task: each is trained and tested, all are scored."""

    @abstractmethod
    def run_fold(self, fold: FoldConfig, stores: Sequence[FeatureStore], folder: Path) -> Result:
        """Trains one fold, and tests it in the fold's own folder."""

    def tests_of(self, fold: str | None, splits: Sequence[str], is_own: bool) -> list[RunTest]:
        """Tests of an evaluation: own recordings fold by fold, others by all models together."""
        names = chosen_folds(self.task, fold)
        if not is_own:
            return [RunTest("", fold, tuple(splits))]
        folds: Sequence[FoldConfig] = self.task.folds  # type: ignore[attr-defined]
        tests, unseen = [], {split for test in tests_of_folds(folds) for split in test.splits}
        if strange := [split for split in splits if split not in unseen]:
            raise ConfigError(
                f"--splits {','.join(strange)}: the run has learned from them. Expected: splits"
                f" that it was tested on, {', '.join(sorted(unseen))}."
            )
        for test in tests_of_folds(folds):
            wanted = tuple(split for split in test.splits if split in splits or not splits)
            if test.name in names and wanted:
                tests.append(replace(test, splits=wanted))
        if not tests:
            raise ConfigError(f"--fold {fold}: it was not tested on {', '.join(splits)}.")
        return tests

    def test_fold(
        self,
        run: Path,
        test: RunTest,
        selection: Selection,
        folder: Path,
        checkpoint: str | None = None,
    ) -> Result:
        """Predicts recordings with trained models of a run, see `evaluate`."""
        raise NotImplementedError

    def evaluate(
        self,
        stores: Sequence[FeatureStore],
        run: Path,
        folder: Path,
        tests: Sequence[RunTest],
        checkpoint: str | None = None,
    ) -> str:
        """Tests the models of a run; arguments and result as in `BaseExperiment`."""
        results = []
        for test in tests:
            groups = test.splits or sorted({group for store in stores for group in store.groups})
            place = folder / test.name
            selection = Selection.among(stores, groups)
            results.append(self.test_fold(run, test, selection, place, checkpoint))
            if len(tests) > 1:
                self.report(results[-1:], place)
        return self.report(results, folder)

    def check_stores(self, stores: Sequence[FeatureStore]) -> None:
        """Raises DataError if the stored features do not allow training and scores."""

    def run(self, stores: Sequence[FeatureStore], folder: Path) -> str:
        """Trains, tests and scores every fold; arguments and result as in `BaseExperiment.run`."""
        self.check_stores(stores)
        results: list[Result] = []
        folds: Sequence[FoldConfig] = self.task.folds  # type: ignore[attr-defined]
        for fold in folds:
            splits = map(list, (fold.train, fold.decisive, fold.test))
            logger.info("Fold %s: train on %s, validate on %s, test on %s.", fold.name, *splits)
            results.append(self.run_fold(fold, stores, folder / fold.name))
            if len(folds) > 1:
                self.report(results[-1:], folder / fold.name)
        return self.report(results, folder)
