"""One run of a task-4 system: its stages trained, what they find in unseen clips, scores, files and
figures."""

import dataclasses
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

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
from common.io.files import write_json, write_text
from common.models.audio_features import features_of
from common.runtime.distribution import devices
from common.settings.pipeline import PipelineConfig
from common.settings.section import Section
from common.training.callbacks import Scorer
from common.training.evaluation import Prediction, predict_recordings
from common.training.run_directory import read_form
from common.training.stage import Goal, train_stage
from common.training.stage_data import ModelInput, stage_data
from common.training.system import Stage, prepare_system, stages_to_redo
from sed_task4.clip_groups import (
    GROUP,
    ClipSources,
    describe_hold_out,
    hold_out,
    split_sources,
    subset_problems,
)
from sed_task4.config import Task4Training, TaskConfig
from sed_task4.dataset import check_disjoint
from sed_task4.decoding import best_thresholds, decision_scores, spread_tags, sweep_remark
from sed_task4.features import feature_shape, frontend_of
from sed_task4.figures import LEARNING_PANELS, class_scores_figure, clip_figure, durations_figure
from sed_task4.lengths import frames_within, lengths_of_store, log_cut
from sed_task4.pseudo_labels import write_pseudo_labels
from sed_task4.score import SystemOutput, TestSet, score_report
from sed_task4.submission import write_run_files
from sed_task4.validation import ClipScorer

logger = logging.getLogger(__name__)
SPLIT = "validation_split.json"
THRESHOLDS = "tag_thresholds.json"


@dataclass(frozen=True)
class ClipResult:
    """What a model says of one clip, and what is true of it.

    Attributes:
        name: file name.
        frames: probabilities (T, K) at the hop of the features, padding included.
        clip: probabilities of the tags (K,).
        tags: true tags (K,), -1 where unknown.
        events: true events (n, 3) = class_index, onset_s, offset_s; None where unknown.
        duration_s: length of the clip in seconds; what follows is padding.
        n_inside: frames that are no padding.
    """

    name: str
    frames: np.ndarray
    clip: np.ndarray
    tags: np.ndarray
    events: np.ndarray | None
    duration_s: float
    n_inside: int


@dataclass(frozen=True)
class TrainedStage:
    """A stage that is finished: its model, and from which probability on it gives a tag (K,)."""

    stage: Stage
    model: keras.Model
    thresholds: np.ndarray


@dataclass
class Found:
    """What stages say of the test clips.

    Attributes:
        test: the truth; None without strong labels.
        systems: by label of the table, the last stage first.
        example: the first clip in which something happens, as the last stage sees it.
    """

    test: TestSet | None = None
    systems: dict[str, SystemOutput] = field(default_factory=dict)
    example: ClipResult | None = None


