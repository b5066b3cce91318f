"""From probabilities to events: the rules of both published systems, and a half-open one.

`half_open` (default) and `kong2019` apply a hysteresis threshold: stretches above a high threshold
are widened down to a low one; short gaps are closed, short stretches dropped. `median` applies one
threshold and a median filter. Clip tag gating leaves out classes with low clip-level probabilities.

`OnlineDecoder` decodes recordings of unknown length: it returns an event as soon as no later frame
can change it.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from common.events import postprocess
from common.metrics.tagging import GRID, search_thresholds
from common.settings.section import Section

logger = logging.getLogger(__name__)


class DecodingConfig(Section):
    """Decoding of probabilities into events; defaults: thresholds of Kong et al., 2019."""

    decoder: Literal["half_open", "kong2019", "median"] = Field(
        "half_open",
        description=(
            "half_open: hysteresis threshold, offsets exclusive; kong2019: its published form;"
            " median: one threshold, then a median filter."
        ),
    )
    tag_threshold: float | None = Field(
        0.9,
        ge=0,
        le=1,
        description=(
            "Clip tag gating: a class whose clip-level probability does not exceed this"
            " (`median`: does not reach it) has no events; null: no gating."
            " Published: high_threshold for kong2019, null for median."
        ),
    )
    high_threshold: float = Field(
        0.9, ge=0, le=1, description="Hysteresis threshold that an event must exceed."
    )
    low_threshold: float | None = Field(
        0.5, ge=0, le=1, description="Hysteresis threshold that continues an event; null: none."
    )
    smooth_frames: int = Field(16, ge=0, description="Gaps of at most this many frames are closed.")
    salt_frames: int = Field(16, ge=0, description="Events of at most this length are dropped.")
    threshold: float = Field(
        0.5, ge=0, le=1, description="`median`: a frame is active where it reaches this."
    )
    median_frames: int | tuple[int, ...] = Field(
        51,
        description="`median`: length of the median filter in frames, odd; or one for each class.",
    )
    frame_weight: Literal["none", "tags"] = Field(
        "none", description="tags: multiply frame-level by clip-level probabilities."
    )
    search_thresholds: bool = Field(
        False,
        description="Search tag_threshold of each class in 0, 0.1, ..., 1 on the validation clips.",
    )

    @field_validator("median_frames")
    @classmethod
    def _odd(cls, value: int | tuple[int, ...]) -> int | tuple[int, ...]:
        windows = (value,) if isinstance(value, int) else value
        if not windows or any(window < 1 or window % 2 == 0 for window in windows):
            raise ValueError(f"a median needs odd numbers of frames, from 1 on. Received: {value}.")
        return value

    @model_validator(mode="after")
    def _high_above_low(self) -> Self:
        low = self.low_threshold
        if self.decoder == "half_open" and low is not None and low > self.high_threshold:
            raise ValueError(
                "low_threshold continues what high_threshold starts, so it cannot be above it."
                f" Received: {low} and {self.high_threshold}."
            )
        return self

    def check_classes(self, n_classes: int) -> None:
        """Raises ValueError unless lists by class have one entry for each class."""
        if isinstance(self.median_frames, tuple) and len(self.median_frames) != n_classes:
            raise ValueError(
                f"decoding.median_frames: expected one number, or {n_classes}, one for each class. "
                f"Received: {len(self.median_frames)}."
            )


def empty_events() -> np.ndarray:
    """Returns the events of a silent clip, (0, 3)."""
    return np.zeros((0, 3))


def decode_clip(
    frames: np.ndarray,
    clip: np.ndarray | None,
    decoding: DecodingConfig,
    hop_s: float,
    *,
    tag_thresholds: np.ndarray | None = None,
    clip_s: float | None = None,
) -> np.ndarray:
    """Turns the probabilities of one clip into events.

    Args:
        frames: probabilities (T, K).
        clip: clip-level probabilities (K,); None: no clip tag gating.
        decoding: the rule.
        hop_s: hop length in seconds.
        tag_thresholds: (K,), replace `decoding.tag_threshold`, e.g. from `search_thresholds`.
        clip_s: length of the clip; events beyond are cut.

    Returns:
        float64 (n, 3) = class_index, onset_s, offset_s, ordered by class and onset.

    Raises:
        ValueError: the shapes do not fit.
    """
    frames = np.asarray(frames)
    if frames.ndim != 2 or (clip is not None and np.shape(clip) != frames.shape[1:]):
        raise ValueError(
            "Expected: `frames` (T, K) and `clip` (K,). "
            f"Received: {frames.shape} and {None if clip is None else np.shape(clip)}."
        )
    decoding.check_classes(frames.shape[1])
    if len(frames) == 0:
        return empty_events()
    gate = tag_gate(clip, decoding, frames.shape[1], tag_thresholds)
    found = _detect(weighted(frames, clip, decoding), gate, decoding)
    events = found.astype(np.float64)
    events[:, 1:] *= hop_s
    if clip_s is not None:
        events[:, 2] = np.minimum(events[:, 2], clip_s)
        events = events[events[:, 1] < events[:, 2]] if decoding.decoder != "kong2019" else events
    return events


def tag_gate(
    clip: np.ndarray | None,
    decoding: DecodingConfig,
    n_classes: int,
    tag_thresholds: np.ndarray | None = None,
) -> np.ndarray:
    """Clip tag gating: bool (K,), true for the classes that a clip may have."""
    limit = decoding.tag_threshold if tag_thresholds is None else np.asarray(tag_thresholds)
    if clip is None or limit is None:
        return np.ones(n_classes, bool)
    # A searched threshold is reached, not exceeded, as with `median`.
    reached = tag_thresholds is not None or decoding.decoder == "median"
    return np.asarray(clip) >= limit if reached else np.asarray(clip) > limit


def weighted(frames: np.ndarray, clip: np.ndarray | None, decoding: DecodingConfig) -> np.ndarray:
    """Multiplies frames (T, K) by clip-level probabilities (K,) with `frame_weight: tags`."""
    return frames if decoding.frame_weight == "none" or clip is None else frames * np.asarray(clip)


def gated_frames(
    frames: np.ndarray,
    clip: np.ndarray,
    decoding: DecodingConfig,
    tag_thresholds: np.ndarray | None = None,
) -> np.ndarray:
    """Weights frames (T, K) as set; 0 for classes that clip tag gating excludes."""
    gate = tag_gate(clip, decoding, frames.shape[1], tag_thresholds)
    return weighted(frames, clip, decoding) * gate


def decision_scores(
    frames: np.ndarray,
    clip: np.ndarray | None,
    decoding: DecodingConfig,
    tag_thresholds: np.ndarray | None = None,
) -> np.ndarray:
    """Computes scores whose level sets are the events of a decoder at every threshold.

    A frame lies in an event where its score exceeds the threshold (`median`: reaches it). Of two
    thresholds the high one is swept, and the low one keeps its ratio to it; gaps are closed and
    short stretches dropped at each.

    Args:
        frames: probabilities (T, K).
        clip: clip-level probabilities (K,); None: no clip tag gating.
        decoding: the rule.
        tag_thresholds: see `decode_clip`.

    Returns:
        float64 (T, K); minus infinity where no threshold of `decoding` gives an event, as for
        classes that clip tag gating excludes.
    """
    curves = np.asarray(weighted(np.asarray(frames), clip, decoding))
    gate = tag_gate(clip, decoding, curves.shape[1], tag_thresholds)
    if decoding.decoder == "median":  # the median of thresholded frames is the thresholded median
        filtered = postprocess.median_filter(curves, decoding.median_frames)
        return np.where(gate, filtered.astype(np.float64), -np.inf)
    scores = np.full(curves.shape, -np.inf)
    for k in np.flatnonzero(gate):
        scores[:, k] = postprocess.level_scores(
            curves[:, k],
            decoding.high_threshold,
            decoding.low_threshold,
            smooth_frames=decoding.smooth_frames,
            salt_frames=decoding.salt_frames,
            published=decoding.decoder == "kong2019",
        )
    return scores


def sweep_remark(decoding: DecodingConfig) -> str:
    """Describes the thresholds that PSDS and best F sweep, for reports."""
    if decoding.decoder == "median":
        return "PSDS and best F: of all thresholds of the median decoder, with its tag gate."
    low, both = decoding.low_threshold, "all high thresholds"
    both += "" if low is None else ", the low one in its ratio to them"
    kept = f"tag gate, closed gaps and dropped stretches are those of {decoding.decoder}"
    note = f"PSDS and best F: of {both}; {kept}."
    if low is not None and low > decoding.high_threshold:
        return f"{note} Approximate: events are not nested with a low threshold above the high one."
    return note


def spread_tags(tags: np.ndarray, clip_s: float) -> np.ndarray:
    """Returns events (n, 3) of the whole clip for each class of the tags, bool (K,)."""
    classes = np.flatnonzero(tags)
    return np.column_stack([classes, np.zeros(len(classes)), np.full(len(classes), clip_s)])


def _detect(frames: np.ndarray, gate: np.ndarray, decoding: DecodingConfig) -> np.ndarray:
    """Finds events as (n, 3) = class, onset frame, offset frame."""
    if decoding.decoder == "median":
        active = postprocess.binarize(frames, decoding.threshold)
        filtered = postprocess.median_filter(active, decoding.median_frames)
        return postprocess.regions(filtered & gate)
    published = decoding.decoder == "kong2019"
    detect: Callable = postprocess.detect_published if published else postprocess.detect_half_open
    found: Sequence[np.ndarray] = [np.zeros((0, 3), np.int64)]
    for k in np.flatnonzero(gate):
        pairs = detect(
            frames[:, k],
            decoding.high_threshold,
            decoding.low_threshold,
            smooth_frames=decoding.smooth_frames,
            salt_frames=decoding.salt_frames,
        )
        found = [*found, np.column_stack([np.full(len(pairs), k), pairs])]
    return np.concatenate(found)


def best_thresholds(
    targets: np.ndarray, scores: np.ndarray, *, published: bool = False
) -> np.ndarray:
    """Searches tag thresholds on validation clips, see `common.metrics.tagging`.

    Args:
        targets: 0 or 1 (N, K).
        scores: probabilities (N, K).
        published: a class without positives gets 0 (always on) as published, instead of 0.5.
    """
    return search_thresholds(targets, scores, GRID, without_positives=0.0 if published else 0.5)


class FoundEvent(NamedTuple):
    """Event in frames: class, onset, offset, and the mean of the curve within."""

    class_index: int
    onset: float
    offset: float
    score: float


class OnlineDecoder:
    """Decodes a stream of curves (T, K) to the events that `decode_clip` finds in the whole.

    Each class is decoded by itself, up to a stretch so long and so far below the thresholds that no
    event reaches across it: what lies before is final and dropped. Memory is that of open events.

    Args:
        n_classes: K.
        decoding: the rule; without tag gating: curves are 0 where tags exclude a class.
    """

    def __init__(self, n_classes: int, decoding: DecodingConfig):
        self._classes = [_OneClass(_of_class(decoding, k)) for k in range(n_classes)]

    def push(self, curves: np.ndarray) -> list[FoundEvent]:
        """Takes in the next frames (T, K); returns the final events, by class and onset."""
        pairs = enumerate(zip(self._classes, np.asarray(curves).T, strict=True))
        found = ((k, event) for k, (decoder, curve) in pairs for event in decoder.push(curve))
        return [FoundEvent(k, *event) for k, event in found]

    def finish(self) -> list[FoundEvent]:
        """Returns the events that last until the end."""
        found = ((k, event) for k, each in enumerate(self._classes) for event in each.finish())
        return [FoundEvent(k, *event) for k, event in found]


class _OneClass:
    def __init__(self, decoding: DecodingConfig):
        self._decoding, self._separating = decoding, _separating_frames(decoding)
        self._curve = np.zeros(0, np.float32)
        self._start = 0  # frames before the curve

    def push(self, curve: np.ndarray) -> Iterator[tuple[float, float, float]]:
        self._curve = np.concatenate([self._curve, curve])
        quiet = _is_quiet(self._curve, self._decoding)
        run = np.cumsum(quiet)  # then: quiet frames in a row, up to each frame
        run -= np.maximum.accumulate(np.where(quiet, 0, run))
        (separated,) = np.nonzero(run >= self._separating)
        return self._decoded(separated[-1] + 1) if len(separated) else iter(())

    def finish(self) -> Iterator[tuple[float, float, float]]:
        return self._decoded(len(self._curve))

    def _decoded(self, n_frames: int) -> Iterator[tuple[float, float, float]]:
        part, start = self._curve[:n_frames], self._start
        self._curve, self._start = self._curve[n_frames:], start + n_frames
        events = decode_clip(part[:, None], None, self._decoding, hop_s=1.0)
        for _, onset, offset in events.tolist():
            within = part[int(onset) : max(int(offset), int(onset) + 1)]
            yield start + onset, start + offset, float(within.mean())


def _of_class(decoding: DecodingConfig, k: int) -> DecodingConfig:
    """Returns the rule for one class."""
    if isinstance(decoding.median_frames, int):
        return decoding
    return decoding.model_copy(update={"median_frames": decoding.median_frames[k]})


def _separating_frames(decoding: DecodingConfig) -> int:
    """Number of quiet frames in a row that no event reaches across."""
    if decoding.decoder == "median":
        return int(np.max(decoding.median_frames)) // 2 + 1
    return decoding.smooth_frames + 1


def _is_quiet(curve: np.ndarray, decoding: DecodingConfig) -> np.ndarray:
    """True for frames that cannot be part of an event, bool (T,)."""
    if decoding.decoder == "median":
        return curve < decoding.threshold
    exact, low = curve.astype(np.float64), decoding.low_threshold
    return (exact <= decoding.high_threshold) & ((exact < low) if low is not None else True)
