"""Runs a network over whole recordings, one after another."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

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
        targets: {output: (frames of the output, width)}, without padding.
        outputs: {output: (frames of the output, width)}, without padding.
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
        model: from (sequences, T, F, C) to {output: (sequences, T', width)}.
        recordings: elements of `common.pipeline.evaluation_stream`.

    Yields:
        One `Prediction` for each recording, in the order of the stream.
    """
    for element in recordings:
        outputs = model.predict_on_batch(np.asarray(element["features"]))
        targets = {name: np.asarray(value) for name, value in element["targets"].items()}
        frames = int(element["frames"])
        length = element["features"].shape[1]
        kept = {name: -(-frames * value.shape[1] // length) for name, value in targets.items()}  # rounded up
        yield Prediction(
            name=bytes(np.asarray(element["name"]).item()).decode(),
            frames=frames,
            labelled=bool(element["labelled"]),
            events=np.asarray(element["events"]),
            targets={name: _joined(value)[: kept[name]] for name, value in targets.items()},
            outputs={name: _joined(np.asarray(value))[: kept[name]] for name, value in outputs.items()},
        )


def _joined(sequences: np.ndarray) -> np.ndarray:
    return sequences.reshape(-1, *sequences.shape[2:])  # (sequences * T', width)
