"""One run of segmentation: folds trained and tested with each pooling, with separated sounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

import keras
import numpy as np
from threadpoolctl import threadpool_limits

from common.data.feature_store import FeatureStore
from common.data.pipeline import evaluation_stream, guard_stream
from common.data.selection import Selection
from common.errors import ConfigError
from common.features.frontend import Frontend
from common.features.settings import feature_shape, frontend_of
from common.metrics.tagging import tag_scores
from common.runtime.distribution import devices
from common.settings.folds import FoldConfig
from common.training.callbacks import Scorer
from common.training.ensemble import load_models
from common.training.evaluation import Model, Prediction, predict_recordings
from common.training.experiment import FoldedExperiment
from common.training.run_directory import RunTest
from common.training.stage_data import ModelInput, stage_data
from common.training.system import Stage
from sed_task4.segmentation import clip_scorer, extraction
from sed_task4.segmentation.clip_scorer import ClipOutput, ClipTruth, SegmentationScorer
from sed_task4.segmentation.config import TaskConfig
from sed_task4.segmentation.dataset import Mixture, find_mixtures
from sed_task4.segmentation.examples import EXAMPLES, write_example
from sed_task4.segmentation.figures import LEARNING_PANELS
from sed_task4.segmentation.score import segmentation_report
from sed_task4.segmentation.separation import MaskFraming
from sed_task4.submission import write_run_files

ClassScores = Mapping[str, np.ndarray]
TestedStage = tuple[Stage, Model]


@dataclass
class FoldScores:
    """Scores of test folds, by row of the table.

    Attributes:
        systems: for each fold one value per class by name of the score, by pooling, see
            `SegmentationScorer.class_scores`.
        baselines: those of baselines, by label.
        n_clips: test clips of all folds.
    """

    systems: dict[str, list[ClassScores]] = field(default_factory=dict)
    baselines: dict[str, list[ClassScores]] = field(default_factory=dict)
    n_clips: int = 0

    @classmethod
    def joined(cls, parts: Sequence["FoldScores"]) -> "FoldScores":
        """Scores of all folds in one table."""
        whole = cls(n_clips=sum(part.n_clips for part in parts))
        for part in parts:
            for mine, theirs in ((whole.systems, part.systems), (whole.baselines, part.baselines)):
                for label, folds in theirs.items():
                    mine.setdefault(label, []).extend(folds)
        return whole


TAG_SCORES = "map", "auc", "clip_macro_f"  # of a validation set


class TagScorer(Scorer):
    """Clip-level scores of tags only: masks are not scored during training."""

    def __init__(self, threshold: float):
        self.threshold = threshold
        self.tags: list[np.ndarray] = []
        self.probabilities: list[np.ndarray] = []

    def update(self, prediction: Prediction) -> None:
        """Takes in one clip."""
        self.tags.append(prediction.targets["clip"])
        self.probabilities.append(prediction.outputs["clip"])

    def result(self) -> dict[str, float]:
        """Returns mean average precision, mean area under the ROC curve and macro F."""
        scores = tag_scores(np.stack(self.tags) > 0, np.stack(self.probabilities), self.threshold)
        values = scores.map, scores.mean_auc, scores.macro_f
        return dict(zip(TAG_SCORES, values, strict=True))


class Experiment(FoldedExperiment[TaskConfig, FoldScores]):
    """A segmentation task with its system, checked and ready to run."""

    OUTPUTS: ClassVar = {
        "masks": [(("batch", "frames", "bands", "classes"), "share of a class, 0 to 1")],
        "clip": [(("batch", "classes"), "probability")],
    }

    @staticmethod
    def feature_shape(task: TaskConfig) -> tuple[int, int]:
        """Bands and channels of the task's features, (F, C)."""
        return feature_shape(task.features, task.dataset.sample_rate_hz)

    @property
    def frontend(self) -> Frontend | None:
        """Features that the models compute of audio; None: they take stored features."""
        return frontend_of(self.task.features, self.task.dataset.sample_rate_hz)

    @classmethod
    def for_evaluation(cls, task: TaskConfig, data: TaskConfig, splits: Sequence[str] = ()) -> Self:
        """The experiment of a run, on mixtures of another task, see `BaseExperiment`."""
        expected, received = (each.dataset.sample_rate_hz for each in (task, data))
        if expected != received:
            raise ConfigError(
                "`dataset.sample_rate_hz`: masks are of the bands that the run was trained on."
                f" Expected: {expected}. Received: {received}."
            )
        names = "dataset", "dataset_dir", "feature_dir"
        task = task.model_copy(update={name: getattr(data, name) for name in names})
        return cls.of(task)

    def evaluation_sets(self, tests: Sequence[RunTest]) -> list[str]:
        """The only set of a dataset."""
        return ["mixtures"]

    def extract(self, set_name: str) -> FeatureStore:
        """Extracts the mixtures, the missing ones of which are mixed."""
        return extraction.run(self.task)[0]

    @property
    def framing(self) -> MaskFraming:
        """Frames and bands of the masks."""
        return MaskFraming.of(self.task.features, self.task.dataset.sample_rate_hz)

    def new_scorer(self) -> SegmentationScorer:
        """A decoder and scorer of clips with the task's settings."""
        task, dataset = self.task, self.task.dataset
        clip_s, scoring = dataset.clip_s, task.scoring
        return SegmentationScorer(
            dataset.classes, self.framing, clip_s, task.clip_decoding, scoring
        )

    def decisive_score(self, stage: Stage) -> tuple[str, str]:
        """Score of the validation set that selects a stage's model, and "min" or "max"."""
        return f"val_{self.task.training.monitor}", "max"

    def score_names(self, stage: Stage) -> Sequence[str]:
        """Names of the scores of a stage's validation set."""
        return TAG_SCORES

    def learning_panels(self, stage: Stage) -> Sequence:
        """Panels of a stage's learning curves."""
        return LEARNING_PANELS

    def run_fold(
        self, fold: FoldConfig, stores: Sequence[FeatureStore], folder: Path
    ) -> FoldScores:
        """Trains one fold with each pooling, and scores the models on its test clips."""
        (store,) = stores
        stages = self.begin_stages(folder)
        trained = [(each, self._train(each, fold, store, folder / each.name)) for each in stages]
        return self._test(trained, _selection(store, fold.test), folder)

    def test_fold(
        self,
        run: Path,
        test: RunTest,
        selection: Selection,
        folder: Path,
        checkpoint: str | None = None,
    ) -> FoldScores:
        """Scores trained models of a run on some mixtures, see `evaluate`."""
        load = partial(load_models, run, self.task, fold=test.fold, checkpoint=checkpoint)
        models = [(each, load([each])) for each in self.system.stages(self.task)]
        return self._test(models, selection, folder)

    def _train(
        self, stage: Stage, fold: FoldConfig, store: FeatureStore, folder: Path
    ) -> keras.Model:
        task = self.task
        train, validation = _selection(store, fold.train), _selection(store, fold.decisive)
        statistics = store.statistics(train.groups, ddof=task.features.ddof)
        threshold, training, model_input = task.scoring.tag_threshold, task.training, self._input
        data = stage_data(
            stage, train, validation, statistics, task.pipeline, task.seed, training, model_input
        )
        return self.train(stage, data, lambda: TagScorer(threshold), folder, training)

    def _test(self, trained: Sequence[TestedStage], test: Selection, folder: Path) -> FoldScores:
        """Predicts each test clip with all models in turn: its ground truth is computed once."""
        task, mixtures = self.task, self._mixtures()
        scorers = {stage.name: self.new_scorer() for stage, _ in trained}
        baselines: dict[str, SegmentationScorer] = {}
        names = test.recording_names
        examples = example_names([mixtures[name] for name in names], task.separated_clips)
        for predictions in self._predictions(trained, test):
            mixture = mixtures[predictions[0].name]
            truth = clip_scorer.read_truth(mixture, task.dataset, self.framing)
            outputs = [self._output(prediction) for prediction in predictions]
            for scorer, output in zip(scorers.values(), outputs, strict=True):
                scorer.update(truth, output)
            baseline = clip_scorer.baseline_outputs(truth, task.dataset.n_classes, self.framing)
            for label, output in baseline.items():
                baselines.setdefault(label, self.new_scorer()).update(truth, output)
            if truth.name in examples:
                self._write_example(truth, outputs[0], folder)
        classes = task.dataset.classes
        for name, scorer in scorers.items():
            lengths_s = [task.dataset.clip_s] * len(scorer.names)
            write_run_files(folder / name, scorer.names, scorer.estimates, classes, lengths_s)
        return FoldScores(_fold_scores(scorers), _fold_scores(baselines), len(names))

    def _predictions(
        self, trained: Sequence[TestedStage], test: Selection
    ) -> Iterator[tuple[Prediction, ...]]:
        """Yields the predictions of all models for each clip."""
        streams = []
        for stage, model in trained:
            form = self._input.sequence_format(stage)
            recordings = evaluation_stream(test, form, self.task.pipeline)
            streams.append(predict_recordings(model, recordings))
        # Scoring multiplies small matrices: threads of the numerical libraries would wait for each
        # other and for Keras.
        with devices(self.task.run), guard_stream(), threadpool_limits(limits=1):
            yield from zip(*streams, strict=True)

    @property
    def _input(self) -> ModelInput:
        return ModelInput(self.frontend)

    def _output(self, prediction: Prediction) -> ClipOutput:
        return ClipOutput(prediction.outputs["clip"], prediction.outputs["masks"])

    def _mixtures(self) -> dict[str, Mixture]:
        mixtures = find_mixtures(self.task.dataset_dir, self.task.dataset)
        return {mixture.name: mixture for mixture in mixtures}

    def _write_example(self, truth: ClipTruth, output: ClipOutput, folder: Path) -> None:
        task = self.task
        place = folder / EXAMPLES / Path(truth.name).stem
        threshold = task.scoring.tag_threshold
        write_example(
            truth, output, place, task.dataset, self.framing, task.clip_decoding, threshold
        )

    def report(self, results: Sequence[FoldScores], folder: Path) -> str:
        """Writes and returns the tables of scores, averaged over some folds."""
        task, scores = self.task, FoldScores.joined(results)
        systems, baselines, n_clips = scores.systems, scores.baselines, scores.n_clips
        classes, published = task.dataset.classes, task.published
        report = segmentation_report(systems, baselines, classes, n_clips, published=published)
        return self.write_scores(report, folder)


def example_names(mixtures: Sequence[Mixture], count: int) -> list[str]:
    """Chooses the mixtures with the most different classes, the first `count` of them by name."""

    def rank(mixture: Mixture) -> tuple[int, str]:
        return -len({event.label for event in mixture.events}), mixture.name

    return [mixture.name for mixture in sorted(mixtures, key=rank)[:count]]


def _fold_scores(scorers: Mapping[str, SegmentationScorer]) -> dict[str, list[ClassScores]]:
    return {label: [scorer.class_scores()] for label, scorer in scorers.items()}


def _selection(store: FeatureStore, folds: Sequence[int]) -> Selection:
    return Selection(store, tuple(map(str, folds)))
