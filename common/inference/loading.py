"""Finished runs for programs: `load_run("runs/demo_a").predict("a.wav")` gives its events.

Keras is loaded with a run, not with this module: its backend must be chosen first.
"""

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.audio.stream import FileSource, converted
from common.errors import ConfigError
from common.events.table import EVENT_COLUMNS
from common.family import load
from common.runtime.backend import start_backend
from common.settings.tasks import (
    BaseTask,
    RunConfig,
    check_task,
    flat_settings,
    merge,
    parse_overrides,
)
from common.training.run_directory import read_settings

if TYPE_CHECKING:
    import pandas as pd

    from common.inference.predictor import Event, Predictor, StreamingSession, StreamOutput

logger = logging.getLogger(__name__)
_ATTRIBUTES = {  # of an event, by the columns of tables
    "onset": "onset_s",
    "offset": "offset_s",
    "label": "label",
    "score": "score",
    "azimuth": "azimuth_deg",
    "elevation": "elevation_deg",
    "distance": "distance_m",
}


@dataclass(frozen=True, eq=False)
class Prediction:
    """Events and frames of a recording; a loop over it goes through the events.

    Attributes:
        events: a row for each event, sorted by onset, with the columns of predict.py: `onset` and
            `offset` in seconds, `label`, `score`, of systems with directions `azimuth` and
            `elevation` in degrees, of those with distances `distance` in metres.
        scores: probabilities of the classes in frames, float32 (T, K), before clip tag gating.
        times_s: when each frame begins, (T,).
        classes: names of the K classes.
        duration_s: length of the recording.
        rows: SELD: a row for each active source of a frame; None in families without directions.
        found: the events as objects.
    """

    events: "pd.DataFrame"
    scores: np.ndarray
    times_s: np.ndarray
    classes: tuple[str, ...]
    duration_s: float
    rows: "pd.DataFrame | None"
    found: "tuple[Event, ...]"

    def __iter__(self) -> "Iterator[Event]":
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def event_list(self, filename: str) -> "pd.DataFrame":
        """Events as in files of the challenge: `filename`, `onset`, `offset`, `event_label`.

        Args:
            filename: name of the recording. Without events, there is one row with only this name.
        """
        import pandas as pd

        rows: list[tuple] = [(filename, e.onset_s, e.offset_s, e.label) for e in self.found]
        return pd.DataFrame(rows or [(filename, None, None, None)], columns=list(EVENT_COLUMNS))


class Run:
    """Trained models of a finished run.

    Attributes:
        predictor: the models, for streams: `predictor.stream(live=True)`.
        classes: names of the classes.
        sample_rate_hz: sample rate of the models; other rates are resampled.
        channels: channels of the audio; None: any number, of which the mean is taken.
    """

    def __init__(self, predictor: "Predictor"):
        self.predictor, self.classes = predictor, predictor.classes
        self.sample_rate_hz, self.channels = predictor.sample_rate_hz, predictor.channels

    def predict(self, audio: str | Path | np.ndarray, rate_hz: int | None = None) -> Prediction:
        """Predicts a recording, as predict.py does.

        Args:
            audio: a sound file, or an array (samples, channels) or (samples,): floats in [-1, 1],
                or integers of 16 or 32 bits, or 8 without a sign.
            rate_hz: sample rate of an array.

        Returns:
            Events and scores of frames.

        Raises:
            ConfigError: an array without its rate, a file with one, or no sample rate of sound.
            DataError: the recording cannot be used, or has a wrong number of channels.
        """
        is_file = isinstance(audio, str | Path)
        if is_file != (rate_hz is None):
            given = "a file, which has a rate of its own" if is_file else "an array without it"
            raise ConfigError(f"`rate_hz`: expected with arrays, in Hz. Received: {given}.")
        predictor = self.predictor
        session = predictor.stream(sample_rate_hz=rate_hz, is_converted=is_file)
        blocks: Iterable[Any] = [audio]
        if isinstance(audio, str | Path):
            source = FileSource.open(Path(audio))
            blocks = converted(source, predictor.sample_rate_hz, predictor.channels)
        parts = [part for block in blocks for part in session.feed(block)]
        return _prediction(session, [*parts, *session.finish()])


