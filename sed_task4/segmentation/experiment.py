"""One run of segmentation: every fold trained and tested with each pooling; scores, event files,
separated sounds."""

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
from threadpoolctl import threadpool_limits

from common.data.feature_store import FeatureStore
from common.data.pipeline import evaluation_stream, guard_stream
from common.data.selection import Selection
from common.features.frontend import Frontend
from common.io.files import write_json, write_text
from common.metrics.tagging import tag_scores
from common.runtime.distribution import devices
from common.settings.folds import FoldConfig
from common.settings.section import Section
from common.training.callbacks import Scorer
from common.training.evaluation import Prediction, predict_recordings
from common.training.stage import Goal, train_stage
from common.training.stage_data import ModelInput, stage_data
from common.training.system import Stage, prepare_system, stages_to_redo
from sed_task4.features import feature_shape, frontend_of
from sed_task4.segmentation.clip_scorer import (
    ClipOutput,
    ClipTruth,
    SegmentationScorer,
    baseline_outputs,
    read_truth,
)
from sed_task4.segmentation.config import TaskConfig
from sed_task4.segmentation.dataset import Mixture, find_mixtures
from sed_task4.segmentation.examples import EXAMPLES, write_example
from sed_task4.segmentation.figures import LEARNING_PANELS
from sed_task4.segmentation.score import segmentation_report
from sed_task4.segmentation.separation import MaskFraming
from sed_task4.submission import write_run_files

logger = logging.getLogger(__name__)
ClassScores = Mapping[str, np.ndarray]


@dataclass
class FoldScores:
    """Scores of test folds by label of the table: of each pooling, and of answers that need no
    network.

    Attributes:
        systems: for each fold, one value per class by name, see `SegmentationScorer.class_scores`.
        baselines: the same.
        n_clips: test clips of all folds.
    """

    systems: dict[str, list[ClassScores]] = field(default_factory=dict)
    baselines: dict[str, list[ClassScores]] = field(default_factory=dict)
    n_clips: int = 0

    def add(self, other: "FoldScores") -> None:
        """Adds the scores of other folds."""
        for mine, theirs in ((self.systems, other.systems), (self.baselines, other.baselines)):
            for label, folds in theirs.items():
                mine.setdefault(label, []).extend(folds)
        self.n_clips += other.n_clips


class TagScorer(Scorer):
    """Scores of tags, of the whole clips alone: masks are not looked at while training."""

    def __init__(self, threshold: float):
        self.threshold = threshold
        self.tags: list[np.ndarray] = []
        self.probabilities: list[np.ndarray] = []

    def update(self, prediction: Prediction) -> None:
        """Takes in one clip."""
        self.tags.append(prediction.targets["clip"])
        self.probabilities.append(prediction.outputs["clip"])

    def result(self) -> dict[str, float]:
        """Returns mean average precision, mean area under the ROC curve, and mean F over the
        classes."""
        scores = tag_scores(np.stack(self.tags) > 0, np.stack(self.probabilities), self.threshold)
        return {"map": scores.map, "auc": scores.mean_auc, "clip_macro_f": scores.macro_f}


