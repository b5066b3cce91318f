"""One run of a SELD task: every fold trained, tested and scored, with its submission files and
figures."""

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from common.data.feature_store import FeatureStore
from common.data.pipeline import evaluation_stream, guard_stream
from common.data.selection import Selection
from common.datasets import groups as source_groups
from common.display.plotting import save_figure
from common.errors import ConfigError
from common.features.channel_transforms import ChannelTransforms
from common.features.frontend import AUDIO, Frontend
from common.io.files import write_json, write_text
from common.models.audio_features import features_of
from common.runtime.distribution import devices
from common.settings.section import Section
from common.training.answers import Answers, parts
from common.training.evaluation import Prediction, predict_recordings
from common.training.stage import Goal, load_model, train_stage
from common.training.stage_data import ModelInput, stage_data
from common.training.system import Stage, prepare_system, stages_to_redo
from seld.augmentation import foa_transforms
from seld.config import FoldConfig, SeldTraining, TaskConfig
from seld.dataset import Events
from seld.extraction import place_of, stored_members
from seld.features import feature_shape, first_channel_db, frontend_of
from seld.figures import channel_titles, features_figure, learning_panels, recording_figure
from seld.labels import rows_on_circle
from seld.lengths import frames_of_recordings
from seld.metrics import DEFINITIONS, reference_for
from seld.preconditions import (
    batch_problem,
    described,
    fold_problems,
    off_grid_events,
    off_grid_problem,
    refuse,
)
from seld.score import ScoredRecording, score_report
from seld.submission import SUBMISSIONS, read_submission, write_submission
from seld.validation import ValidationScorer, detects_only

logger = logging.getLogger(__name__)

