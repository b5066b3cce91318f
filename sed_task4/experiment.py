"""One run of a task-4 system: training, test and scores of its stages, event files, figures."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import keras
import numpy as np

from common.data.augmentation import Augmentation, FeatureChanges
from common.data.feature_store import FeatureStore
from common.data.pipeline import evaluation_stream, guard_stream
from common.data.selection import BatchParts, Selection
from common.datasets.groups import refuse
from common.display.plotting import save_figure
from common.errors import CheckpointError, ConfigError
from common.events.table import EventTable
from common.features.frontend import Frontend
from common.features.scaling import dataset_statistics
from common.features.settings import feature_shape, frontend_of
from common.io.files import write_json
from common.models.audio_features import features_of
from common.models.layers import STATISTICS
from common.models.levels import level_layers
from common.runtime.distribution import devices
from common.settings.pipeline import PipelineConfig
from common.training.batch_augmentation import Batch, build_changes
from common.training.callbacks import Scorer
from common.training.checkpoints import has_model, load_checkpoint
from common.training.ensemble import chosen_folds
from common.training.evaluation import Prediction, predict_recordings
from common.training.experiment import BaseExperiment
from common.training.mean_teacher import chosen_network, other_networks
from common.training.run_directory import FINISHED, RunTest, read_form
from common.training.stage_data import ModelInput, stage_data
from common.training.system import Stage
from sed_task4 import extraction, figures
from sed_task4.clips import clip_groups
from sed_task4.clips.clip_groups import GROUP, ClipSources
from sed_task4.clips.layouts import LAYOUTS, evaluated_classes, has_windows
from sed_task4.clips.lengths import cut_to_length, frames_within, lengths_of_store, log_cut
from sed_task4.clips.recording_windows import Window
from sed_task4.clips.training_sets import training_sets, unlabelled_clips
from sed_task4.config import Task4Training, TaskConfig
from sed_task4.dataset import check_disjoint
from sed_task4.decoding import (
    DecodingConfig,
    best_thresholds,
    decision_scores,
    empty_events,
    spread_tags,
    sweep_remark,
)
from sed_task4.median_search import (
    ScoredClip,
    check_searchable,
    named,
    search_medians,
    with_medians,
)
from sed_task4.pseudo_labels import write_pseudo_labels
from sed_task4.scores.maestro import MaestroScores, RecordingScorer, constant_scores
from sed_task4.scores.score_curves import CURVES, write_curves
from sed_task4.scores.score_files import SCORES, ClipScores, clip_edges, write_score_files
from sed_task4.scores.systems import SystemOutput, TestSet, score_report, with_maestro
from sed_task4.scores.tables import ALWAYS_ACTIVE
from sed_task4.submission import write_run_files
from sed_task4.validation import (
    ClipResult,
    ClipScorer,
    DataSets,
    TeacherScorer,
    ValidationScorer,
    check_recordings,
    score_names,
    take_in,
    take_in_window,
)

logger = logging.getLogger(__name__)
THRESHOLDS = "tag_thresholds.json"
MEDIANS = "median_frames.json"


@dataclass(frozen=True)
class FinishedPass:
    """A finished stage: its model, the thresholds of its tags (K,), and its decoding."""

    stage: Stage
    model: keras.Model
    thresholds: np.ndarray
    decoding: DecodingConfig


@dataclass
class Found:
    """Predictions of the test clips.

    Attributes:
        test: ground truth; None without strong labels.
        systems: by row of the table, the last stage first.
        example: the last stage's prediction of the first clip with an event.
        decoding: of the last stage; None before the first.
        maestro: by row, scores of the recordings whose windows are among the clips.
    """

    test: TestSet | None = None
    systems: dict[str, SystemOutput] = field(default_factory=dict)
    example: ClipResult | None = None
    decoding: DecodingConfig | None = None
    maestro: dict[str, MaestroScores] = field(default_factory=dict)

    def add(
        self,
        test: TestSet,
        systems: Mapping[str, SystemOutput],
        clips: np.ndarray,
        classes: Sequence[int],
    ) -> None:
        """Adds the clips, by number, and classes of a stage that are evaluated."""
        chosen = {label: each.of_clips(clips) for label, each in systems.items()}
        self.test = test.of_clips(clips)
        if len(classes) < len(test.classes):
            self.test = self.test.of_classes(classes)
            chosen = {label: each.of_classes(classes) for label, each in chosen.items()}
        self.systems = chosen | self.systems  # the last stage first

    def add_recordings(self, label: str, recordings: RecordingScorer) -> None:
        """Adds the scores of recordings, if their windows are among the clips of a stage."""
        scores = recordings.result()
        if scores is not None:
            always = {ALWAYS_ACTIVE: constant_scores(scores)}
            self.maestro = {label: scores} | self.maestro | always


class Experiment(BaseExperiment[TaskConfig, Found]):
    """A task-4 task with its system, checked and ready to run."""

    made_of_models = (THRESHOLDS, MEDIANS)
    OUTPUTS: ClassVar = {
        "frames": [(("batch", "frames", "classes"), "probability")],
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

    def decoding_facts(self, folder: Path) -> dict[str, Any]:
        """Settings of decoding, with the median lengths and tag thresholds that were searched."""
        task, classes = self.task, self.task.dataset.classes
        decoding, path = task.clip_decoding, folder / THRESHOLDS
        if decoding.search_medians and is_searched(folder / MEDIANS):
            decoding = with_medians(decoding, folder / MEDIANS, classes)
        facts = {f"decoding.{k}": v for k, v in decoding.model_dump(mode="json").items()}
        if task.decoding.searches_gate and is_searched(path):
            limits = read_thresholds(path, classes).tolist()
            facts["tag_thresholds"] = dict(zip(classes, limits, strict=True))
        return facts

    def levels(self) -> Sequence[keras.layers.Layer]:
        """New layers from linear magnitudes to scaled levels; none for other features."""
        features = self.task.features
        return level_layers(features.levels, features.scaling) if features.entry.is_linear else ()

    def check(self) -> None:
        """Raises ConfigError if the system needs unlabelled clips and the task has none."""
        stages = self.system.stages(self.task)
        learns_from_unlabelled = any(stage.learns_from == "predictions" for stage in stages)
        if learns_from_unlabelled and not self.task.sets.unlabelled:
            name = self.task.system
            raise ConfigError(
                f"{name} learns from unlabelled clips. Expected: `sets.unlabelled`, or"
                " `second_pass: null` for the first pass alone. Received: neither."
            )
        self._check_changes()

    def _check_changes(self) -> None:
        """Raises ConfigError if the settings of batches in the model do not fit."""
        task, training = self.task, self.task.training
        if not getattr(self.system, "CHANGES_BATCHES", False):
            if unread := training.of_mean_teacher:
                raise ConfigError(
                    f"`training.{unread[0]}` is of the system mean_teacher. Expected: `system:"
                    f" mean_teacher`, or no such setting. Received: `system: {task.system}`."
                )
            return
        teacher = training.teacher
        changed = bool(training.batch_augmentation.used)
        changed |= teacher is not None and teacher.noise.kind != "none"
        if changed and not task.features.entry.is_linear:
            kinds = [name for name, entry in task.features.KINDS.items() if entry.is_linear]
            raise ConfigError(
                "`training.batch_augmentation` and `training.teacher.noise` change linear"
                f" magnitudes. Expected: `features.kind` among {', '.join(kinds)}, or no change and"
                f" `noise: {{kind: none}}`. Received: {task.features.kind}."
            )
        # Parts that the changes or the consistency name must be there before any work.
        stride = self.system.stages(task)[0].target_stride
        build_changes(training.batch_augmentation, task.sets.part_sizes, stride)
        if teacher is not None:
            Batch(task.sets.part_sizes).mask(teacher.consistency_parts)

    def run(self, stores: Sequence[FeatureStore], folder: Path) -> str:
        """Trains the stages in turn, and scores each of them on the test clips.

        Args:
            stores: the extracted subsets that the task reads.
            folder: the run's directory.

        Returns:
            The tables of scores, also written to `scores.txt` and `scores.json`.
        """
        store = FeatureStore.joined(stores)
        sources = self._sources(stores)
        stages = self.begin_stages(folder)
        labelled, validation = training_sets(self.task, store, sources, folder)
        if self.task.sets.holds_out or self.task.sets.validate_on:
            check_disjoint(labelled.recording_names, validation.recording_names)
        check_disjoint(labelled.recording_names, store.names(self.task.sets.test))
        if self.task.decoding.search_medians:
            groups = validation.groups or store.groups
            stored = store.arrays(groups, ["labelled", "events"])
            known = [stored[name] for name in validation.recording_names]
            check_searchable([each["events"] for each in known if each["labelled"]], len(known))
        data_sets = self.data_sets(store)
        if "maestro" in self.task.training.monitor:
            check_recordings(validation, data_sets, self.task.training.monitor)
        before: FinishedPass | None = None
        found = Found()
        for stage in stages:
            place = folder / stage.name
            self.begin_stage(stage, place)
            train: BatchParts | Selection = labelled
            if stage.learns_from == "predictions" and before is not None:
                unlabelled = unlabelled_clips(self.task.sets, store, sources, validation)
                train = self._pseudo_labelled(before, unlabelled, place)
            model = self._train(stage, train, validation, before, store, place)
            for apart, network, below in networks_of(stage, model):
                before = self._finished(apart, network, validation, place / below)
                self._test(before, store, place / below, found)
        self._draw_example(found, store, folder)
        return self.report([found], folder)

    @classmethod
    def for_evaluation(cls, task: TaskConfig, data: TaskConfig, splits: Sequence[str] = ()) -> Self:
        """The experiment of a run, on clips of another task, see `BaseExperiment`."""
        if (task.dataset.embeddings is None) != (data.dataset.embeddings is None):
            expected = "none" if task.dataset.embeddings is None else "those of the model in use"
            raise ConfigError(f"`dataset.embeddings`: the run was trained with {expected}.")
        rate_hz = task.dataset.sample_rate_hz  # recordings are resampled to it
        test = tuple(splits) or data.sets.test
        changed = {
            "dataset": data.dataset.model_copy(update={"sample_rate_hz": rate_hz}),
            "sets": task.sets.model_copy(update={"test": test}),
            "dataset_dir": data.dataset_dir,
            "feature_dir": data.feature_dir,
        }
        task = task.model_copy(update=changed)
        return cls.of(task)

    def tests_of(self, fold: str | None, splits: Sequence[str], is_own: bool) -> list[RunTest]:
        """The only test of an evaluation: all models of a run on the subsets of its test."""
        chosen_folds(self.task, fold)
        sets = self.task.sets
        strange = [subset for subset in sets.test if is_own and subset in sets.learned]
        if strange:
            raise ConfigError(
                f"--splits {','.join(strange)}: the run has learned from them. Expected: other"
                f" subsets of its dataset than {', '.join(sets.learned)}."
            )
        return [RunTest(splits=sets.test)]

    def trained_stages(self, folder: Path) -> list[Stage]:
        """Stages of a run, which predict on their own; while one trains, those that have a model.

        Args:
            folder: of the run.
        """
        stages = self.system.stages(self.task)
        trained = [stage for stage in stages if has_model(folder / stage.name)] or stages
        if len(trained) < len(stages):
            later = ", ".join(stage.name for stage in stages if stage not in trained)
            logger.info("%s: left out, since they have no model yet: %s.", folder, later)
        return trained

    def evaluation_sets(self, tests: Sequence[RunTest]) -> list[str]:
        """Subsets that are tested."""
        return list(self.task.sets.test)

    def extract(self, set_name: str) -> FeatureStore:
        """Extracts a subset."""
        return extraction.run(self.task, [set_name])[0]

    def evaluate(
        self,
        stores: Sequence[FeatureStore],
        run: Path,
        folder: Path,
        tests: Sequence[RunTest],
        checkpoint: str | None = None,
    ) -> str:
        """Tests the networks of a run, see `BaseExperiment`."""
        store, found = FeatureStore.joined(stores), Found()
        for stage in self.trained_stages(run):
            model = load_checkpoint(run / stage.name, checkpoint)
            for apart, network, below in networks_of(stage, model):
                trained = self._chosen(apart, network, run / stage.name / below)
                self._test(trained, store, folder / stage.name / below, found)
        self._draw_example(found, store, folder)
        return self.report([found], folder)

    def _finished(
        self, stage: Stage, model: keras.Model, validation: Selection, folder: Path
    ) -> FinishedPass:
        """Chooses thresholds and decoding of a trained network."""
        folder.mkdir(parents=True, exist_ok=True)
        thresholds = self._thresholds(stage, model, validation, folder)
        self._search_medians(stage, model, validation, folder, thresholds)
        return self._chosen(stage, model, folder)

    def _chosen(self, stage: Stage, model: keras.Model, folder: Path) -> FinishedPass:
        """Reads thresholds and decoding that were chosen for a trained network."""
        classes, decoding = self.task.dataset.classes, self.task.clip_decoding
        if decoding.search_medians and is_searched(folder / MEDIANS):
            decoding = with_medians(decoding, folder / MEDIANS, classes)
        thresholds = np.full(len(classes), self.task.scoring.tag_threshold)
        if is_searched(folder / THRESHOLDS):
            thresholds = read_thresholds(folder / THRESHOLDS, classes)
        return FinishedPass(stage, model, thresholds, decoding)

    def _sources(self, stores: Sequence[FeatureStore]) -> dict[str, ClipSources]:
        """Source recordings of the clips of each subset; refuses sources shared by subsets."""
        named = [(subset, each) for each in stores for subset in each.groups]
        sources = {subset: stored_sources(each, subset) for subset, each in named}
        where = str(self.task.feature_dir)
        refuse(clip_groups.subset_problems(self.task.sets, sources, where))
        grouped = {subset: each for subset, each in sources.items() if each.has_groups}
        known = [f"{subset} {len(each.clip_of_group())}" for subset, each in grouped.items()]
        if known:
            logger.info("Groups of clips of one source: %s.", ", ".join(known))
        return sources

    def clip_result(
        self, prediction: Prediction, lengths_s: Mapping[str, float] | None = None
    ) -> ClipResult:
        """Brings the outputs for one clip to the frame rate of the features.

        Args:
            prediction: the clip, padded or not.
            lengths_s: lengths of clips in seconds by name, see `sed_task4.clips.lengths`; other
                lengths are those of the labels.
        """
        outputs, n_frames = prediction.outputs, prediction.frames
        probabilities = self.system.probabilities
        frames, clip = probabilities(outputs, network=self.network, n_frames=n_frames)
        duration_s = (lengths_s or {}).get(prediction.name)
        if duration_s is None:
            duration_s = self._labelled_s(prediction)
        tags = np.atleast_2d(prediction.targets["clip"])[0]
        events = prediction.events if prediction.labelled else None
        n_inside = frames_within(duration_s, self.task.features.hop_s)
        return ClipResult(prediction.name, frames, clip, tags, events, duration_s, n_inside)

    def _labelled_s(self, prediction: Prediction) -> float:
        """Length of a clip from its labels, -1 in the padding, for stores without lengths."""
        features, clip_s = self.task.features, self.task.dataset.clip_s
        activity = prediction.targets["frames"]
        inside = np.count_nonzero((activity >= 0).any(axis=-1))
        if not prediction.labelled or inside == len(activity):
            whole = prediction.frames >= features.n_frames(clip_s)
            return clip_s if whole else prediction.frames * features.hop_s
        return min(clip_s, inside * round(prediction.frames / len(activity)) * features.hop_s)

    def new_clip_scorer(
        self,
        thresholds: np.ndarray | None = None,
        decoding: DecodingConfig | None = None,
        classes: Sequence[int] | None = None,
    ) -> ClipScorer:
        """A decoder and scorer of clips with the task's settings.

        Args:
            thresholds: tag thresholds (K,) in place of the gate in the settings.
            decoding: the rule, in place of that in the settings.
            classes: those of the clips, by number and rising; None: all.
        """
        task, dataset = self.task, self.task.dataset
        decoding, gate = decoding or task.clip_decoding, self._gate(thresholds)
        chosen = list(range(dataset.n_classes) if classes is None else classes)
        decoding, gate = decoding.of_classes(chosen), None if gate is None else gate[chosen]
        hop_s, clip_s = task.features.hop_s, dataset.clip_s
        return ClipScorer(len(chosen), decoding, hop_s, clip_s, task.scoring, gate)

    def data_sets(self, store: FeatureStore) -> DataSets:
        """Clips and classes of a store that are evaluated apart.

        Raises:
            DataError: a window has the name of none, so that its recording is unknown.
        """
        dataset = self.task.dataset
        subsets = [name for name in store.groups if has_windows(dataset.layout, name)]
        windows = frozenset(store.names(subsets) if subsets else ())
        for name in windows:
            Window.of(name)
        of_clips, of_windows = evaluated_classes(dataset.layout, dataset.classes)
        return DataSets(windows, tuple(of_clips), tuple(of_windows))

    def new_recording_scorer(
        self,
        data_sets: DataSets,
        thresholds: np.ndarray | None = None,
        decoding: DecodingConfig | None = None,
    ) -> RecordingScorer:
        """A scorer of recordings whose windows are clips; arguments as of `new_clip_scorer`."""
        decoding, hop_s = decoding or self.task.clip_decoding, self.task.features.hop_s
        return RecordingScorer(data_sets.of_windows, decoding, hop_s, self._gate(thresholds))

    def _gate(self, thresholds: np.ndarray | None) -> np.ndarray | None:
        """Searched tag thresholds (K,), if these replace the gate in the settings."""
        return thresholds if self.task.decoding.searches_gate else None

    def decisive_score(self, stage: Stage) -> tuple[str, str]:
        """Score of the validation set that selects a stage's model, and "min" or "max"."""
        return f"val_{self.task.training.monitor}", "max"

    def score_names(self, stage: Stage) -> Sequence[str]:
        """Names of the scores of the validation set, by the labels of its subsets."""
        task, places = self.task, LAYOUTS[self.task.dataset.layout]
        teacher = task.training.teacher
        kinds = {places[subset].kind for subset in task.sets.validating}
        return score_names(self.new_clip_scorer, kinds, None if teacher is None else teacher.use)

    def learning_panels(self, stage: Stage) -> Sequence:
        """Panels of a stage's learning curves."""
        return figures.LEARNING_PANELS

    def _pseudo_labelled(
        self, before: FinishedPass, unlabelled: Selection, folder: Path
    ) -> Selection:
        """Labels the unlabelled clips by the predictions of the previous stage."""
        task = self.task
        shards = write_pseudo_labels(
            self._results(before.model, before.stage, unlabelled),
            unlabelled,
            task.dataset.classes,
            before.thresholds,
            task.later_pass.pseudo_labels,
            folder / "pseudo_labels",
        )
        return dataclasses.replace(unlabelled, label_shards=shards)

    def _train(
        self,
        stage: Stage,
        train: BatchParts | Selection,
        validation: Selection,
        before: FinishedPass | None,
        store: FeatureStore,
        folder: Path,
    ) -> keras.Model:
        task = self.task
        training, pipeline = self._training(stage)
        lengths_s = lengths_of_store(store, task.dataset.clip_s)
        statistics = self._statistics(store)
        changes = FeatureChanges.of_kind(
            task.training.feature_augmentation, task.features.entry, n_levels=1
        )
        augmentation = Augmentation(changes=changes)
        model_input = ModelInput(self.frontend, levels=self.levels, augmentation=augmentation)
        data = stage_data(
            stage, train, validation, statistics, pipeline, task.seed, training, model_input
        )
        clip_result = partial(self.clip_result, lengths_s=lengths_s)
        warm = stage.learns_from == "predictions" and task.later_pass.warm_start
        start = before.model if warm and before is not None else None

        data_sets = self.data_sets(store)

        def of_network() -> ValidationScorer:
            clips = self.new_clip_scorer(classes=data_sets.of_clips)
            recordings = self.new_recording_scorer(data_sets)
            return ValidationScorer(clips, clip_result, data_sets, recordings)

        def new_scorer() -> Scorer:
            teacher = task.training.teacher
            return of_network() if teacher is None else TeacherScorer(of_network, teacher.use)

        return self.train(stage, data, new_scorer, folder, training, start)

    def _training(self, stage: Stage) -> tuple[Task4Training, PipelineConfig]:
        """Training and pipeline settings of a stage."""
        training, pipeline, second = self.task.training, self.task.pipeline, self.task.later_pass
        if stage.learns_from == "labels":
            return training, pipeline
        changes = {name: getattr(second, name) for name in ("epochs", "learning_rate")}
        changes = {name: value for name, value in changes.items() if value is not None}
        batch_size = second.batch_size or pipeline.batch_size
        pipeline = pipeline.model_copy(update={"batch_size": batch_size})
        return training.model_copy(update=changes), pipeline

    def _statistics(self, store: FeatureStore) -> tuple[np.ndarray, np.ndarray]:
        features = self.task.features
        if not features.entry.is_linear:
            return store.statistics(self.task.sets.statistics, ddof=features.ddof)
        of_levels = store.running_statistics(self.task.sets.statistics)
        return dataset_statistics(of_levels, features.scaling, features.ddof)

    def _results(
        self, model: keras.Model, stage: Stage, selection: Selection
    ) -> Iterator[ClipResult]:
        pipeline = self.task.pipeline
        mean, *_ = model.get_layer(STATISTICS).get_weights()
        padding = mean if pipeline.padding == "mean" else None
        lengths_s = lengths_of_store(selection.store, self.task.dataset.clip_s)
        with devices(self.task.run), guard_stream():
            sequence_format = ModelInput(self.frontend).sequence_format(stage, padding)
            recordings = evaluation_stream(selection, sequence_format, pipeline)
            for prediction in predict_recordings(model, recordings):
                yield self.clip_result(prediction, lengths_s)

    def _thresholds(
        self, stage: Stage, model: keras.Model, validation: Selection, folder: Path
    ) -> np.ndarray:
        """Tag thresholds (K,), stored with the stage: searched on validation, or as set."""
        task, path = self.task, folder / THRESHOLDS
        if not path.exists():
            chosen = np.full(task.dataset.n_classes, task.scoring.tag_threshold)
            if task.decoding.search_thresholds:
                scorer = self.new_clip_scorer()
                for clip in self._results(model, stage, validation):
                    take_in(scorer, clip)
                known, tags = scorer.tag_targets
                chosen = best_thresholds(tags, scorer.tag_probabilities[known])
            write_json(path, dict(zip(task.dataset.classes, chosen.tolist(), strict=True)))
        return read_thresholds(path, task.dataset.classes)

    def _search_medians(
        self,
        stage: Stage,
        model: keras.Model,
        validation: Selection,
        folder: Path,
        thresholds: np.ndarray,
    ) -> None:
        """Searches the median lengths of a stage, which are stored with it, if the task wants."""
        task, path, decoding = self.task, folder / MEDIANS, self.task.clip_decoding
        if not decoding.search_medians or path.exists():
            return
        found = search_medians(
            [
                ScoredClip(each.frames[: each.n_inside], each.clip, each.events, each.duration_s)
                for each in self._results(model, stage, validation)
                if each.events is not None
            ],
            decoding,
            task.features.hop_s,
            tag_thresholds=self._gate(thresholds),
            collar_s=task.scoring.collar_s,
            offset_share=task.scoring.offset_share,
        )
        write_json(path, named(found, task.dataset.classes))

    def _test(self, trained: FinishedPass, store: FeatureStore, folder: Path, found: Found) -> None:
        """Writes the events of the test clips, and adds them to `found` if strongly labelled."""
        task, name = self.task, trained.stage.name
        decoding = found.decoding = trained.decoding
        data_sets = self.data_sets(store)
        scorer = self.new_clip_scorer(trained.thresholds, decoding)
        recordings = self.new_recording_scorer(data_sets, trained.thresholds, decoding)
        reference, frames, durations_s = [], [], []
        for clip in self._results(trained.model, trained.stage, Selection(store, task.sets.test)):
            take_in(scorer, clip)
            if clip.name in data_sets.windows:
                take_in_window(recordings, clip)
            reference.append(clip.events)
            if found.example is None or (clip.name == found.example.name):
                found.example = clip if clip.events is None or len(clip.events) else None
            inside = clip.frames[: clip.n_inside]
            frames.append(decision_scores(inside, clip.clip, decoding, scorer.tag_thresholds))
            durations_s.append(clip.duration_s)
        write_run_files(folder, scorer.names, scorer.estimates, task.dataset.classes, durations_s)
        if task.scoring.score_files:
            pairs = zip(frames, durations_s, strict=True)
            hop_s = task.features.hop_s
            clips = [ClipScores(clip_edges(len(each), hop_s, end), each) for each, end in pairs]
            write_score_files(folder / SCORES, scorer.names, clips, task.dataset.classes)
        found.add_recordings(name, recordings)
        others = data_sets.other_clips(scorer.names)
        if not len(others) or any(reference[number] is None for number in others):
            return
        uncut = [empty_events() if events is None else events for events in reference]
        log_cut(scorer.names, uncut, durations_s)
        truth = [cut_to_length(*each) for each in zip(uncut, durations_s, strict=True)]
        names, lengths_s, dataset = scorer.names, np.array(durations_s), task.dataset
        test = TestSet(names, truth, dataset.classes, dataset.clip_s, lengths_s=lengths_s)
        thresholds, tags = trained.thresholds, scorer.tag_probabilities
        curves = frames, task.features.hop_s, thresholds, sweep_remark(decoding)
        in_use = decoding.swept_threshold
        systems = {name: SystemOutput(scorer.estimates, tags, *curves, threshold=in_use)}
        ends = zip(tags, lengths_s, strict=True)
        spread = [spread_tags(row >= thresholds, end_s) for row, end_s in ends]
        systems[f"{name}, tags over the clip"] = SystemOutput(spread)
        found.add(test, systems, others, data_sets.of_clips)

    def report(self, results: Sequence[Found], folder: Path) -> str:
        """Writes and returns the tables of scores, and their figures."""
        (found,) = results
        if found.test is None and not found.maestro:
            return f"The test clips have no strong labels: there are no scores. Events: {folder}/."
        test, systems, task = found.test, found.systems, self.task
        report = None
        if test is not None:
            report = score_report(test, systems, task.scoring, published=task.published)
        if found.maestro:
            numbers = evaluated_classes(task.dataset.layout, task.dataset.classes)[1]
            classes = [task.dataset.classes[k] for k in numbers]
            report = with_maestro(report, found.maestro, classes, task.published)
        text = self.write_scores(report, folder)
        if test is None or report is None:
            return text
        write_curves(folder / CURVES, report.rows, test.classes)
        save_figure(figures.class_scores_figure(report), folder / "class_scores.png")
        events = next(iter(systems.values())).events
        estimate = EventTable.from_recordings(events, len(test.classes))
        tables = {"reference": test.table, "estimate": estimate}
        durations = figures.durations_figure(tables, test.classes)
        save_figure(durations, folder / "durations.png")
        return text

    def _draw_example(self, found: Found, store: FeatureStore, folder: Path) -> None:
        """Draws one test clip: features, reference, frame-level and event-level estimate."""
        clip, task = found.example, self.task
        if clip is None:
            return
        scorer = self.new_clip_scorer(decoding=found.decoding)
        take_in(scorer, clip)
        features = features_of(store.record(task.sets.test, clip.name), self.frontend)
        values = features[: clip.n_inside, :, 0]
        figure = figures.clip_figure(
            figures.logmel_spectrogram(values, clip.duration_s, task.features),
            None if clip.events is None else scorer.references[0],
            clip.frames[: clip.n_inside],
            scorer.estimates[0],
            task.dataset.classes,
            clip.name,
            tags=clip.clip,
        )
        save_figure(figure, folder / "clip.png")


