"""One run of a SELD task: every fold trained, tested and scored, with its submission files and figures."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np

from common.callbacks import Scorer
from common.config import validate
from common.distribution import devices
from common.feature_store import FeatureStore
from common.files import write_json, write_text
from common.pipeline import guard_stream
from common.plotting import save_figure
from common.prediction import Prediction, predict_recordings
from common.section import Section
from common.stage_data import Selection, stage_data
from common.system import Stage, load_system, stages_to_redo
from common.tfrecord import read_shard
from common.training import Goal, train_stage
from seld.augmentation import foa_transforms
from seld.config import FoldConfig, TaskConfig
from seld.dataset import Events, parse_name
from seld.features import feature_shape
from seld.figures import LEARNING_PANELS, recording_figure
from seld.metrics import SeldScorer, reference_for
from seld.score import ScoredRecording, score_report
from seld.submission import read_submission, write_submission

logger = logging.getLogger(__name__)
MONITOR = "val_seld_error"


class ValidationScorer(Scorer):
    """Scores the validation recordings as the test recordings are scored: by the rows of their submission files."""

    def __init__(self, experiment: "Experiment"):
        task = experiment.task
        self.experiment = experiment
        self.scorer = SeldScorer(
            task.scoring.scorer,
            task.dataset.n_classes,
            frames_per_s=round(1.0 / task.dataset.label_hop_s),
            grid=task.dataset.grid,
        )

    def update(self, prediction: Prediction) -> None:
        """Takes in one recording."""
        task = self.experiment.task
        reference = reference_for(
            task.scoring.scorer,
            Events.from_array(prediction.events),
            task.dataset.n_frames,
            task.dataset.label_hop_s,
            task.dataset.grid,
        )
        self.scorer.update(reference, np.trunc(self.experiment.decode(prediction)), task.dataset.n_frames)

    def result(self) -> dict[str, float]:
        """Returns ER, F, DOA error in degrees, frame recall, SELD error, and how many directions there are."""
        scores = self.scorer.result()
        return {
            "er": scores.er,
            "f": scores.f,
            "doa_error_deg": scores.doa_error_deg,
            "frame_recall": scores.frame_recall,
            "seld_error": scores.seld_error,
            "n_reference": float(scores.directions.n_reference),
            "n_estimate": float(scores.directions.n_estimate),
            "n_pairs": float(scores.directions.n_pairs),
        }


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
        """Loads the system and checks that network, features and losses fit together, before any work.

        Raises:
            ConfigError: they do not.
        """
        system = load_system(task.family, task.system)
        network = validate(system.NetworkConfig, task.network, "network")
        shape = feature_shape(task.features, task.dataset.channels)
        system.check_network(network, (task.pipeline.sequence_frames, *shape))
        stages_to_redo(system.stages(task), task.overwrite)
        return cls(task, system, network)

    def new_network(self) -> keras.Model:
        """Builds the task's network with fresh weights: from standardised features (B, T, F, C), T free, to outputs."""
        shape = (None, *feature_shape(self.task.features, self.task.dataset.channels))
        return self.system.build_model(shape, self.task.dataset.n_classes, self.network)

    def run(self, stores: Sequence[FeatureStore], folder: Path) -> str:
        """Trains, tests and scores every fold.

        Args:
            stores: the extracted sets the task reads.
            folder: the run's directory.

        Returns:
            The table of scores over all folds, as text; also written to `scores.txt` and `scores.json`.
        """
        scored: list[ScoredRecording] = []
        for fold in self.task.folds:
            logger.info("Fold %s: train on %s, validate on %s, test on %s.", fold.name, *map(list, _splits(fold)))
            recordings = self.run_fold(fold, stores, folder / fold.name)
            scored += recordings
            if len(self.task.folds) > 1:
                self._report(recordings, folder / fold.name)
        return self._report(scored, folder)

    def run_fold(self, fold: FoldConfig, stores: Sequence[FeatureStore], folder: Path) -> list[ScoredRecording]:
        """Trains one fold and predicts its test recordings.

        Returns:
            Labels and predictions of the labelled test recordings; those without labels only get submission files.
        """
        for name in stages_to_redo(self.system.stages(self.task), self.task.overwrite):
            shutil.rmtree(folder / name, ignore_errors=True)
        for stage in self.system.stages(self.task):
            model = self._train(stage, fold, stores, folder / stage.name)
        test = Selection.among(stores, fold.test)
        recordings = test.recordings(stage, self.task.pipeline, self.task.features.interleaved_channels)
        scored = self._test(model, recordings, folder / "submissions")
        self._draw_example(test, folder)
        return scored

    def decode(self, prediction: Prediction) -> np.ndarray:
        """Turns outputs into rows (n, 4) = frame, class, azimuth_deg, elevation_deg at the hop of the labels."""
        task = self.task
        return self.system.decode(
            prediction.outputs,
            network=self.network,
            threshold=task.scoring.threshold,
            n_frames=task.dataset.n_frames,
        )

    def _train(self, stage: Stage, fold: FoldConfig, stores: Sequence[FeatureStore], folder: Path) -> keras.Model:
        task, features = self.task, self.task.features
        train = Selection.among(stores, fold.train)
        scaled = None if features.scaler_splits == "all" else train.groups
        augmented = task.training.augmentation == "foa_rotation"
        data = stage_data(
            stage,
            train,
            Selection.among(stores, fold.validate_on),
            train.store.statistics(scaled, features.interleaved_channels),
            task.pipeline,
            task.seed,
            transforms=foa_transforms(features.kind) if augmented else None,
            interleaved_channels=features.interleaved_channels,
        )
        goal = Goal(MONITOR, "min", lambda: ValidationScorer(self), LEARNING_PANELS)
        return train_stage(stage, data, goal, task.training, task.run, folder, task.seed)

    def _test(self, model: keras.Model, recordings: Any, folder: Path) -> list[ScoredRecording]:
        scored = []
        with devices(self.task.run), guard_stream():
            for prediction in predict_recordings(model, recordings):
                path = folder / f"{prediction.name}.csv"
                write_submission(path, self.decode(prediction))
                if prediction.labelled:  # scored from the file, so that the file alone gives the same table
                    rows = read_submission(path, self.task.dataset.n_classes)
                    events = Events.from_array(prediction.events)
                    place = parse_name(prediction.name, self.task.dataset.mode)
                    scored.append(ScoredRecording(prediction.name, *place, events, rows, self.task.dataset.n_frames))
        return scored

    def _report(self, scored: Sequence[ScoredRecording], folder: Path) -> str:
        if not scored:
            return f"The test recordings have no labels: there is nothing to score. Predictions are in {folder}/."
        report = score_report(scored, self.task.dataset, published=self.task.published)
        write_json(folder / "scores.json", report.to_dict())
        write_text(folder / "scores.txt", report.to_text() + "\n")
        return report.to_text()

    def _draw_example(self, test: Selection, folder: Path) -> None:
        """Draws the first test recording."""
        task = self.task
        record: Mapping[str, Any] = next(iter(read_shard(test.shards[0], test.store.schema)))
        name = str(record["name"])
        path = folder / "submissions" / f"{name}.csv"
        events = Events.from_array(record["events"])
        reference = reference_for("corrected", events, task.dataset.n_frames, task.dataset.label_hop_s)
        figure = recording_figure(
            first_channel_db(record["features"], task.features.kind),
            reference if record["labelled"] else None,
            read_submission(path, task.dataset.n_classes),
            task.dataset.classes,
            hop_s=task.dataset.label_hop_s,
            title=f"{name}: reference and estimate",
        )
        save_figure(figure, folder / "recording.png")


def first_channel_db(features: np.ndarray, kind: str) -> np.ndarray:
    """The level of the first channel, (T, F) in dB, from features (T, F, C)."""
    level = features[..., 0].astype(np.float32)
    return level if kind == "logmel_intensity" else 20.0 * np.log10(np.maximum(level, 1e-5))


def _splits(fold: FoldConfig) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    return fold.train, fold.validate_on, fold.test