Trained = tuple[Stage, keras.Model]
Scored = dict[str, list[ScoredRecording]]  # by part of the system


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
        """Loads the system and checks that network, features and losses fit together, before any
        work.

        Raises:
            ConfigError: they do not.
        """
        system, network = prepare_system(task, feature_shape(task.features, task.dataset.channels))
        known = getattr(system, "STAGE_NAMES", [stage.name for stage in system.stages(task)])
        check_stage_names(known, task.training)
        return cls(task, system, network)

    @property
    def frontend(self) -> Frontend | None:
        """What the models compute of audio; None: they take features."""
        dataset = self.task.dataset
        return frontend_of(self.task.features, dataset.sample_rate_hz, dataset.channels)

    def new_network(self) -> keras.Model:
        """Builds the task's network with fresh weights: from standardised features (B, T, F, C), T
        free, to outputs."""
        shape = (None, *feature_shape(self.task.features, self.task.dataset.channels))
        return self.system.build_model(shape, self.task.dataset.n_classes, self.network)

    def run(self, stores: Sequence[FeatureStore], folder: Path) -> str:
        """Trains, tests and scores every fold.

        Args:
            stores: the extracted sets the task reads.
            folder: the run's directory.

        Returns:
            The table of scores over all folds, as text; also written to `scores.txt` and
            `scores.json`.
        """
        refuse(stored_problems(self.task, stores))
        members = stored_members(stores)
        source_groups.refuse(
            source_groups.fold_problems(self.task.folds, members, str(self.task.feature_dir))
        )
        if members:
            counts = ", ".join(
                f"split {split} {len(groups)}" for split, groups in sorted(members.items())
            )
            logger.info(
                "Groups of recordings of one source: %s; none is in two parts of a fold.", counts
            )
        scored: Scored = {}
        for fold in self.task.folds:
            logger.info(
                "Fold %s: train on %s, validate on %s, test on %s.",
                fold.name,
                *map(list, _splits(fold)),
            )
            of_fold = self.run_fold(fold, stores, folder / fold.name)
            for part, recordings in of_fold.items():
                scored.setdefault(part, []).extend(recordings)
            if len(self.task.folds) > 1:
                self._report(of_fold, folder / fold.name)
        return self._report(scored, folder)

    def run_fold(self, fold: FoldConfig, stores: Sequence[FeatureStore], folder: Path) -> Scored:
        """Trains one fold and predicts its test recordings.

        Returns:
            Labels and predictions of the labelled test recordings, by part of the system (see
            `Stage.part_of`); those without labels only get submission files.
        """
        stages = self.system.stages(self.task)
        for name in stages_to_redo(stages, self.task.overwrite):
            shutil.rmtree(folder / name, ignore_errors=True)
        test = Selection.among(stores, fold.test)
        scored: Scored = {}
        for part, members in parts(stages).items():
            trained: list[Trained] = []
            for stage in members:
                trained.append(
                    (stage, self._train(stage, trained, fold, stores, folder / stage.name))
                )
            place = folder / (f"submissions_{part}" if scored else SUBMISSIONS)
            scored[part] = self._test(trained, test, self._statistics(fold, stores)[0], place)
        self._draw_examples(test, folder)
        return scored

    def decode(
        self, prediction: Prediction, stage: Stage, n_frames: int | None = None
    ) -> np.ndarray:
        """Turns outputs into rows (n, 4) = frame, class, azimuth_deg, elevation_deg at the hop of
        the labels.

        Directions that are learned without a stage for detection are those of the truly active
        classes.

        Args:
            prediction: outputs of a recording.
            stage: the last one that answers.
            n_frames: label frames of the recording; None: as many as its features cover.
        """
        task, outputs = self.task, prediction.outputs
        hop_ratio = task.dataset.label_hop_s / task.features.hop_s
        if n_frames is None:
            n_frames = min(task.dataset.n_frames, round(prediction.frames / hop_ratio))
        if stage.answers == ("doa",) and stage.starts_from is None:
            outputs = {**outputs, "sed": np.maximum(prediction.targets["sed"], 0.0)}
        return self.rows(outputs, n_frames, hop_ratio)

    def rows(
        self, outputs: Mapping[str, np.ndarray], n_frames: int, hop_ratio: float
    ) -> np.ndarray:
        """Turns outputs into rows (n, 4) of so many label frames, with azimuths as the dataset
        writes them."""
        rows = self.system.decode(
            outputs,
            network=self.network,
            threshold=self.task.scoring.threshold,
            n_frames=n_frames,
            hop_ratio=hop_ratio,
        )
        return rows_on_circle(rows, self.task.dataset.grid)

    def decisive_score(self, stage: Stage) -> tuple[str, str]:
        """The score of the validation recordings that chooses a stage's model, and "min" or
        "max"."""
        return f"val_{'sed' if detects_only(stage) else 'seld'}_error", "min"

    def _train(
        self,
        stage: Stage,
        before: Sequence[Trained],
        fold: FoldConfig,
        stores: Sequence[FeatureStore],
        folder: Path,
    ) -> keras.Model:
        task, features = self.task, self.task.features
        augmented = task.training.augmentation == "foa_rotation"
        data = stage_data(
            stage,
            Selection.among(stores, fold.train),
            Selection.among(stores, fold.decisive),
            self._statistics(fold, stores),
            task.pipeline,
            task.seed,
            task.training,
            ModelInput(
                self.frontend,
                features.interleaved_channels,
                self._transforms() if augmented else None,
            ),
        )
        answers = Answers(before, lambda: data.sets.current.values())
        monitor, mode = self.decisive_score(stage)
        frames = {
            name: count
            for store in stores
            for name, count in frames_of_recordings(store, task.dataset).items()
        }
        new_scorer = partial(ValidationScorer, task, stage, answers, self.decode, frames)
        goal = Goal(monitor, mode, new_scorer, learning_panels(monitor))
        epochs = task.training.stage_epochs.get(stage.name, task.training.epochs)
        training = task.training.model_copy(update={"epochs": epochs})
        return train_stage(
            stage, data, goal, training, task.run, folder, task.seed, self._start(stage, before)
        )

    def _transforms(self) -> ChannelTransforms:
        features, grid = self.task.features, self.task.dataset.grid
        return foa_transforms(
            AUDIO if features.on_device else features.kind, grid.lowest_azimuth_deg
        )

    def _statistics(
        self, fold: FoldConfig, stores: Sequence[FeatureStore]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation (F, C) of the features that the fold learns from."""
        train, features = Selection.among(stores, fold.train), self.task.features
        groups = None if features.scaler_splits == "all" else train.groups
        return train.store.statistics(groups, features.interleaved_channels)

    def _start(self, stage: Stage, before: Sequence[Trained]) -> keras.Model | None:
        """The model whose weights a stage starts from: an earlier one, or one from a file."""
        path = self.task.training.start_from.get(stage.name)
        if path is not None:
            return load_model(path, "Give another file in `training.start_from`.")
        return next((model for earlier, model in before if earlier.name == stage.starts_from), None)

    def _test(
        self, trained: Sequence[Trained], test: Selection, mean: np.ndarray, folder: Path
    ) -> list[ScoredRecording]:
        *before, (stage, model) = trained
        task = self.task
        padding = mean if task.pipeline.padding == "mean" else None

        inputs = ModelInput(self.frontend, task.features.interleaved_channels)
        sequence_format = inputs.sequence_format(stage, padding)

        def stream() -> Any:
            return evaluation_stream(test, sequence_format, task.pipeline)

        answers, scored = Answers(before, lambda: [stream()]), []
        n_frames = frames_of_recordings(test.store, task.dataset)
        with devices(task.run), guard_stream():
            for prediction in predict_recordings(model, stream()):
                path = folder / f"{prediction.name}.csv"
                frames = n_frames[prediction.name]
                write_submission(path, self.decode(answers.joined(prediction), stage, frames))
                if (
                    prediction.labelled
                ):  # scored from the file, so that the file alone gives the same table
                    rows = read_submission(path, task.dataset.n_classes)
                    events = Events.from_array(prediction.events)
                    place = place_of(test.store, prediction.name, task.dataset.mode)
                    scored.append(ScoredRecording(prediction.name, *place, events, rows, frames))
        return scored

    def _report(self, scored: Scored, folder: Path) -> str:
        (_, main), *others = scored.items()
        if not main:
            return (
                "The test recordings have no labels: there is nothing to score. Predictions are in"
                f" {folder}/."
            )
        report = score_report(
            main, self.task.dataset, published=self.task.published, compared=dict(others)
        )
        report = replace(report, notes=(*report.notes, *self.task.published_notes))
        write_json(folder / "scores.json", report.to_dict())
        write_text(folder / "scores.txt", report.to_text() + "\n")
        return report.to_text()

    def _draw_examples(self, test: Selection, folder: Path) -> None:
        """Draws the first test recording without overlapping events and the first with, as far as
        is known."""
        overlaps: dict[int | None, str] = {}
        for name in test.recording_names:
            overlaps.setdefault(place_of(test.store, name, self.task.dataset.mode).overlap, name)
        for number, (overlap, name) in enumerate(overlaps.items()):
            record = test.store.record(test.groups, name)
            n_frames = frames_of_recordings(test.store, self.task.dataset)[name]
            record["features"] = self._heard(features_of(record, self.frontend), n_frames)
            suffix = f"_overlap{overlap}" if number else ""
            save_figure(
                self._example_figure(record, n_frames, folder / SUBMISSIONS),
                folder / f"recording{suffix}.png",
            )
            if not number:
                titles = channel_titles(self.task.features, self.task.dataset)
                figure = features_figure(record["features"], titles, self.task.features.hop_s, name)
                save_figure(figure, folder / "features.png")

    def _heard(self, features: np.ndarray, n_frames: int) -> np.ndarray:
        """The features (T, F, C) of a recording without those that fill it up."""
        task = self.task
        return features[
            : math.ceil(n_frames * task.dataset.label_hop_s / task.features.hop_s - 1e-6)
        ]

    def _example_figure(
        self, record: Mapping[str, Any], n_frames: int, submissions: Path
    ) -> Figure:
        task, name = self.task, str(record["name"])
        events = Events.from_array(record["events"])
        reference = reference_for("corrected", events, n_frames, task.dataset.label_hop_s)
        return recording_figure(
            first_channel_db(record["features"], task.features.kind),
            reference if record["labelled"] else None,
            read_submission(submissions / f"{name}.csv", task.dataset.n_classes),
            task.dataset.classes,
            hop_s=task.dataset.label_hop_s,
            spectrogram_hop_s=task.features.hop_s,
            title=f"{name}: reference and estimate",
            grid=task.dataset.grid,
        )


def stored_problems(task: TaskConfig, stores: Sequence[FeatureStore]) -> list[str]:
    """Says what training or scores of any fold would stop at, before the first one costs hours.

    What `seld.preconditions` asks of a dataset is asked of its features here: they may be of an
    earlier request.
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
                    off_grid.append(
                        (f"{name}, event {off[0] + 1}: {described(events, off[0])}", off.size)
                    )
    found = [
        each
        for fold in task.folds
        for each in fold_problems(fold, frames, labelled, task.set_names)
        or batch_problem(task, fold, frames)
    ]
    return found + (
        off_grid_problem(off_grid, task.dataset) if DEFINITIONS[task.scoring.scorer].on_grid else []
    )


def check_stage_names(known: Sequence[str], training: SeldTraining) -> None:
    """Checks that settings of single stages name stages that the system knows, whether this task
    trains them or not.

    Raises:
        ConfigError: one does not.
    """
    for key, named in (
        ("stage_epochs", training.stage_epochs),
        ("start_from", training.start_from),
    ):
        unknown = [name for name in named if name not in known]
        if unknown:
            raise ConfigError(
                f"`training.{key}` names stages that the system has not. Expected: some of"
                f" {', '.join(known)}. Received: {', '.join(unknown)}."
            )


def _splits(fold: FoldConfig) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    return fold.train, fold.validate_on, fold.test