class ValidationScorer(Scorer):
    """Scores of tags, and of events where the validation clips have strong labels."""

    def __init__(self, experiment: "Experiment", lengths_s: Mapping[str, float]):
        self.experiment, self.scorer, self.lengths_s = (
            experiment,
            experiment.new_clip_scorer(),
            lengths_s,
        )

    def update(self, prediction: Prediction) -> None:
        """Takes in one clip; of its frames only the events are kept."""
        take_in(self.scorer, self.experiment.clip_result(prediction, self.lengths_s))

    def result(self) -> dict[str, float]:
        """Returns the scores that the labels allow."""
        return self.scorer.result()


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
        """Loads the system and checks that network, features and subsets fit together, before any
        work.

        Raises:
            ConfigError: they do not.
        """
        system, network = prepare_system(task, feature_shape(task.features))
        if (
            any(stage.learns_from == "predictions" for stage in system.stages(task))
            and not task.sets.unlabelled
        ):
            raise ConfigError(
                f"{task.system} learns from unlabelled clips: set `sets.unlabelled` to their"
                " subset."
            )
        return cls(task, system, network)

    @property
    def frontend(self) -> Frontend | None:
        """What the models compute of audio; None: they take features."""
        return frontend_of(self.task.features, self.task.dataset.sample_rate_hz)

    def new_network(self) -> keras.Model:
        """Builds the task's network with fresh weights: from standardised features (B, T, F, C), T
        free, to outputs."""
        shape = (None, *feature_shape(self.task.features))
        return self.system.build_model(shape, self.task.dataset.n_classes, self.network)

    def run(self, stores: Sequence[FeatureStore], folder: Path) -> str:
        """Trains the stages in turn, and scores what each of them says of the test clips.

        Args:
            stores: the extracted subsets the task reads.
            folder: the run's directory.

        Returns:
            The tables of scores, as text; also written to `scores.txt` and `scores.json`.
        """
        store = FeatureStore.joined(stores)
        sources = {
            subset: stored_sources(each, subset) for each in stores for subset in each.groups
        }
        refuse(subset_problems(self.task.sets, sources, str(self.task.feature_dir)))
        told = [
            f"{subset} {len(each.told_groups())}"
            for subset, each in sources.items()
            if each.has_groups
        ]
        if told:
            logger.info("Groups of clips of one source: %s.", ", ".join(told))
        for name in stages_to_redo(self.system.stages(self.task), self.task.overwrite):
            shutil.rmtree(folder / name, ignore_errors=True)
        labelled, validation = self._selections(store, sources, folder)
        if self.task.sets.validation_fraction or self.task.sets.validate_on:
            check_disjoint(labelled.recording_names, validation.recording_names)
        check_disjoint(labelled.recording_names, store.names(self.task.sets.test))
        before: TrainedStage | None = None
        found = Found()
        for stage in self.system.stages(self.task):
            place = folder / stage.name
            train = labelled
            if stage.learns_from == "predictions" and before is not None:
                unlabelled = self._unlabelled(store, sources, validation)
                train = self._pseudo_labelled(before, unlabelled, place)
            model = self._train(stage, train, validation, before, store, place)
            before = TrainedStage(stage, model, self._thresholds(stage, model, validation, place))
            self._test(before, store, place, found)
        self._draw_example(found, store, folder)
        return self._report(found, folder)

    def clip_result(
        self, prediction: Prediction, lengths_s: Mapping[str, float] | None = None
    ) -> ClipResult:
        """Brings the outputs for one clip to the rate of the features.

        Args:
            prediction: the clip, padded or not.
            lengths_s: lengths of clips in seconds by name, see `sed_task4.lengths`; others are told
                by their labels.
        """
        frames, clip = self.system.probabilities(
            prediction.outputs, network=self.network, n_frames=prediction.frames
        )
        duration_s = (lengths_s or {}).get(prediction.name)
        if duration_s is None:
            duration_s = self._labelled_s(prediction)
        tags, events = (
            np.atleast_2d(prediction.targets["clip"])[0],
            (prediction.events if prediction.labelled else None),
        )
        n_inside = frames_within(duration_s, self.task.features.hop_s)
        return ClipResult(prediction.name, frames, clip, tags, events, duration_s, n_inside)

    def _labelled_s(self, prediction: Prediction) -> float:
        """Length of a clip by its labels, whose padding is -1, for stores that do not know it:
        exact to an output."""
        features, clip_s = self.task.features, self.task.dataset.clip_s
        activity = prediction.targets["frames"]
        inside = np.count_nonzero((activity >= 0).any(axis=-1))
        if not prediction.labelled or inside == len(activity):
            return (
                clip_s
                if prediction.frames >= features.n_frames(clip_s)
                else prediction.frames * features.hop_s
            )
        return min(clip_s, inside * round(prediction.frames / len(activity)) * features.hop_s)

    def new_clip_scorer(self, thresholds: np.ndarray | None = None) -> ClipScorer:
        """Makes what decodes and scores clips by the task's settings; thresholds replace the gate
        of the tags."""
        task = self.task
        gate = (
            thresholds
            if task.decoding.tag_threshold is not None and task.decoding.search_thresholds
            else None
        )
        return ClipScorer(
            task.dataset.n_classes,
            task.decoding,
            task.features.hop_s,
            task.dataset.clip_s,
            task.scoring,
            gate,
        )

    def decisive_score(self, stage: Stage) -> tuple[str, str]:
        """The score of the validation clips that chooses a stage's model, and "min" or "max"."""
        return f"val_{self.task.training.monitor}", "max"

    def _selections(
        self, store: FeatureStore, sources: Mapping[str, ClipSources], folder: Path
    ) -> tuple[Selection, Selection]:
        """Chooses the labelled clips to learn from, and those that validate."""
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
        logger.info("%s", describe_hold_out(sources[sets.train], held_out))
        rest = dataclasses.replace(labelled, names=frozenset(names) - held_out)
        return rest, dataclasses.replace(labelled, names=held_out)

    def _drawn(self, store: FeatureStore, sources: ClipSources) -> list[str]:
        """Draws the clips that validate, whole sources where they are known."""
        sets, classes = self.task.sets, self.task.dataset.classes
        stored = store.arrays([sets.train], ["tags"]) if not sources.all_alone else {}
        tags = {
            name: [
                label
                for label, tag in zip(classes, arrays["tags"].tolist(), strict=True)
                if tag > 0
            ]
            for name, arrays in stored.items()
        }
        where = f"{self.task.feature_dir}, {sets.train}"
        return hold_out(sources, tags, sets.validation_fraction, self.task.seed, where)

    def _unlabelled(
        self, store: FeatureStore, sources: Mapping[str, ClipSources], validation: Selection
    ) -> Selection:
        """Chooses the unlabelled clips to learn from: none of a source of which a part of `train`
        validates."""
        sets = self.task.sets
        unlabelled = Selection(store, (str(sets.unlabelled),))
        if not sets.holds_out:
            return unlabelled
        mine, labelled = sources[str(sets.unlabelled)], sources[sets.train]
        validating = {labelled.source(name) for name in validation.recording_names}
        shared = {name for name in mine.told if mine.source(name) in validating}
        if not shared:
            return unlabelled
        logger.info(
            "%s: %d clip(s) are left out, of sources whose clips of %s validate.",
            sets.unlabelled,
            len(shared),
            sets.train,
        )
        return dataclasses.replace(unlabelled, names=frozenset(mine.told) - shared)

    def _pseudo_labelled(
        self, before: TrainedStage, unlabelled: Selection, folder: Path
    ) -> Selection:
        """Labels the unlabelled clips by the stage before."""
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
        before: TrainedStage | None,
        store: FeatureStore,
        folder: Path,
    ) -> keras.Model:
        task = self.task
        training, pipeline = self._training(stage)
        data = stage_data(
            stage,
            train,
            validation,
            self._statistics(store),
            pipeline,
            task.seed,
            training,
            ModelInput(self.frontend),
        )
        lengths_s = lengths_of_store(store, task.dataset.clip_s)
        goal = Goal(
            *self.decisive_score(stage), lambda: ValidationScorer(self, lengths_s), LEARNING_PANELS
        )
        warm = stage.learns_from == "predictions" and task.second_pass.warm_start
        start = before.model if warm and before is not None else None
        return train_stage(stage, data, goal, training, task.run, folder, task.seed, start)

    def _training(self, stage: Stage) -> tuple[Task4Training, PipelineConfig]:
        """Length, rate and batches of a stage's training."""
        training, pipeline, second = self.task.training, self.task.pipeline, self.task.second_pass
        if stage.learns_from == "labels":
            return training, pipeline
        changes = {name: getattr(second, name) for name in ("epochs", "learning_rate")}
        training = training.model_copy(
            update={name: value for name, value in changes.items() if value is not None}
        )
        return training, pipeline.model_copy(
            update={"batch_size": second.batch_size or pipeline.batch_size}
        )

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
        """Tag thresholds (K,), kept in the stage's folder: searched on the validation clips, or the
        one set."""
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

    def _test(self, trained: TrainedStage, store: FeatureStore, folder: Path, found: Found) -> None:
        """Predicts the test clips into an event file, and adds them to what was found, if they have
        strong labels."""
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
        lengths_s = np.array(durations_s)
        found.test = TestSet(
            scorer.names,
            scorer.references,
            task.dataset.classes,
            task.dataset.clip_s,
            lengths_s=lengths_s,
        )
        tags, remark = scorer.tag_probabilities, sweep_remark(task.decoding)
        output = SystemOutput(
            scorer.estimates, tags, frames, task.features.hop_s, trained.thresholds, remark
        )
        spread = SystemOutput(
            [
                spread_tags(row >= trained.thresholds, end_s)
                for row, end_s in zip(tags, lengths_s, strict=True)
            ]
        )
        found.systems = {
            name: output,
            f"{name}, tags over the clip": spread,
        } | found.systems  # the last stage first

    def _report(self, found: Found, folder: Path) -> str:
        if found.test is None:
            return (
                "The test clips have no strong labels: there is nothing to score. Events are in"
                f" {folder}/."
            )
        report = score_report(
            found.test, found.systems, self.task.scoring, published=self.task.published
        )
        report = dataclasses.replace(report, notes=(*report.notes, *self.task.published_notes))
        write_json(folder / "scores.json", report.to_dict())
        write_text(folder / "scores.txt", report.to_text() + "\n")
        save_figure(class_scores_figure(report), folder / "class_scores.png")
        estimate = EventTable.from_recordings(
            next(iter(found.systems.values())).events, len(found.test.classes)
        )
        durations = durations_figure(
            {"reference": found.test.table, "estimate": estimate}, found.test.classes
        )
        save_figure(durations, folder / "durations.png")
        return report.to_text()

    def _draw_example(self, found: Found, store: FeatureStore, folder: Path) -> None:
        """Draws one test clip: features, reference, frame-wise and event-wise estimate."""
        clip, task = found.example, self.task
        if clip is None:
            return
        scorer = self.new_clip_scorer()
        take_in(scorer, clip)
        features = features_of(store.record(task.sets.test, clip.name), self.frontend)
        figure = clip_figure(
            features[: clip.n_inside, :, 0],
            None if clip.events is None else scorer.references[0],
            clip.frames[: clip.n_inside],
            scorer.estimates[0],
            task.dataset.classes,
            clip.duration_s,
            clip.name,
            tags=clip.clip,
            unit="dB" if task.features.kind == "logmel_db" else "ln",
        )
        save_figure(figure, folder / "clip.png")


