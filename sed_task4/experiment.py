"""One run of a task-4 system: training, test and scores of its stages, event files, figures."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import keras
import numpy as np

from common.data.feature_store import FeatureStore
from common.data.pipeline import evaluation_stream, guard_stream
from common.data.selection import Selection
from common.datasets.groups import refuse
from common.display.plotting import save_figure
from common.errors import CheckpointError, ConfigError
from common.events.table import EventTable
from common.features.frontend import Frontend
from common.features.settings import feature_shape, frontend_of
from common.io.files import write_json
from common.models.audio_features import features_of
from common.runtime.distribution import devices
from common.settings.pipeline import PipelineConfig
from common.training.evaluation import Prediction, predict_recordings
from common.training.experiment import BaseExperiment
from common.training.run_directory import read_form
from common.training.stage_data import ModelInput, stage_data
from common.training.system import Stage
from sed_task4 import clip_groups, figures
from sed_task4.clip_groups import GROUP, ClipSources
from sed_task4.config import Task4Training, TaskConfig
from sed_task4.dataset import check_disjoint
from sed_task4.decoding import best_thresholds, decision_scores, spread_tags, sweep_remark
from sed_task4.lengths import frames_within, lengths_of_store, log_cut
from sed_task4.pseudo_labels import write_pseudo_labels
from sed_task4.score import SystemOutput, TestSet, score_report
from sed_task4.submission import write_run_files
from sed_task4.validation import ClipResult, ClipScorer, ValidationScorer, take_in

logger = logging.getLogger(__name__)
SPLIT = "validation_split.json"
THRESHOLDS = "tag_thresholds.json"


@dataclass(frozen=True)
class FinishedPass:
    """A finished stage: its model, and the thresholds of its tags (K,)."""

    stage: Stage
    model: keras.Model
    thresholds: np.ndarray


@dataclass
class Found:
    """Predictions of the test clips.

    Attributes:
        test: ground truth; None without strong labels.
        systems: by row of the table, the last stage first.
        example: the last stage's prediction of the first clip with an event.
    """

    test: TestSet | None = None
    systems: dict[str, SystemOutput] = field(default_factory=dict)
    example: ClipResult | None = None


class Experiment(BaseExperiment[TaskConfig, Found]):
    """A task-4 task with its system, checked and ready to run."""

    @staticmethod
    def feature_shape(task: TaskConfig) -> tuple[int, int]:
        """Bands and channels of the task's features, (F, C)."""
        return feature_shape(task.features, task.dataset.sample_rate_hz)

    @property
    def frontend(self) -> Frontend | None:
        """Features that the models compute of audio; None: they take stored features."""
        return frontend_of(self.task.features, self.task.dataset.sample_rate_hz)

    def check(self) -> None:
        """Raises ConfigError if system, unlabelled clips and ways to learn do not fit together."""
        stages = self.system.stages(self.task)
        learns_from_unlabelled = any(stage.learns_from == "predictions" for stage in stages)
        if learns_from_unlabelled and not self.task.sets.unlabelled:
            name = self.task.system
            raise ConfigError(f"{name} learns from unlabelled clips: set `sets.unlabelled`.")
        training = self.task.training
        changes = training.teacher is not None or training.batch_augmentation.used
        if changes and not any(stage.join for stage in stages):
            raise ConfigError(
                "`training.teacher` and `training.batch_augmentation` are for systems that train"
                f" with them. Expected: neither. Received: one, for {self.task.system}."
            )

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
        labelled, validation = self._selections(store, sources, folder)
        if self.task.sets.validation_fraction or self.task.sets.validate_on:
            check_disjoint(labelled.recording_names, validation.recording_names)
        check_disjoint(labelled.recording_names, store.names(self.task.sets.test))
        before: FinishedPass | None = None
        found = Found()
        for stage in stages:
            place = folder / stage.name
            train = labelled
            if stage.learns_from == "predictions" and before is not None:
                unlabelled = self._unlabelled(store, sources, validation)
                train = self._pseudo_labelled(before, unlabelled, place)
            model = self._train(stage, train, validation, before, store, place)
            before = FinishedPass(stage, model, self._thresholds(stage, model, validation, place))
            self._test(before, store, place, found)
        self._draw_example(found, store, folder)
        return self.report([found], folder)

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
            lengths_s: lengths of clips in seconds by name, see `sed_task4.lengths`; other lengths
                are those of the labels.
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

    def new_clip_scorer(self, thresholds: np.ndarray | None = None) -> ClipScorer:
        """A decoder and scorer of clips with the task's settings.

        Args:
            thresholds: tag thresholds (K,) in place of the gate in the settings.
        """
        task, dataset, decoding = self.task, self.task.dataset, self.task.decoding
        searched = decoding.tag_threshold is not None and decoding.search_thresholds
        gate, hop_s = thresholds if searched else None, task.features.hop_s
        return ClipScorer(dataset.n_classes, decoding, hop_s, dataset.clip_s, task.scoring, gate)

    def decisive_score(self, stage: Stage) -> tuple[str, str]:
        """Score of the validation set that selects a stage's model, and "min" or "max"."""
        return f"val_{self.task.training.monitor}", "max"

    def learning_panels(self, stage: Stage) -> Sequence:
        """Panels of a stage's learning curves."""
        return figures.LEARNING_PANELS

    def _selections(
        self, store: FeatureStore, sources: Mapping[str, ClipSources], folder: Path
    ) -> tuple[Selection, Selection]:
        """Chooses the labelled clips for training and for validation."""
        sets = self.task.sets
        labelled = Selection(store, (sets.train,))
        if sets.validate_on is not None:
            return labelled, Selection(store, (sets.validate_on,))
        if not sets.holds_out:
            return labelled, labelled
        names = store.names([sets.train])
        path = folder / SPLIT
        if not path.exists():
            write_json(path, {"validation": self._drawn(store, sources[sets.train])})
        held_out = read_split(path, names, sources[sets.train])
        logger.info("%s", clip_groups.describe_hold_out(sources[sets.train], held_out))
        rest = dataclasses.replace(labelled, names=frozenset(names) - held_out)
        return rest, dataclasses.replace(labelled, names=held_out)

    def _drawn(self, store: FeatureStore, sources: ClipSources) -> list[str]:
        """Draws the validation clips, in whole sources if these are known."""
        sets, classes = self.task.sets, np.array(self.task.dataset.classes)
        stored = store.arrays([sets.train], ["tags"]) if not sources.all_single else {}
        tags = {name: classes[arrays["tags"] > 0].tolist() for name, arrays in stored.items()}
        where, seed = f"{self.task.feature_dir}, {sets.train}", self.task.seed
        return clip_groups.hold_out(sources, tags, sets.validation_fraction, seed, where)

    def _unlabelled(
        self, store: FeatureStore, sources: Mapping[str, ClipSources], validation: Selection
    ) -> Selection:
        """Chooses unlabelled clips for training: none whose source has validation clips."""
        sets = self.task.sets
        unlabelled = Selection(store, (str(sets.unlabelled),))
        if not sets.holds_out:
            return unlabelled
        mine, labelled = sources[str(sets.unlabelled)], sources[sets.train]
        validating = {labelled.source(name) for name in validation.recording_names}
        shared = {name for name in mine.groups if mine.source(name) in validating}
        if not shared:
            return unlabelled
        logger.info(
            f"{sets.unlabelled}: {len(shared)} clip(s) are left out, of sources whose clips of"
            f" {sets.train} validate."
        )
        return dataclasses.replace(unlabelled, names=frozenset(mine.groups) - shared)

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
            task.second_pass.pseudo_labels,
            folder / "pseudo_labels",
        )
        return dataclasses.replace(unlabelled, label_shards=shards)

    def _train(
        self,
        stage: Stage,
        train: Selection,
        validation: Selection,
        before: FinishedPass | None,
        store: FeatureStore,
        folder: Path,
    ) -> keras.Model:
        task = self.task
        training, pipeline = self._training(stage)
        lengths_s = lengths_of_store(store, task.dataset.clip_s)
        statistics, model_input = self._statistics(store), ModelInput(self.frontend)
        data = stage_data(
            stage, train, validation, statistics, pipeline, task.seed, training, model_input
        )
        clip_result = partial(self.clip_result, lengths_s=lengths_s)
        warm = stage.learns_from == "predictions" and task.second_pass.warm_start
        start = before.model if warm and before is not None else None

        def new_scorer() -> ValidationScorer:
            return ValidationScorer(self.new_clip_scorer(), clip_result)

        return self.train(stage, data, new_scorer, folder, training, start)

    def _training(self, stage: Stage) -> tuple[Task4Training, PipelineConfig]:
        """Training and pipeline settings of a stage."""
        training, pipeline, second = self.task.training, self.task.pipeline, self.task.second_pass
        if stage.learns_from == "labels":
            return training, pipeline
        changes = {name: getattr(second, name) for name in ("epochs", "learning_rate")}
        changes = {name: value for name, value in changes.items() if value is not None}
        batch_size = second.batch_size or pipeline.batch_size
        pipeline = pipeline.model_copy(update={"batch_size": batch_size})
        return training.model_copy(update=changes), pipeline

    def _statistics(self, store: FeatureStore) -> tuple[np.ndarray, np.ndarray]:
        return store.statistics(self.task.sets.statistics, ddof=self.task.features.ddof)

    def _results(
        self, model: keras.Model, stage: Stage, selection: Selection
    ) -> Iterator[ClipResult]:
        pipeline = self.task.pipeline
        padding = self._statistics(selection.store)[0] if pipeline.padding == "mean" else None
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

    def _test(self, trained: FinishedPass, store: FeatureStore, folder: Path, found: Found) -> None:
        """Writes the events of the test clips, and adds them to `found` if strongly labelled."""
        task, name = self.task, trained.stage.name
        scorer = self.new_clip_scorer(trained.thresholds)
        reference, frames, durations_s = [], [], []
        for clip in self._results(trained.model, trained.stage, Selection(store, task.sets.test)):
            take_in(scorer, clip)
            reference.append(clip.events)
            if found.example is None or (clip.name == found.example.name):
                found.example = clip if clip.events is None or len(clip.events) else None
            inside = clip.frames[: clip.n_inside]
            frames.append(decision_scores(inside, clip.clip, task.decoding, scorer.tag_thresholds))
            durations_s.append(clip.duration_s)
        write_run_files(folder, scorer.names, scorer.estimates, task.dataset.classes, durations_s)
        truth = [events for events in reference if events is not None]
        if len(truth) < len(reference) or not truth:
            return
        log_cut(scorer.names, truth, durations_s)
        lengths_s, dataset = np.array(durations_s), task.dataset
        names, truth = scorer.names, scorer.references
        found.test = TestSet(names, truth, dataset.classes, dataset.clip_s, lengths_s=lengths_s)
        thresholds, tags = trained.thresholds, scorer.tag_probabilities
        curves = frames, task.features.hop_s, thresholds, sweep_remark(task.decoding)
        systems = {name: SystemOutput(scorer.estimates, tags, *curves)}
        ends = zip(tags, lengths_s, strict=True)
        spread = [spread_tags(row >= thresholds, end_s) for row, end_s in ends]
        systems[f"{name}, tags over the clip"] = SystemOutput(spread)
        found.systems = systems | found.systems  # the last stage first

    def report(self, results: Sequence[Found], folder: Path) -> str:
        """Writes and returns the tables of scores, and their figures."""
        (found,) = results
        if found.test is None:
            return f"The test clips have no strong labels: there are no scores. Events: {folder}/."
        test, systems, task = found.test, found.systems, self.task
        report = score_report(test, systems, task.scoring, published=task.published)
        text = self.write_scores(report, folder)
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
        scorer = self.new_clip_scorer()
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


