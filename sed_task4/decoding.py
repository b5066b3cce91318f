"""From a network's probabilities to events: the rules of both published systems, and a half-open
one.

`half_open` (default) and `kong2019` look for stretches above a high threshold, widen them down to a
low one, close short gaps and drop short stretches, for the classes that the tags let through.
`median` thresholds the frames and takes the median over time.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from common.events.postprocess import (
    binarize,
    detect_half_open,
    detect_published,
    level_scores,
    median_filter,
    regions,
)
from common.metrics.tagging import GRID, search_thresholds
from common.settings.section import Section

logger = logging.getLogger(__name__)

__all__ = [
    "DecodingConfig",
    "decision_scores",
    "decode_clip",
    "empty_events",
    "search_thresholds",
    "spread_tags",
]


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
    salt_frames: int = Field(
        16, ge=0, description="Events of at most this many frames are dropped."
    )
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
        if (
            self.decoder == "half_open"
            and self.low_threshold is not None
            and self.low_threshold > self.high_threshold
        ):
            raise ValueError(
                "low_threshold holds what high_threshold has started, so it cannot be above it. "
                f"Received: {self.low_threshold} and {self.high_threshold}."
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
    """Events of a clip in which nothing happens, (0, 3)."""
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
        clip: probabilities of the tags (K,); None: without a gate.
        decoding: the rule.
        hop_s: seconds from one frame to the next.
        tag_thresholds: (K,), take the place of `decoding.tag_threshold`, e.g. from
            `search_thresholds`.
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
    """Says which classes are looked for in a clip, bool (K,)."""
    limit = decoding.tag_threshold if tag_thresholds is None else np.asarray(tag_thresholds)
    if clip is None or limit is None:
        return np.ones(n_classes, bool)
    reached = (
        tag_thresholds is not None or decoding.decoder == "median"
    )  # searched thresholds are reached, too
    return np.asarray(clip) >= limit if reached else np.asarray(clip) > limit


def weighted(frames: np.ndarray, clip: np.ndarray | None, decoding: DecodingConfig) -> np.ndarray:
    """Multiplies frames (T, K) by the tags (K,) where the settings say so."""
    return (
        frames * np.asarray(clip)
        if decoding.frame_weight == "tags" and clip is not None
        else frames
    )


def gated_frames(
    frames: np.ndarray,
    clip: np.ndarray,
    decoding: DecodingConfig,
    tag_thresholds: np.ndarray | None = None,
) -> np.ndarray:
    """Weights frames (T, K) by the tags (K,) where the settings say so; 0 where the tags let a
    class not through."""
    return weighted(frames, clip, decoding) * tag_gate(
        clip, decoding, frames.shape[1], tag_thresholds
    )


def decision_scores(
    frames: np.ndarray,
    clip: np.ndarray | None,
    decoding: DecodingConfig,
    tag_thresholds: np.ndarray | None = None,
) -> np.ndarray:
    """Computes the scores that a decoder's threshold decides on: their level sets are its events,
    at every threshold.

    A frame lies in an event where its score exceeds the threshold (`median`: reaches it). With two
    thresholds the high one is meant, and the low one keeps its ratio to it; gaps are closed and
    short stretches dropped at each.

    Args:
        frames: probabilities (T, K).
        clip: probabilities of the tags (K,); None: without a gate.
        decoding: the rule.
        tag_thresholds: see `decode_clip`.

    Returns:
        float64 (T, K); minus infinity where no threshold of `decoding` gives an event, as where the
        tags let a class not through.
    """
    curves = np.asarray(weighted(np.asarray(frames), clip, decoding))
    gate = tag_gate(clip, decoding, curves.shape[1], tag_thresholds)
    if decoding.decoder == "median":  # the median of thresholded frames is the thresholded median
        return np.where(
            gate, median_filter(curves, decoding.median_frames).astype(np.float64), -np.inf
        )
    scores = np.full(curves.shape, -np.inf)
    for k in np.flatnonzero(gate):
        scores[:, k] = level_scores(
            curves[:, k],
            decoding.high_threshold,
            decoding.low_threshold,
            smooth_frames=decoding.smooth_frames,
            salt_frames=decoding.salt_frames,
            published=decoding.decoder == "kong2019",
        )
    return scores


def sweep_remark(decoding: DecodingConfig) -> str:
    """Says in a sentence what is swept for scores over all thresholds."""
    if decoding.decoder == "median":
        return "PSDS and best F: of all thresholds of the median decoder, with its tag gate."
    both = "of all high thresholds" + (
        "" if decoding.low_threshold is None else ", the low one in its ratio to them"
    )
    note = (
        f"PSDS and best F: {both}; tag gate, closed gaps and dropped stretches are those of"
        f" {decoding.decoder}."
    )
    if decoding.low_threshold is not None and decoding.low_threshold > decoding.high_threshold:
        return (
            f"{note} Approximate: with a low threshold above the high one the events of thresholds"
            " are not nested."
        )
    return note


def spread_tags(tags: np.ndarray, clip_s: float) -> np.ndarray:
    """Lets each tagged class last for the whole clip: events (n, 3) of tags bool (K,)."""
    classes = np.flatnonzero(tags)
    return np.column_stack([classes, np.zeros(len(classes)), np.full(len(classes), clip_s)])


def _detect(frames: np.ndarray, gate: np.ndarray, decoding: DecodingConfig) -> np.ndarray:
    """Finds events as (n, 3) = class, onset frame, offset frame."""
    if decoding.decoder == "median":
        active = binarize(frames, decoding.threshold)
        return regions(median_filter(active, decoding.median_frames) & gate)
    detect: Callable = detect_published if decoding.decoder == "kong2019" else detect_half_open
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
    """Searches tag thresholds over the published grid on validation clips; see
    `common.metrics.tagging`.

    Args:
        targets: 0 or 1 (N, K).
        scores: probabilities (N, K).
        published: a class without positives gets 0 (always on) as in the published code, instead of
            0.5.
    """
    return search_thresholds(targets, scores, GRID, without_positives=0.0 if published else 0.5)
