"""One run of a SELD task: folds trained, tested and scored, with submission files and figures."""

import logging
import math
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
from matplotlib.figure import Figure

from common.data.augmentation import Augmentation, FeatureChanges
from common.data.feature_store import FeatureStore
from common.data.pipeline import evaluation_stream, guard_stream
from common.data.selection import Selection
from common.datasets import groups as source_groups
from common.display.plotting import save_figure
from common.display.spectrogram import Spectrogram
from common.errors import ConfigError
from common.features.channel_transforms import ChannelTransforms
from common.features.frontend import Frontend
from common.features.settings import feature_shape, frontend_of
from common.models.audio_features import features_of
from common.runtime.distribution import devices
from common.training.ensemble import EarlierOutputs, Ensemble, TrainedStage, load_models
from common.training.evaluation import Prediction, predict_recordings
from common.training.experiment import FoldedExperiment
from common.training.run_directory import RunTest
from common.training.stage import load_model
from common.training.stage_data import ModelInput, stage_data
from common.training.system import Stage, parts
from seld import extraction
from seld.augmentation import foa_transforms, foa_transforms_of_axes, microphone_transforms
from seld.averages import average_outputs
from seld.config import SWAPS, FoldConfig, SeldTraining, TaskConfig
from seld.dataset import Events, evaluated_dataset
from seld.extraction import place_of, sets_of_tests, stored_members
from seld.figures import (
    channel_titles,
    features_figure,
    learning_panels,
    quantities_of,
    recording_figure,
)
from seld.labels import rows_of_events, rows_on_circle
from seld.metrics.dcase2019 import needs_grid
from seld.recordings.lengths import frames_of_recordings
from seld.recordings.preconditions import (
    batch_problem,
    described,
    off_grid_events,
    off_grid_problem,
    refuse_dataset,
    split_problems,
)
from seld.score import ScoredRecording
from seld.scores.scoring import Scoring, scoring_of
from seld.submission import SUBMISSIONS, SubmissionFiles, submission_files
from seld.validation import ValidationScorer, detects_only, score_names

logger = logging.getLogger(__name__)

Scored = dict[str, list[ScoredRecording]]  # by part of the system
_VECTORS = "x, y, z of vectors whose length is the activity, then the distance in metres if learned"
_FLAT = "2K: azimuths, then elevations, in radians; 3K: x, y, z of unit vectors"
_OUTPUTS: dict[str, list[tuple[tuple[str, ...], str]]] = {
    "sed": [(("batch", "frames", "classes"), "probability")],
    "logits": [(("batch", "frames", "classes"), "logit")],
    "doa": [
        (("batch", "frames", "coordinates of classes"), _FLAT),
        (("batch", "frames", "axes", "classes"), "x, y, z of vectors"),
    ],
    "accdoa": [
        (("batch", "frames", "axes", "classes"), _VECTORS),
        (("batch", "frames", "tracks", "axes", "classes"), _VECTORS),
    ],
    "tracks": [(("batch", "frames", "tracks", "classes, then axes"), "logits, then x, y, z")],
}