def networks_of(stage: Stage, model: keras.Model) -> Iterator[tuple[Stage, keras.Model, str]]:
    """Yields networks of a stage that are scored, its name beside each, and a folder for results.

    The one that is used comes last, and counts; its folder, "", is that of the stage.
    """
    for other in other_networks(model):
        named = dataclasses.replace(stage, name=f"{stage.name}, {other}")
        yield named, chosen_network(model, other), other
    yield stage, chosen_network(model), ""


def stored_sources(store: FeatureStore, subset: str) -> ClipSources:
    """Source recordings of the clips of a subset, as stored with its features."""
    facts = {name: store.facts.get(name, {}).get(GROUP) for name in store.names([subset])}
    return ClipSources(subset, facts)


def is_searched(path: Path) -> bool:
    """False for what is searched with the model of a stage at its end, while it is in training."""
    if path.exists() or (path.parent / FINISHED).exists():
        return True
    logger.info("%s is made at the end of training; until then it is as in the settings.", path)
    return False


def read_thresholds(path: Path, classes: Sequence[str]) -> np.ndarray:
    """Reads the tag thresholds of the classes, (K,).

    Raises:
        CheckpointError: the file is damaged, or of other classes.
    """
    stored = read_form(path, dict[str, float])
    if set(stored) != set(classes):
        raise CheckpointError(f"{path} holds thresholds of other classes. Delete it and run again.")
    return np.array([float(stored[name]) for name in classes])