@dataclass(frozen=True)
class Experiment:
    """A task with its system, checked and ready to run.

    Attributes:
        task: the settings.
        system: the module of the system.
        network: the system's own settings.
    """

    task: TaskConfig
    system: ModuleType
    network: Section

    @classmethod
    def prepare(cls, task: TaskConfig) -> "Experiment":
        """Loads the system and checks that network and features fit together, before any work.

        Raises:
            ConfigError: they do not.
        """
        system, network = prepare_system(task, feature_shape(task.features))
        return cls(task, system, network)

    @property
    def frontend(self) -> Frontend | None:
        """What the models compute of audio; None: they take features."""
        return frontend_of(self.task.features, self.task.dataset.sample_rate_hz)

    @property
    def framing(self) -> MaskFraming:
        """Where frames and bands of the masks lie."""
        return MaskFraming.of(self.task.features, self.task.dataset.sample_rate_hz)

    def new_network(self) -> keras.Model:
        """Builds the task's network with fresh weights: from standardised features (B, T, F, C), T
        free, to outputs."""
        shape = (None, *feature_shape(self.task.features))
        return self.system.build_model(shape, self.task.dataset.n_classes, self.network)

    def new_scorer(self) -> SegmentationScorer:
        """Makes what decodes and scores clips by the task's settings."""
        dataset = self.task.dataset
        return SegmentationScorer(
            dataset.classes, self.framing, dataset.clip_s, self.task.decoding, self.task.scoring
        )

    def decisive_score(self, stage: Stage) -> tuple[str, str]:
        """The score of the validation clips that chooses a stage's model, and "min" or "max"."""
        return f"val_{self.task.training.monitor}", "max"

    def run(self, stores: Sequence[FeatureStore], folder: Path) -> str:
        """Trains, tests and scores every fold.

        Args:
            stores: the one extracted set.
            folder: the run's directory.

        Returns:
            The tables of scores, averaged over the folds, as text; also written to `scores.txt` and
            `scores.json`.
        """
        scores = FoldScores()
        for fold in self.task.folds:
            logger.info(
                "Fold %s: train on %s, validate on %s, test on %s.",
                fold.name,
                *map(list, (fold.train, fold.decisive, fold.test)),
            )
            of_fold = self.run_fold(fold, stores[0], folder / fold.name)
            scores.add(of_fold)
            if len(self.task.folds) > 1:
                self._report(of_fold, folder / fold.name)
        return self._report(scores, folder)

    def run_fold(self, fold: FoldConfig, store: FeatureStore, folder: Path) -> FoldScores:
        """Trains one fold with each pooling, and tests what came of it."""
        stages = self.system.stages(self.task)
        for name in stages_to_redo(stages, self.task.overwrite):
            shutil.rmtree(folder / name, ignore_errors=True)
        trained = [
            (stage, self._train(stage, fold, store, folder / stage.name)) for stage in stages
        ]
        return self._test(trained, _selection(store, fold.test), folder)

    def _train(
        self, stage: Stage, fold: FoldConfig, store: FeatureStore, folder: Path
    ) -> keras.Model:
        task = self.task
        train, validation = _selection(store, fold.train), _selection(store, fold.decisive)
        statistics = store.statistics(train.groups, ddof=task.features.ddof)
        data = stage_data(
            stage,
            train,
            validation,
            statistics,
            task.pipeline,
            task.seed,
            task.training,
            ModelInput(self.frontend),
        )
        goal = Goal(
            *self.decisive_score(stage),
            lambda: TagScorer(task.scoring.tag_threshold),
            LEARNING_PANELS,
        )
        return train_stage(stage, data, goal, task.training, task.run, folder, task.seed)

    def _test(
        self, trained: Sequence[tuple[Stage, keras.Model]], test: Selection, folder: Path
    ) -> FoldScores:
        """Predicts the test clips with all models side by side, so that what is true of a clip is
        computed once."""
        task, mixtures = self.task, self._mixtures()
        scorers = {stage.name: self.new_scorer() for stage, _ in trained}
        baselines: dict[str, SegmentationScorer] = {}
        examples = example_names(
            [mixtures[name] for name in test.recording_names], task.separated_clips
        )
        for predictions in self._predictions(trained, test):
            truth = read_truth(mixtures[predictions[0].name], task.dataset, self.framing)
            outputs = [self._output(prediction) for prediction in predictions]
            for scorer, output in zip(scorers.values(), outputs, strict=True):
                scorer.update(truth, output)
            for label, output in baseline_outputs(
                truth, task.dataset.n_classes, self.framing
            ).items():
                baselines.setdefault(label, self.new_scorer()).update(truth, output)
            if truth.name in examples:
                self._write_example(truth, outputs[0], folder)
        for name, scorer in scorers.items():
            lengths_s = [task.dataset.clip_s] * len(scorer.names)
            write_run_files(
                folder / name, scorer.names, scorer.estimates, task.dataset.classes, lengths_s
            )
        return FoldScores(_fold_scores(scorers), _fold_scores(baselines), len(test.recording_names))

    def _predictions(
        self, trained: Sequence[tuple[Stage, keras.Model]], test: Selection
    ) -> Iterator[tuple[Prediction, ...]]:
        """For each clip, what each model says of it."""
        inputs, pipeline = ModelInput(self.frontend), self.task.pipeline
        streams = [
            predict_recordings(
                model, evaluation_stream(test, inputs.sequence_format(stage), pipeline)
            )
            for stage, model in trained
        ]
        # Scoring multiplies small matrices: threads of the numerical libraries would wait for each
        # other and for Keras.
        with devices(self.task.run), guard_stream(), threadpool_limits(limits=1):
            yield from zip(*streams, strict=True)

    def _output(self, prediction: Prediction) -> ClipOutput:
        return ClipOutput(prediction.outputs["clip"], prediction.outputs["masks"])

    def _mixtures(self) -> dict[str, Mixture]:
        return {
            mixture.name: mixture
            for mixture in find_mixtures(self.task.dataset_dir, self.task.dataset)
        }

    def _write_example(self, truth: ClipTruth, output: ClipOutput, folder: Path) -> None:
        task = self.task
        place = folder / EXAMPLES / Path(truth.name).stem
        threshold = task.scoring.tag_threshold
        write_example(truth, output, place, task.dataset, self.framing, task.decoding, threshold)

    def _report(self, scores: FoldScores, folder: Path) -> str:
        task = self.task
        report = segmentation_report(
            scores.systems,
            scores.baselines,
            task.dataset.classes,
            scores.n_clips,
            published=task.published,
        )
        report = replace(report, notes=(*report.notes, *task.published_notes))
        write_json(folder / "scores.json", report.to_dict())
        write_text(folder / "scores.txt", report.to_text() + "\n")
        return report.to_text()


def example_names(mixtures: Sequence[Mixture], count: int) -> list[str]:
    """Chooses mixtures to show: those with the most different classes, the first of them."""
    ordered = sorted(
        mixtures,
        key=lambda mixture: (-len({event.label for event in mixture.events}), mixture.name),
    )
    return [mixture.name for mixture in ordered[:count]]


def _fold_scores(scorers: Mapping[str, SegmentationScorer]) -> dict[str, list[ClassScores]]:
    return {label: [scorer.class_scores()] for label, scorer in scorers.items()}


def _selection(store: FeatureStore, folds: Sequence[int]) -> Selection:
    return Selection(store, tuple(map(str, folds)))
