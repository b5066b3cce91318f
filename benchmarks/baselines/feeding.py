"""Data feeding of the published code: a generator over NumPy files, and one array in memory."""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np


def write_arrays(
    folder: Path, name: str, features: np.ndarray, labels: Sequence[np.ndarray]
) -> None:
    """Writes one recording as the published SELDnet does: frames and labels in double precision.

    Args:
        folder: holds one file of features and one of labels for each recording; made if missing.
        name: of the recording.
        features: (T, F, C), normalised.
        labels: activity, azimuth and elevation, (T, K) each.
    """
    for kind, array in (
        ("features", features.reshape(len(features), -1)),
        ("labels", np.concatenate(labels, axis=1)),
    ):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        np.save(folder / kind / f"{name}.npy", array.astype(np.float64))


def seldnet_batches(
    folder: Path, shape: tuple[int, int], sequence_frames: int, batch_size: int, seed: int = 0
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Feeds SELDnet as published: whole files, one after the other, through queues of frames.

    The files come in random order, their frames in order, and sequences go on from one recording to
    the next.

    Args:
        folder: see `write_arrays`.
        shape: bands and channels of the features, (F, C).
        sequence_frames: frames of one sequence, T.
        batch_size: sequences of one batch, B.
        seed: of the order of the files; the published code has none.

    Yields:
        Features (B, C, T, F) and the targets [activity (B, T, K), directions (B, T, 2K)], float64,
        for ever.
    """
    names = sorted(path.name for path in (folder / "features").iterdir())
    rng = np.random.default_rng(seed)
    frames: deque[np.ndarray] = deque()
    labels: deque[np.ndarray] = deque()
    wanted = batch_size * sequence_frames
    while True:
        rng.shuffle(names)
        for name in names:
            frames.extend(np.load(folder / "features" / name, allow_pickle=False))
            labels.extend(np.load(folder / "labels" / name, allow_pickle=False))
            while len(frames) >= wanted:
                features = _taken(frames, wanted).reshape(batch_size, sequence_frames, *shape)
                targets = _taken(labels, wanted).reshape(batch_size, sequence_frames, -1)
                n_classes = targets.shape[-1] // 3
                yield (
                    features.transpose(0, 3, 1, 2),
                    [targets[..., :n_classes], targets[..., n_classes:]],
                )


def _taken(queue: deque[np.ndarray], count: int) -> np.ndarray:
    """The first rows of a queue in one array, (count, ...)."""
    rows = np.empty((count, *queue[0].shape))
    for number in range(count):
        rows[number] = queue.popleft()
    return rows


def one_array_batches(
    features: np.ndarray,
    targets: np.ndarray,
    starts: np.ndarray,
    window_frames: int,
    batch_size: int,
    seed: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Feeds the two-stage system as published: frames are indexed in one array of all recordings.

    Args:
        features: all recordings joined in time, (N, F, C).
        targets: parallel to them, (N, 3K).
        starts: int (windows,), first frame of each window.
        window_frames: frames of one window, T.
        batch_size: windows of one batch, B.
        seed: of the order.

    Yields:
        Features (B, T, F, C) and targets (B, T, 3K), for ever, in a new order in each pass.
    """
    rng, order = np.random.default_rng(seed), starts.copy()
    while True:
        rng.shuffle(order)
        for first in range(0, len(order) - batch_size + 1, batch_size):
            chosen = order[first : first + batch_size, None] + np.arange(window_frames)  # (B, T)
            yield features[chosen], targets[chosen]