def _prediction(session: "StreamingSession", parts: "Sequence[StreamOutput]") -> Prediction:
    """Joins the outputs of a whole recording."""
    import pandas as pd

    from common.inference.formats import columns_of

    predictor, details = session.predictor, session.decoder.details()
    found = sorted((e for part in parts for e in part.events), key=lambda e: (e.onset_s, e.label))
    names = columns_of(predictor)
    values = [[getattr(e, _ATTRIBUTES[name]) for name in names] for e in found]
    events = pd.DataFrame(values, columns=list(names))
    known = [part.scores for part in parts if part.scores is not None]
    empty = np.zeros((0, len(predictor.classes)), np.float32)
    scores = np.concatenate([empty, *known]).astype(np.float32)
    hop_s = details.get("hop_s", predictor.framing.hop / predictor.sample_rate_hz)
    rows = None
    if "columns" in details:
        columns = details["columns"]
        kept = [part.rows for part in parts if len(part.rows)]
        rows = pd.DataFrame(np.concatenate([np.zeros((0, len(columns))), *kept]), columns=columns)
    times_s = np.arange(len(scores)) * hop_s
    classes = tuple(predictor.classes)
    return Prediction(events, scores, times_s, classes, session.duration_s, rows, tuple(found))


def load_run(
    folder: str | Path, fold: str | None = None, checkpoint: str | int | None = None
) -> Run:
    """Loads the models of a run of any family, finished or in training.

    Keras is started with the backend and devices of the run; where a program has imported Keras
    already, with the backend it has.

    Args:
        folder: the run's directory, such as "runs/demo_a".
        fold: name of a fold; None: the mean of all folds.
        checkpoint: "best", "last" or the number of an epoch, which must be kept; None: the model
            that is scored of a finished run, the best one so far of a run in training.

    Raises:
        CheckpointError: there is no run, or a model is missing or damaged.
        ConfigError: there is no such fold, or the run cannot predict.
    """
    wanted = None if checkpoint is None else checked_checkpoint(str(checkpoint))
    return Run(load_predictor(Path(folder), fold, keep_backend=True, checkpoint=wanted))


def settings_for(
    run: Path, overrides: Sequence[str] = (), threshold: float | None = None
) -> BaseTask:
    """Settings of a run for a prediction; the run itself stays as it is.

    Args:
        run: its directory.
        overrides: `key=value` texts of settings of decoding, for this prediction only.
        threshold: a short cut for the thresholds of activity in frames.

    Raises:
        CheckpointError: there is no run.
        ConfigError: other settings than those of decoding are overridden, or wrong values.
    """
    stored, where = read_settings(run), f"the settings of {run}"
    task, changes = check_task(stored, where), parse_overrides(overrides)
    keys = task.decoding_keys
    others = [key for key in flat_settings(changes) if not _is_within(key, keys)]
    if others:
        names = [f"`{key}`" for key in keys]
        expected = f"settings of decoding, {' or '.join(names)}" if names else "no setting"
        raise ConfigError(
            f"--set {others[0]}: the run keeps the settings that it was trained with. Expected:"
            f" {expected}."
        )
    if threshold is None and not changes:
        return task
    made = task.decoding_changes(threshold, changes)
    changed = check_task(merge(stored, made), f"{where} with those of this prediction")
    values = (f"{key} = {_shown(value)}" for key, value in flat_settings(made).items())
    logger.info("Only for this prediction: %s.", ", ".join(values))
    return changed


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_within(key: str, sections: Sequence[str]) -> bool:
    return any(f"{key}.".startswith(f"{section}.") for section in sections)


def load_predictor(
    run: Path,
    fold: str | None = None,
    live: bool = False,
    keep_backend: bool = False,
    checkpoint: str | None = None,
    task: BaseTask | None = None,
) -> "Predictor":
    """Loads the models of a run; further arguments and errors as in `load_run`.

    Args:
        live: events are wanted soon, rather than many windows at a time.
        keep_backend: where Keras is imported already, take the backend it has.
        task: settings in place of the run's, see `settings_for`.
    """
    task = task or settings_for(run)
    start_backend(_with_loaded_backend(task.run) if keep_backend else task.run)
    given = {} if checkpoint is None else {"checkpoint": checkpoint}
    return load(task.family, "predictor").load_predictor(run, task, fold, live, **given)


def checked_checkpoint(text: str) -> str:
    """Checks which model is asked for.

    Raises:
        ConfigError: it is neither "best" nor "last" nor the number of an epoch.
    """
    number = text.lstrip("0") if text.isascii() and text.isdecimal() else ""
    if text not in ("best", "last") and not number:
        raise ConfigError(
            f"--checkpoint: expected best, last or the number of an epoch. Received: {text!r}."
        )
    return number or text


def _with_loaded_backend(run: RunConfig) -> RunConfig:
    """Settings of a run, with the backend of Keras if it is imported already."""
    if "keras" not in sys.modules:
        return run
    return run.model_copy(update={"backend": sys.modules["keras"].config.backend()})
