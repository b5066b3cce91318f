"""Predictions of whole recordings, one after another."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from common.errors import DataError
from common.io.files import is_file_name

_REMEDY = "Delete the features and run `python batch_feature_extraction.py <task-id>` again."


class Model(Protocol):
    """A Keras model, or several as one: see `common.training.ensemble.Ensemble`."""

    def predict_on_batch(self, batch: Any, /) -> Mapping[str, Any]:
        """From features (B, T, F, C), or audio (B, S, C), to outputs (B, ...) by name.

        A model with more inputs takes a dict of `features` and those.
        """


@dataclass(frozen=True)
class Prediction:
    """Outputs, targets and events of one recording.

    Attributes:
        name: name of the recording.
        frames: feature frames of the recording, without padding.
        labelled: True if the record has labels.
        events: the recording's events as stored in its record, (events, columns of the family).
        targets: {output: (frames of the output, width)}, without padding; (width,) for labels of
            the whole recording.
        outputs: {output: (frames of the output, width)}, without padding; (width,) for outputs
            without a time axis, the largest value of each where the recording is longer than one
            sequence. A network that pools frames gives outputs of whole pools only, fewer than the
            targets have: those at the end of a recording are missing, those at the end of an
            earlier sequence repeat its last output.
    """

    name: str
    frames: int
    labelled: bool
    events: np.ndarray
    targets: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def predict_recordings(model: Model, recordings: Iterable[Mapping]) -> Iterator[Prediction]:
    """Predicts recordings one by one: only one is in memory at a time.

    Args:
        model: from (sequences, T, F, C), or audio (sequences, S, C), to {output: (sequences, T',
            width) or (sequences, width)}.
        recordings: elements of `common.data.pipeline.evaluation_stream`.

    Yields:
        One `Prediction` for each recording, in the order of the stream.

    Raises:
        DataError: the name of a record could not be that of a file.
    """
    for element in recordings:
        given = element["features"]
        inputs: Any = np.asarray(given)
        if isinstance(given, Mapping):
            inputs = {name: np.asarray(array) for name, array in given.items()}
        features = inputs["features"] if isinstance(inputs, dict) else inputs
        outputs = model.predict_on_batch(inputs)
        frames, sequence_frames = int(element["frames"]), int(element["sequence_frames"])
        join = partial(_joined, frames=frames, sequence_frames=sequence_frames)
        yield Prediction(
            name=_name(element),
            frames=frames,
            labelled=bool(element["labelled"]),
            events=np.asarray(element["events"]),
            targets={name: join(value) for name, value in element["targets"].items()},
            # Under a strategy of TensorFlow each device predicts, and the results are joined.
            outputs={name: join(value[: len(features)]) for name, value in outputs.items()},
        )


def _name(element: Mapping) -> str:
    """Name of a recording, which becomes a file name."""
    name = bytes(np.asarray(element["name"]).item()).decode("utf-8", "replace")
    if not is_file_name(name):
        raise DataError(
            f"Damaged shard: a record has the name {name!r}, which leads out of a folder. {_REMEDY}"
        )
    return name


def _joined(sequences: Any, frames: int, sequence_frames: int) -> np.ndarray:
    """Joins (sequences, T', width) in time, without padding; takes maxima of (sequences, width)."""
    array = np.asarray(sequences)
    if array.ndim == 2:
        return array.max(axis=0)  # (width,): what occurs in any part occurs in the recording
    n_given = array.shape[1]
    stride = sequence_frames // n_given  # input frames per output frame
    missing = sequence_frames // stride - n_given
    if len(array) > 1 and missing:
        held = np.repeat(array[:, -1:], missing, axis=1)
        array = np.concatenate([array, held], axis=1)  # (sequences, whole output frames, width)
    joined = array.reshape(-1, *array.shape[2:])
    given = len(joined) - (missing if len(array) > 1 else 0)  # the last sequence is not lengthened
    return joined[: min(-(-frames // stride), given)]  # (kept, width)