def stored_sources(store: FeatureStore, subset: str) -> ClipSources:
    """Source recordings of the clips of a subset, as stored with its features."""
    facts = {name: store.facts.get(name, {}).get(GROUP) for name in store.names([subset])}
    return ClipSources(subset, facts)


def read_split(
    path: Path, names: Sequence[str], sources: ClipSources | None = None
) -> frozenset[str]:
    """Reads the names of the validation clips.

    Args:
        path: file of a run.
        names: all labelled clips.
        sources: source recordings of the clips; None: unknown.

    Raises:
        CheckpointError: the file is damaged or has other clips, or only some clips of a source.
    """
    held_out = frozenset(read_form(path, dict[str, list[str]]).get("validation", ()))
    if not held_out or not held_out < set(names):
        raise CheckpointError(
            f"{path} does not name some of the {len(names)} clips. Use the features of before, or"
            " another job id."
        )
    divided = clip_groups.split_sources(sources, held_out) if sources is not None else []
    if divided:
        raise CheckpointError(
            f"{path} has some clips of a source in validation and others in training:"
            f" {len(divided)} source(s), such as {divided[0]!r}. Expected: each source in one of"
            " the two. Use another job id, which draws again."
        )
    return held_out


def read_thresholds(path: Path, classes: Sequence[str]) -> np.ndarray:
    """Reads the tag thresholds of the classes, (K,).

    Raises:
        CheckpointError: the file is damaged, or of other classes.
    """
    stored = read_form(path, dict[str, float])
    if set(stored) != set(classes):
        raise CheckpointError(f"{path} holds thresholds of other classes. Delete it and run again.")
    return np.array([float(stored[name]) for name in classes])
