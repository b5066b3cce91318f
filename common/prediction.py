"""Runs a network over whole recordings, one after another."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True)
class Prediction:
    """One recording as the network sees it.

    Attributes:
        name: name of the recording.
        frames: feature frames of the recording, without padding.
        labelled: whether the record holds labels.
        events: the recording's events as stored in its record, (events, columns of the family).
        targets: {output: (frames of the output, width)}, without padding; (width,) for labels of the whole recording.
        outputs: {output: (frames of the output, width)}, without padding; (width,) for outputs without a time axis,
            the largest value of each where the recording is longer than one sequence.
    """

    name: str
    frames: int
    labelled: bool
    events: np.ndarray
    targets: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def predict_recordings(model: keras.Model, recordings: Iterable[Mapping]) -> Iterator[Prediction]:
    """Predicts recordings one by one: only one is in memory at a time.

    Args:
        model: from (sequences, T, F, C) to {output: (sequences, T', width) or (sequences, width)}.
        recordings: elements of `common.pipeline.evaluation_stream`.

    Yields:
        One `Prediction` for each recording, in the order of the stream.
    """
    for element in recordings:
        outputs = model.predict_on_batch(np.asarray(element["features"]))
        frames = int(element["frames"])
        share = Fraction(frames, element["features"].shape[1])
        yield Prediction(
            name=bytes(np.asarray(element["name"]).item()).decode(),
            frames=frames,
            labelled=bool(element["labelled"]),
            events=np.asarray(element["events"]),
            targets={name: _joined(value, share) for name, value in element["targets"].items()},
            outputs={name: _joined(value, share) for name, value in outputs.items()},
        )


def _joined(sequences: Any, n_sequences: Fraction) -> np.ndarray:
    """Joins (sequences, T', width) in time without the padding after so many sequences; reduces (sequences, width)."""
    array = np.asarray(sequences)
    if array.ndim == 2:
        return array.max(axis=0)  # (width,): what occurs in any part occurs in the recording
    kept = math.ceil(n_sequences * array.shape[1])
    return array.reshape(-1, *array.shape[2:])[:kept]  # (kept, width)