class Experiment(FoldedExperiment[TaskConfig, Scored]):
    """A SELD task with its system, checked and ready to run."""

    OUTPUTS = _OUTPUTS

    @staticmethod
    def feature_shape(task: TaskConfig) -> tuple[int, int]:
        """Bands and channels of the task's features, (F, C)."""
        dataset = task.dataset
        return feature_shape(task.features, dataset.sample_rate_hz, dataset.channels)

    @property
    def frontend(self) -> Frontend | None:
        """Features that the models compute from audio; None: they take stored features."""
        dataset = self.task.dataset
        return frontend_of(self.task.features, dataset.sample_rate_hz, dataset.channels)

    @cached_property
    def scoring(self) -> Scoring:
        """Scorer of the task."""
        return scoring_of(self.task)

    @cached_property
    def files(self) -> SubmissionFiles:
        """Submission files of the dataset's year."""
        return submission_files(self.task.dataset, self.task.network)

    @classmethod
    def for_evaluation(cls, task: TaskConfig, data: TaskConfig, splits: Sequence[str] = ()) -> Self:
        """The experiment of a run, on recordings of another task, see `BaseExperiment`."""
        dataset = evaluated_dataset(task.dataset, data.dataset)
        # Features of recordings of any rate are those of the run's own rate.
        rate_hz = task.features.rate_hz(task.dataset.sample_rate_hz)
        features = task.features
        if dataset.sample_rate_hz != task.dataset.sample_rate_hz:
            features = features.model_copy(update={"sample_rate_hz": rate_hz})
        changed = {
            "dataset": dataset,
            "features": features,
            "dataset_dir": data.dataset_dir,
            "feature_dir": data.feature_dir,
        }
        task = task.model_copy(update=changed)
        experiment = cls.of(task)
        experiment.files.check(task.scoring.scorer)
        return experiment

    def evaluation_sets(self, tests: Sequence[RunTest]) -> list[str]:
        """Sets of the dataset that some tests need."""
        return sets_of_tests(tests)

    def extract(self, set_name: str) -> FeatureStore:
        """Extracts a set of the dataset, without checks of folds that are not trained."""
        return extraction.run(self.task, [set_name], whole_task=False)[0]

    def check(self) -> None:
        """Raises ConfigError if settings do not fit the system.

        Settings of single stages may name stages that do not exist, and scorer or files may need a
        distance that the network does not predict.
        """
        system = self.system
        self.files.check(self.task.scoring.scorer)
        known = getattr(system, "STAGE_NAMES", [each.name for each in system.stages(self.task)])
        check_stage_names(known, self.task.training)

    def check_stores(self, stores: Sequence[FeatureStore]) -> None:
        """Raises DataError if the stored features do not allow training and scores."""
        refuse_dataset(stored_problems(self.task, stores))
        members = stored_members(stores)
        where = str(self.task.feature_dir)
        source_groups.refuse(source_groups.fold_problems(self.task.folds, members, where))
        if members:
            sizes = sorted(members.items())
            counts = ", ".join(f"split {split} {len(groups)}" for split, groups in sizes)
            text = "Groups of recordings of one source: %s; none is in two parts of a fold."
            logger.info(text, counts)

    def run_fold(self, fold: FoldConfig, stores: Sequence[FeatureStore], folder: Path) -> Scored:
        """Trains one fold and predicts its test recordings.

        Returns:
            Labels and predictions of the labelled test recordings, by part of the system (see
            `Stage.part_of`); those without labels only get submission files.
        """
        test = Selection.among(stores, fold.test)
        mean, _ = self._statistics(fold, stores)
        scored: Scored = {}
        for part, members in parts(self.begin_stages(folder)).items():
            trained: list[TrainedStage] = []
            for stage in members:
                self.begin_stage(stage, folder / stage.name)
                model = self._train(stage, trained, fold, stores, folder / stage.name)
                trained.append((stage, model))
            place = folder / _submissions_of(part, is_main=not scored)
            scored[part] = self._test(Ensemble([trained]), test, mean, place)
        self._draw_examples(test, folder)
        return scored

    def test_fold(
        self,
        run: Path,
        test: RunTest,
        selection: Selection,
        folder: Path,
        checkpoint: str | None = None,
    ) -> Scored:
        """Predicts recordings with trained models of a run, see `evaluate`."""
        scored: Scored = {}
        for part, members in parts(self.system.stages(self.task)).items():
            average = average_outputs
            models = load_models(run, self.task, members, test.fold, average, checkpoint)
            place = folder / _submissions_of(part, is_main=not scored)
            scored[part] = self._test(models, selection, models.mean, place)
        self._draw_examples(selection, folder)
        return scored

    def decode(
        self, prediction: Prediction, stage: Stage, n_frames: int | None = None
    ) -> np.ndarray:
        """Turns outputs into rows (n, 4) or (n, 7), see `seld.recordings.rows`.

        Without a detection stage, a stage of directions only gets detections from the ground truth.

        Args:
            prediction: outputs of a recording.
            stage: the last one of its part of the system.
            n_frames: label frames of the recording; None: as many as its features cover.
        """
        task, outputs = self.task, prediction.outputs
        hop_ratio = task.dataset.label_hop_s / task.features.hop_s
        if n_frames is None:
            n_frames = min(task.dataset.n_frames, round(prediction.frames / hop_ratio))
        if stage.outputs_used == ("doa",) and stage.starts_from is None:
            outputs = {**outputs, "sed": np.maximum(prediction.targets["sed"], 0.0)}
        return self.rows(outputs, n_frames, hop_ratio)

    def rows(
        self, outputs: Mapping[str, np.ndarray], n_frames: int, hop_ratio: float
    ) -> np.ndarray:
        """Turns outputs into rows of `n_frames` label frames, azimuths as in the dataset."""
        rows = self.system.decode(
            outputs,
            network=self.network,
            threshold=self.task.scoring.threshold,
            n_frames=n_frames,
            hop_ratio=hop_ratio,
        )
        return rows_on_circle(rows, self.task.dataset.grid)

    def decisive_score(self, stage: Stage) -> tuple[str, str]:
        """Score of the validation set that selects a stage's model, and "min" or "max"."""
        name, best = ("sed_error", "min") if detects_only(stage) else self.scoring.decisive()
        return f"val_{name}", best

    def score_names(self, stage: Stage) -> Sequence[str]:
        """Names of the scores of a stage's validation set."""
        return score_names(self.scoring, stage)

    def learning_panels(self, stage: Stage) -> Sequence:
        """Panels of a stage's learning curves."""
        return learning_panels(*self.decisive_score(stage))

    def _train(
        self,
        stage: Stage,
        before: Sequence[TrainedStage],
        fold: FoldConfig,
        stores: Sequence[FeatureStore],
        folder: Path,
    ) -> keras.Model:
        task = self.task
        data = stage_data(
            stage,
            Selection.among(stores, fold.train),
            Selection.among(stores, fold.decisive),
            self._statistics(fold, stores),
            task.pipeline,
            task.seed,
            task.training,
            ModelInput(self.frontend, self._packed_channels, self._augmentation(stage)),
        )
        earlier = EarlierOutputs(before, lambda: data.sets.current.values())
        n_frames: dict[str, int] = {}
        for store in stores:
            n_frames |= frames_of_recordings(store, task.dataset)
        decode = self.decode
        new_scorer = partial(
            ValidationScorer, self.scoring, self.files, stage, earlier, decode, n_frames
        )
        epochs = task.training.stage_epochs.get(stage.name, task.training.epochs)
        training = task.training.model_copy(update={"epochs": epochs})
        start = self._start(stage, before)
        return self.train(stage, data, new_scorer, folder, training, start)

    def _augmentation(self, stage: Stage) -> Augmentation:
        task, mixing = self.task, self.task.training.mixing
        if mixing.probability and stage.event_targets is None:
            raise ConfigError(
                "`training.mixing` adds the events of one recording to another's. Expected: a"
                " system whose targets are made of events, such as accdoa or einv2. Received:"
                f" {task.system}. Set `training.mixing.probability: 0`."
            )
        changes = FeatureChanges.of_kind(
            task.training.feature_augmentation, task.features.entry, task.dataset.channels
        )
        return Augmentation(mixing, self._transforms(stage), changes)

    def _transforms(self, stage: Stage) -> ChannelTransforms | None:
        """Swaps of channels for the training sequences; that the features have them is checked."""
        features, name = self.task.features, self.task.training.augmentation
        tables = getattr(features, SWAPS[name][1]) if name in SWAPS else None
        if tables is None:
            return None
        lowest_deg = self.task.dataset.grid.lowest_azimuth_deg
        if name == "mic_swap":
            return microphone_transforms(tables, lowest_deg)
        if name == "foa_rotation":
            return foa_transforms(tables, lowest_deg)
        if stage.event_targets is None:
            raise ConfigError(
                "`training.augmentation: foa_axes` exchanges z with x or y, which angles cannot"
                " follow. Expected: a system whose targets are vectors. Received:"
                f" {self.task.system}. Set it to foa_rotation."
            )
        return foa_transforms_of_axes(tables)

    def _statistics(
        self, fold: FoldConfig, stores: Sequence[FeatureStore]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (F, C) of the fold's training features."""
        train, features = Selection.among(stores, fold.train), self.task.features
        groups = None if features.scaler_splits == "all" else train.groups
        return train.store.statistics(groups, self._packed_channels)

    @property
    def _packed_channels(self) -> int:
        return self.task.features.packed_channels(self.task.dataset.channels)

    def _start(self, stage: Stage, before: Sequence[TrainedStage]) -> keras.Model | None:
        """Model whose weights a stage starts from: an earlier stage's, or one from a file."""
        path = self.task.training.start_from.get(stage.name)
        if path is not None:
            return load_model(path, "Give another file in `training.start_from`.")
        return next((model for earlier, model in before if earlier.name == stage.starts_from), None)

    def _test(
        self, models: Ensemble, test: Selection, mean: np.ndarray, folder: Path
    ) -> list[ScoredRecording]:
        """Writes a submission file of each test recording; returns the labelled ones."""
        stage, _ = models.stages[-1]
        task = self.task
        padding = mean if task.pipeline.padding == "mean" else None
        inputs = ModelInput(self.frontend, self._packed_channels)
        sequence_format = inputs.sequence_format(stage, padding)
        stream = evaluation_stream(test, sequence_format, task.pipeline)
        scored = []
        n_frames = frames_of_recordings(test.store, task.dataset)
        with devices(task.run), guard_stream():
            for prediction in predict_recordings(models, stream):
                path = folder / f"{prediction.name}.csv"
                frames = n_frames[prediction.name]
                self.files.write(path, self.decode(prediction, stage, frames))
                if prediction.labelled:
                    # Scored from the file: its scores are the same without the model.
                    rows = self.files.read(path)
                    events = Events.from_array(prediction.events)
                    place = place_of(test.store, prediction.name, task.dataset)
                    scored.append(ScoredRecording(prediction.name, *place, events, rows, frames))
        return scored

    def report(self, results: Sequence[Scored], folder: Path) -> str:
        """Writes and returns the tables of scores over some folds."""
        first = results[0]
        scored = {part: [each for of_fold in results for each in of_fold[part]] for part in first}
        (_, main), *others = scored.items()
        if not main:
            text = (
                "The test recordings have no labels: there is nothing to score. Predictions are in"
            )
            return f"{text} {folder}/."
        return self.write_scores(self.scoring.report(main, dict(others)), folder)

    def _draw_examples(self, test: Selection, folder: Path) -> None:
        """Draws the first test recording without overlapping events and the first with them."""
        overlaps: dict[int | None, str] = {}
        for name in test.recording_names:
            overlaps.setdefault(place_of(test.store, name, self.task.dataset).overlap, name)
        for number, (overlap, name) in enumerate(overlaps.items()):
            record = test.store.record(test.groups or test.store.groups, name)
            n_frames = frames_of_recordings(test.store, self.task.dataset)[name]
            record["features"] = self._unpadded(features_of(record, self.frontend), n_frames)
            suffix = f"_overlap{overlap}" if number else ""
            figure = self._example_figure(record, n_frames, folder / SUBMISSIONS)
            save_figure(figure, folder / f"recording{suffix}.png")
            if not number:
                titles = channel_titles(self.task.features, self.task.dataset)
                figure = features_figure(record["features"], titles, self.task.features.hop_s, name)
                save_figure(figure, folder / "features.png")

    def _unpadded(self, features: np.ndarray, n_frames: int) -> np.ndarray:
        """Features (T, F, C) of a recording without its padding."""
        hop_ratio = self.task.dataset.label_hop_s / self.task.features.hop_s
        return features[: math.ceil(n_frames * hop_ratio - 1e-6)]

    def _example_figure(
        self, record: Mapping[str, Any], n_frames: int, submissions: Path
    ) -> Figure:
        task, name = self.task, str(record["name"])
        events = Events.from_array(record["events"])
        reference = rows_of_events(events, n_frames, task.dataset.label_hop_s)
        levels = task.features.entry.level_db(record["features"])
        return recording_figure(
            Spectrogram(levels, len(levels) * task.features.hop_s),
            reference if record["labelled"] else None,
            self.files.read(submissions / f"{name}.csv"),
            task.dataset.classes,
            hop_s=task.dataset.label_hop_s,
            title=f"{name}: reference and estimate",
            quantities=quantities_of(task.dataset, task.network),
            grid=task.dataset.grid,
        )


def stored_problems(task: TaskConfig, stores: Sequence[FeatureStore]) -> list[str]:
    """Problems of training or scoring of any fold, found before the first epoch.

    They are those of `seld.recordings.preconditions`, checked on the stored features, which may be
    older than the dataset.
    """
    frames, labelled = dict[int, list[int]](), set[int]()
    off_grid: list[tuple[str, int]] = []
    for store in stores:
        for entry in store.entries:
            frames.setdefault(int(entry.group), []).extend(entry.frames)
        for group in store.groups:
            for name, arrays in store.arrays([group], ("events", "labelled")).items():
                labelled |= {int(group)} if arrays["labelled"] else set()
                events = Events.from_array(arrays["events"])
                off = off_grid_events(events, task.dataset)
                if off.size:
                    text = f"{name}, event {off[0] + 1}: {described(events, off[0])}"
                    off_grid.append((text, off.size))
    found: list[str] = []
    for fold in task.folds:
        absent = split_problems(fold, frames, labelled, task.set_names)
        found += absent or batch_problem(task, fold, frames)
    on_grid = needs_grid(task.scoring.scorer)
    return found + (off_grid_problem(off_grid, task.dataset) if on_grid else [])


def check_stage_names(known: Sequence[str], training: SeldTraining) -> None:
    """Checks that settings of single stages name stages of the system, trained here or not.

    Raises:
        ConfigError: one does not.
    """
    settings: dict[str, dict[str, Any]] = {
        "stage_epochs": training.stage_epochs,
        "start_from": training.start_from,
    }
    for key, named in settings.items():
        unknown = [name for name in named if name not in known]
        if unknown:
            raise ConfigError(
                f"`training.{key}` names unknown stages. Expected: some of {', '.join(known)}."
                f" Received: {', '.join(unknown)}."
            )


def _submissions_of(part: str, *, is_main: bool) -> str:
    """Name of the folder of submission files of a part of the system."""
    return SUBMISSIONS if is_main else f"submissions_{part}"
