"""Trained runs scored on other datasets: settings, features, results and pages.

An evaluation is a folder of the form of a run, `<run>/evaluations/<name>/`, without models. Nothing
is trained, and the run stays as it is.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.provenance import is_absent
from common.errors import ConfigError, DataError
from common.family import load
from common.io.files import is_file_name
from common.io.locks import only_one
from common.io.tables import to_text
from common.reports.comparison import read_runs, score_table
from common.reports.run import report_finished_run
from common.settings.classes import MappedClasses
from common.settings.tasks import BaseTask, check_task, merge, parse_overrides
from common.training.experiment import BaseExperiment
from common.training.run_directory import (
    EVALUATIONS,
    RunTest,
    fingerprints,
    open_run,
    read_settings,
    record_data,
    write_model_notes,
    write_tests,
)

logger = logging.getLogger(__name__)
OF_DATA = ("dataset", "dataset_dir", "feature_dir", "sets")  # sections of another task's dataset
OF_RUN = ("scoring", "decoding", "pipeline", "parallel", "run", "description")


@dataclass(frozen=True)
class Request:
    """Request to score a run on recordings.

    Attributes:
        run: directory of a run, finished or in training.
        data: settings of a task with the dataset; None: those of the run.
        overrides: `key=value` texts, of the sections `OF_DATA` and `OF_RUN`.
        name: of the evaluation, a folder; None: that of the dataset.
        fold: whose models predict; None: all.
        splits: numbers of splits, or names of subsets; empty: the test data of the run, all of
            another dataset.
        checkpoint: which models, see `common.training.checkpoints.Checkpoints.path`; None: those of
            finished stages that are scored, the best so far of stages in training.
    """

    run: Path
    data: Mapping[str, Any] | None = None
    overrides: tuple[str, ...] = ()
    name: str | None = None
    fold: str | None = None
    splits: tuple[str, ...] = ()
    checkpoint: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """A request with its settings checked, before any work.

    Attributes:
        experiment: of the run, on the recordings.
        folder: of the results.
        tests: recordings, and the models that predict them.
        about_models: lines on models that are not the scored ones of finished stages.
    """

    experiment: BaseExperiment
    request: Request
    folder: Path
    tests: Sequence[RunTest]
    about_models: Sequence[str] = ()

    @classmethod
    def prepare(cls, request: Request) -> "Evaluation":
        """Checks a request; Keras must have been started with the backend of the run.

        Raises:
            CheckpointError: there is no run, or it has no such models.
            ConfigError: the settings contradict each other or the run.
            DataError: there is no dataset.
        """
        task, data = tasks_of(request)
        if is_absent(data.dataset_dir):
            raise DataError(
                f"There are no recordings in {data.dataset_dir}/. Expected: the folder of a"
                " labelled dataset, `--set dataset_dir=...`."
            )
        name = request.name or _name_of(data, request.checkpoint)
        if not is_file_name(name):
            raise ConfigError(f"--name: expected the name of a folder. Received: {name!r}.")
        folder = request.run / EVALUATIONS / name
        is_own = is_own_data(task, data)
        if "feature_dir" not in parse_overrides(request.overrides):
            kept = task.feature_dir if is_own and _is_extracted(task) else folder / "features"
            data = data.model_copy(update={"feature_dir": kept})
        about = f"{request.run.resolve().name} on {data.dataset_dir}: {task.description}"
        changed: dict[str, Any] = {"description": about}
        if not is_own:  # what was published is of other recordings
            changed |= {"published": None, "published_on": None}
        task = task.model_copy(update=changed)
        kind = load(task.family, "experiment").Experiment
        experiment: BaseExperiment = kind.for_evaluation(  # type: ignore[attr-defined]
            task, data, request.splits
        )
        tests = experiment.tests_of(request.fold, request.splits, is_own)
        models = experiment.check_trained(request.run, tests, request.checkpoint)
        return cls(experiment, request, folder, tests, models)

    def run(self, command: list[str]) -> str:
        """Predicts and scores; returns the tables as text. Writes the folder of the results.

        Args:
            command: the command line, for the report.

        Raises:
            CheckpointError: models of the run are missing or damaged, or the folder holds an
                evaluation with other settings or data.
            DataError: the recordings cannot be used.
        """
        experiment, task = self.experiment, self.experiment.task
        with only_one(self.folder, "use another --name"), self._whole_or_none():
            open_run(self.folder, task.model_dump(mode="json"), command, extends=True)
            write_tests(self.folder, self.tests)
            write_model_notes(self.folder, self.about_models)
            with self._features():
                stores = experiment.evaluation_stores(self.tests)
                sets = experiment.evaluation_sets(self.tests)
                named = dict(zip(sets, stores, strict=True))
                record_data(self.folder, *fingerprints(named))
                checkpoint = self.request.checkpoint
                given = {} if checkpoint is None else {"checkpoint": checkpoint}
                run = self.request.run
                text = experiment.evaluate(stores, run, self.folder, self.tests, **given)
                report_finished_run(self.folder, task)
        return text

    @contextmanager
    def _whole_or_none(self) -> Iterator[None]:
        """Removes the results of an evaluation that fails, if the folder held none before."""
        held = any(self.folder.glob("*.yaml"))
        try:
            yield
        except BaseException:
            if not held:
                shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @contextmanager
    def _features(self) -> Iterator[None]:
        """Removes the features at the end, unless they are kept elsewhere."""
        try:
            yield
        finally:
            if self.experiment.task.feature_dir == self.folder / "features":
                shutil.rmtree(self.folder / "features", ignore_errors=True)


def tasks_of(request: Request) -> tuple[BaseTask, BaseTask]:
    """Settings of a run, and of a task with the dataset that it is scored on.

    Classes of the dataset become annotated ones, which count as classes of the run.

    Raises:
        ConfigError: other settings than those of data and scores are overridden, or the classes of
            the dataset have none in the run.
    """
    overrides = parse_overrides(request.overrides)
    others = [key for key in overrides if key not in (*OF_DATA, *OF_RUN)]
    if others:
        raise ConfigError(
            f"--set {others[0]}: the run keeps the settings that it was trained with. Expected:"
            f" settings of {', '.join((*OF_DATA, *OF_RUN[:-1]))}."
        )
    stored = read_settings(request.run)
    of_run = {key: value for key, value in overrides.items() if key in OF_RUN}
    of_data = {key: value for key, value in overrides.items() if key in OF_DATA}
    task = check_task(merge(stored, of_run), f"the settings of {request.run}")
    settings = dict(stored if request.data is None else request.data)
    if settings.get("family") != task.family:
        raise ConfigError(
            f"Expected: a dataset of the family of {request.run}, {task.family}. Received: one of"
            f" {settings.get('family')}."
        )
    where = "the settings of the dataset"
    mapping = of_data.get("dataset", {}).pop("class_map", None)
    data = check_task(merge(settings, of_data), where)
    return task, _with_classes_of(task, data, mapping, where)


def _with_classes_of(
    task: BaseTask, data: BaseTask, mapping: Mapping[str, str | None] | None, where: str
) -> BaseTask:
    """The task of a dataset, with the classes of a run and those of its annotations beside."""
    wanted, found = (each.dataset.classes for each in (task, data))  # type: ignore[attr-defined]
    if wanted == found and mapping is None:
        return data
    dataset = data.dataset  # type: ignore[attr-defined]
    if not isinstance(dataset, MappedClasses):
        raise ConfigError(
            f"Expected: a dataset of the classes of the run, {', '.join(wanted)}. Received:"
            f" {', '.join(found)}."
        )
    changed: dict[str, Any] = {"classes": list(wanted)}
    if wanted != found:
        changed["annotated_classes"] = list(dataset.labels)
    if mapping is not None:
        changed["class_map"] = mapping
    return check_task(merge(data.model_dump(mode="json"), {"dataset": changed}), where)


def _name_of(data: BaseTask, checkpoint: str | None) -> str:
    """Folder of an evaluation that was given none: the dataset's, with the models if asked for."""
    name = data.dataset_dir.resolve().name
    return name if checkpoint is None else f"{name}-{checkpoint}"


def is_own_data(task: BaseTask, data: BaseTask) -> bool:
    """True if a dataset is that which the run learned from."""
    own, other = (each.dataset for each in (task, data))  # type: ignore[attr-defined]
    return own == other and task.dataset_dir.resolve() == data.dataset_dir.resolve()


def _is_extracted(task: BaseTask) -> bool:
    extraction = load(task.family, "extraction")
    return all(extraction.is_extracted(task, name) for name in task.set_names)


def comparison(folders: Sequence[Path]) -> str:
    """Table of the scores of several evaluations, a row or a column for each."""
    return to_text(score_table(read_runs(folders)))