def take_in(scorer: ClipScorer, clip: ClipResult) -> None:
    """Hands one clip to a scorer."""
    scorer.update(clip.name, clip.frames, clip.clip, clip.events, clip.tags, clip.duration_s)


def stored_sources(store: FeatureStore, subset: str) -> ClipSources:
    """The sources of the clips of a subset as its store tells them."""
    facts = {name: store.facts.get(name, {}).get(GROUP) for name in store.names([subset])}
    return ClipSources(subset, facts)


def read_split(
    path: Path, names: Sequence[str], sources: ClipSources | None = None
) -> frozenset[str]:
    """Reads which clips validate.

    Args:
        path: file of a run.
        names: all clips with labels.
        sources: theirs; None: not known.

    Raises:
        CheckpointError: the file is damaged, names other clips, or some clips of a source and not
            others.
    """
    held_out = frozenset(read_form(path, dict[str, list[str]]).get("validation", ()))
    if not held_out or not held_out < set(names):
        raise CheckpointError(
            f"{path} does not name some of the {len(names)} clips. Use the features of before, or"
            " another job id."
        )
    divided = split_sources(sources, held_out) if sources is not None else []
    if divided:
        raise CheckpointError(
            f"{path} lets some clips of a source validate and others train: {len(divided)}"
            f" source(s), such as {divided[0]!r}. Expected: each source in one of the two. Use"
            " another job id, which draws anew."
        )
    return held_out


def read_thresholds(path: Path, classes: Sequence[str]) -> np.ndarray:
    """Reads the tag thresholds of the classes, (K,).

    Raises:
        CheckpointError: the file is damaged, or of other classes.
    """
    stored = read_form(path, dict[str, float])
    if set(stored) != set(classes):
        raise CheckpointError(
            f"{path} holds thresholds of other classes. Delete it and run the same command again."
        )
    return np.array([float(stored[name]) for name in classes])
