"""Outputs of networks to vectors, and vectors to rows: class-wise, ACCDOA, multi-ACCDOA, tracks.

Each decoder returns `Vectors`, the sources of each output frame as the network gives them; their
lengths are kept, since published files hold them. `to_rows` brings them to label frames.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.special import expit

from seld.geometry import angles_of_vectors, cartesian_distance
from seld.recordings.rows import make_rows, spans

THRESHOLD = 0.5  # published for activities, and for the lengths of ACCDOA vectors
UNIFY_DEG = 15.0  # published: tracks of one class closer than this are one source


@dataclass(frozen=True)
class Vectors:
    """Sources in output frames, sorted by frame, then class.

    Attributes:
        frame: int64 (n,), output frame.
        klass: int64 (n,).
        xyz: float64 (n, 3), not normalised.
        score: float64 (n,), activity or length of the vector.
        distance_m: float64 (n,), NaN if it is not predicted.
        onscreen: float64 (n,), probability, NaN if it is not predicted.
    """

    frame: np.ndarray
    klass: np.ndarray
    xyz: np.ndarray
    score: np.ndarray
    distance_m: np.ndarray
    onscreen: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, index: np.ndarray) -> "Vectors":
        """Returns the sources at the given positions, or where a boolean (n,) is true."""
        return Vectors(*(getattr(self, field.name)[index] for field in fields(self)))


def decode_classwise(sed: np.ndarray, doa: np.ndarray, threshold: float = THRESHOLD) -> Vectors:
    """Decodes activities (T', K) and vectors (T', 3, K) of separate heads."""
    frame, klass = np.nonzero(sed > threshold)
    return _vectors(frame, klass, doa[frame, :, klass], sed[frame, klass])


def decode_accdoa(
    vectors: np.ndarray, n_axes: int = 3, threshold: float = THRESHOLD, onscreen: bool = False
) -> Vectors:
    """Decodes ACCDOA vectors: a class is active where its vector is longer than the threshold.

    Args:
        vectors: (T', A, K), the coordinates first, then the distance in metres, then the
            probability of being on the screen, the last two only if the network has them.
        n_axes: coordinates: 3, or 2 for x and y.
        threshold: length above which a class is active.
        onscreen: the last entry is that probability.
    """
    return decode_multi_accdoa(vectors[:, None], n_axes, threshold, None, onscreen)


def decode_multi_accdoa(
    vectors: np.ndarray,
    n_axes: int = 3,
    threshold: float = THRESHOLD,
    unify_deg: float | None = UNIFY_DEG,
    onscreen: bool = False,
) -> Vectors:
    """Decodes multi-ACCDOA: active tracks of a class that are close to each other are one source.

    Args:
        vectors: (T', N, A, K), see `decode_accdoa`.
        n_axes: coordinates: 3, or 2 for x and y.
        threshold: length above which a track is active.
        unify_deg: angle in degrees below which two active tracks are joined to their mean, chains
            of three to one; None: never.
        onscreen: the last entry of A is the probability of being on the screen.

    Returns:
        The sources of a class in a frame in the published order: those of single tracks, then the
        joined ones.
    """
    values = np.asarray(vectors, np.float32).transpose(0, 3, 1, 2)  # (T', K, N, A)
    xyz = values[..., :n_axes]
    if n_axes == 2:
        xyz = np.concatenate([xyz, np.zeros_like(xyz[..., :1])], axis=-1)
    length = np.linalg.norm(xyz, axis=-1)  # (T', K, N)
    cells = np.nonzero((length > threshold).any(axis=-1))  # frame and class of n active classes
    values, xyz, length = values[cells], xyz[cells], length[cells]  # (n, N, ...)
    group = _groups(xyz, length > threshold, unify_deg)  # (n, N)
    member = group[:, None] == np.arange(group.shape[-1])[:, None]  # (n, group, N)
    size = member.sum(axis=-1)  # (n, group)
    # Single tracks first, then joined ones, each in the order of their first track.
    place = np.lexsort((np.broadcast_to(np.arange(size.shape[-1]), size.shape), size > 1), axis=-1)
    cell, rank = np.nonzero(np.take_along_axis(size, place, axis=-1) > 0)  # of m sources
    members = member[cell, place[cell, rank]]  # (m, N)
    own = values[cell]  # (m, N, A)
    others = n_axes + onscreen
    has_distance = values.shape[-1] > others
    if has_distance:
        own[..., n_axes] = np.maximum(own[..., n_axes], 0.0)
    mean = _mean_of(own, members)  # (m, A)
    means = _mean_of(xyz[cell], members)
    score = _mean_of(length[cell][..., None], members)[:, 0]
    distance = mean[:, n_axes] if has_distance else None
    screen = own[np.arange(len(own)), _leading(members), -1] if onscreen else None
    frame, klass = (each[cell] for each in cells)
    return _vectors(frame, klass, means, score, distance, screen)


def _mean_of(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Mean over the members (n, N) of values (n, N, A), in float32 as published."""
    total = np.where(members[..., None], values, np.float32(0.0)).sum(axis=1)
    return total / members.sum(axis=1, dtype=np.float32)[:, None]


def _leading(members: np.ndarray) -> np.ndarray:
    """Track whose on-screen probability counts for a source; of 0 and 2 it is 2, as published."""
    first = members.argmax(axis=1)
    if members.shape[1] != 3:
        return first
    return np.where((members == [True, False, True]).all(axis=1), 2, first)


def _groups(xyz: np.ndarray, active: np.ndarray, unify_deg: float | None) -> np.ndarray:
    """First track of the source of each track, (n, N); -1 for silent tracks."""
    n_tracks = active.shape[-1]
    group = np.where(active, np.arange(n_tracks), n_tracks)
    if unify_deg is not None and n_tracks > 1:
        first, second = np.triu_indices(n_tracks, 1)
        vectors = xyz.astype(np.float64)
        apart = cartesian_distance(vectors[:, first], vectors[:, second])  # (n, pairs)
        near = (apart < np.deg2rad(unify_deg)) & active[:, first] & active[:, second]
        similar = np.tile(np.eye(n_tracks, dtype=bool), (len(group), 1, 1))  # (n, N, N)
        similar[:, first, second] = similar[:, second, first] = near
        for _ in range(n_tracks - 1):  # chains
            group = np.where(similar, group[:, None], n_tracks).min(axis=-1)
    return np.where(active, group, -1)


def decode_tracks(sed: np.ndarray, doa: np.ndarray, threshold: float = THRESHOLD) -> Vectors:
    """Decodes tracks: the most probable class of each, where it exceeds the threshold.

    Args:
        sed: probabilities (T', N, K).
        doa: vectors (T', N, 3).
        threshold: probability above which a track is active.

    Returns:
        The sources in the order of the tracks within a frame, as published.
    """
    klass = sed.argmax(axis=-1)  # (T', N)
    best = np.take_along_axis(sed, klass[..., None], axis=-1)[..., 0]
    frame, track = np.nonzero(best > threshold)
    return _vectors(frame, klass[frame, track], doa[frame, track], best[frame, track])


def _vectors(
    frame: np.ndarray,
    klass: np.ndarray,
    xyz: np.ndarray,
    score: np.ndarray,
    distance_m: np.ndarray | None = None,
    onscreen: np.ndarray | None = None,
) -> Vectors:
    unknown = np.full(len(frame), np.nan)
    others = (
        unknown if each is None else each.astype(np.float64) for each in (distance_m, onscreen)
    )
    return Vectors(frame, klass, xyz.astype(np.float64), score.astype(np.float64), *others)


def mean_of_tracks(
    models: Sequence[tuple[np.ndarray, np.ndarray]], aligned: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Averages the tracks of several models.

    Args:
        models: probabilities (T', N, K) and vectors (T', N, 3) of each.
        aligned: bring the tracks of every model, frame by frame, into the order in which they are
            nearest to those of the first; false: track by track, as published, although tracks
            have no order.
    """
    joined = [np.concatenate(pair, axis=-1) for pair in models]
    if aligned:
        joined = [aligned_tracks(each, joined[0]) for each in joined]
    mean = np.mean(joined, axis=0)
    return mean[..., :-3], mean[..., -3:]


def aligned_tracks(tracks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Brings tracks (T', N, width), frame by frame, into the order nearest to the reference."""
    orders = np.array(list(itertools.permutations(range(reference.shape[1]))))
    apart = np.square(tracks[:, orders] - reference[:, None]).sum(axis=(-2, -1))  # (T', orders)
    order = orders[apart.argmin(axis=1)][..., None]  # (T', N, 1)
    return np.take_along_axis(tracks, order, axis=1)


def to_rows(vectors: Vectors, onscreen_from: float = 0.5) -> np.ndarray:
    """Rows (n, 7) of sources in label frames, see `seld.recordings.rows`; their number is unknown.

    Args:
        vectors: the sources.
        onscreen_from: probability from which a source is in the picture; published: 1, since the
            probability is cut to a whole number.
    """
    seen = np.where(np.isnan(vectors.onscreen), np.nan, vectors.onscreen >= onscreen_from)
    return make_rows(
        vectors.frame,
        vectors.klass,
        *angles_of_vectors(vectors.xyz),
        distance_m=vectors.distance_m,
        onscreen=seen,
    )


def activity_of(outputs: Mapping[str, np.ndarray], n_axes: int = 3) -> np.ndarray:
    """Activity of each class, (T', K): probabilities, or lengths of vectors, of the best track.

    Args:
        outputs: of one recording: "sed" or "logits" (T', K), "accdoa" (T', A, K) or (T', N, A,
            K), coordinates first, or "tracks" (T', N, K + 3), logits and a vector.
        n_axes: coordinates: 3, or 2 for x and y.
    """
    if "sed" in outputs:
        return outputs["sed"]
    if "logits" in outputs:
        return expit(outputs["logits"])
    if "tracks" in outputs:
        return expit(outputs["tracks"][..., :-3].max(axis=1))
    vectors = outputs["accdoa"]
    tracks = vectors[:, None] if vectors.ndim == 3 else vectors
    return np.linalg.norm(tracks[:, :, :n_axes], axis=2).max(axis=1)


def output_frames(
    n_frames: int, n_outputs: int, hop_ratio: float = 1.0, time_pooling: int = 1
) -> np.ndarray:
    """Output frame of each label frame, int (n_frames,); the last one is repeated.

    Args:
        n_frames: label frames of the recording.
        n_outputs: frames of the output.
        hop_ratio: hop length of the labels divided by that of the features.
        time_pooling: feature frames of an output frame.

    Raises:
        ValueError: there is no output frame, though the recording has frames.
    """
    if n_frames and not n_outputs:
        raise ValueError(f"Expected: `outputs` for {n_frames} frames. Received: no frame.")
    feature_frame = np.floor(np.arange(n_frames) * hop_ratio + 1e-6).astype(int)
    return np.minimum(feature_frame // time_pooling, n_outputs - 1)


def label_rows(
    vectors: Vectors, n_outputs: int, n_frames: int, hop_ratio: float, time_pooling: int
) -> np.ndarray:
    """Rows (n, 7) of the label frames of a recording; arguments as for `output_frames`."""
    source = output_frames(n_frames, n_outputs, hop_ratio, time_pooling)
    return to_rows(in_label_frames(vectors, source))


def in_label_frames(vectors: Vectors, source: np.ndarray) -> Vectors:
    """Repeats the sources of output frames in label frames.

    Args:
        vectors: in output frames.
        source: int (n_frames,), output frame of each label frame, in ascending order.
    """
    begin, end = (np.searchsorted(vectors.frame, source, side) for side in ("left", "right"))
    frame, index = spans(begin, end)
    taken = vectors.select(index)
    return Vectors(frame, *(getattr(taken, field.name) for field in fields(Vectors)[1:]))
