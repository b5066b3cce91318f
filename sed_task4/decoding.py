"""From probabilities to events: the rules of both published systems, and a half-open one.

`half_open` (default) and `kong2019` apply a hysteresis threshold: stretches above a high threshold
are widened down to a low one; short gaps are closed, short stretches dropped. `median` applies one
threshold and a median filter, in the forms of the baselines of 2018 to 2024. Clip tag gating leaves
out classes with low clip-level probabilities.

`OnlineDecoder` decodes recordings of unknown length: it returns an event as soon as no later frame
can change it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from common.events import postprocess
from common.events.postprocess import Edge
from common.metrics.tagging import GRID, search_thresholds
from common.settings.section import Section

logger = logging.getLogger(__name__)
_BOTH_ENDS = (True, True)


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
    threshold_rule: Literal["reached", "exceeded"] = Field(
        "reached",
        description="`median`: a frame is active where its probability has reached the threshold"
        " (baselines of 2018 to 2020), or has exceeded it (from 2021 on).",
    )
    median_frames: int | tuple[int, ...] | dict[str, int] = Field(
        51,
        description="`median`: length of the median filter in frames, odd; or one for each class,"
        " as a list or by class name.",
    )
    median_s: float | tuple[float, ...] | dict[str, float] | None = Field(
        None,
        description="`median`: the same in seconds, of which the nearest odd number of frames is"
        " taken; null: median_frames.",
    )
    median_of: Literal["mask", "scores"] = Field(
        "mask",
        description="`median`: filter the active frames (baselines up to 2022), or the"
        " probabilities before the threshold (from 2023 on). Events differ only where zeros at the"
        " edges reach a threshold of 0.",
    )
    median_edges: Edge = Field(
        "zeros",
        description="`median`: values before and after the clip. zeros: as published in 2018;"
        " reflect: its mirror image, as from 2019 on.",
    )
    search_medians: bool = Field(
        False,
        description="`median`: search the length of each class, in frames, that gives the best"
        " event-based F-score of the strongly labelled validation clips.",
    )
    clip_masking: Literal["gate", "same_threshold", "whole_clip"] = Field(
        "gate",
        description="`median`: use of clip-level probabilities. gate: tag_threshold decides;"
        " same_threshold: a class needs a clip-level probability that reaches `threshold`, as"
        " FDY-SED masks its predictions; whole_clip: such a class is active in the whole clip.",
    )
    frame_stride: int = Field(
        1,
        ge=1,
        description="Feature frames of one decoded frame, for networks that pool time: decoding"
        " works on whole output frames, and median lengths, gaps and stretches count them.",
    )
    cut_at_end: bool = Field(
        True,
        description="Cut events at the end of the clip; false: they may last until the end of its"
        " last frame, as published in 2019.",
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
    def _odd(cls, value: Any) -> Any:
        windows = _entries(value)
        if not windows or any(window < 1 or window % 2 == 0 for window in windows):
            raise ValueError(f"a median needs odd numbers of frames, from 1 on. Received: {value}.")
        return value

    @field_validator("median_s")
    @classmethod
    def _positive(cls, value: Any) -> Any:
        windows = () if value is None else _entries(value)
        if value is not None and not (windows and all(0 < each < np.inf for each in windows)):
            raise ValueError(f"a median needs lengths above 0 seconds. Received: {value}.")
        return value

    @model_validator(mode="after")
    def _of_the_median_decoder(self) -> Self:
        if self.decoder != "median" and (self.search_medians or self.clip_masking != "gate"):
            raise ValueError(
                "search_medians and clip_masking belong to `decoder: median`. Received: decoder:"
                f" {self.decoder}. Change it, or leave them out."
            )
        return self

    @model_validator(mode="after")
    def _high_above_low(self) -> Self:
        low = self.low_threshold
        if self.decoder == "half_open" and low is not None and low > self.high_threshold:
            raise ValueError(
                "low_threshold continues what high_threshold starts, so it cannot be above it."
                f" Received: {low} and {self.high_threshold}."
            )
        return self

    def resolved(self, classes: Sequence[str], hop_s: float) -> "DecodingConfig":
        """Brings median lengths to frames, in the order of the classes.

        Args:
            classes: names of the K classes.
            hop_s: hop length of the features in seconds.

        Raises:
            ValueError: lengths for classes that do not exist, or none for some that do.
        """
        name = "median_frames" if self.median_s is None else "median_s"
        given = _by_class(getattr(self, name), classes, f"decoding.{name}")
        if self.median_s is None:
            return self.model_copy(update={"median_frames": given})
        frame_s = hop_s * self.frame_stride
        frames = [nearest_odd(seconds / frame_s) for seconds in _entries(given)]
        lengths = tuple(frames) if isinstance(given, tuple) else frames[0]
        return self.model_copy(update={"median_frames": lengths, "median_s": None})

    def changed_section(
        self, threshold: float | None, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Settings of a task for a prediction, of which the section `decoding` may differ.

        Arguments as for `changed`, with the settings of that section below its name.
        """
        given = changes.get("decoding", {})
        if not isinstance(given, Mapping):  # no section, which the settings report
            return dict(changes)
        return {"decoding": self.changed(threshold, given)}

    def changed(self, threshold: float | None, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of a prediction that differ from these.

        Args:
            threshold: of the median decoder; otherwise the high one, to which the low one keeps
                its ratio, as in scores of all thresholds. None: these.
            changes: further ones, which take precedence. What they give is not searched any more.
        """
        given: dict[str, Any] = {}
        if threshold is not None and changes.get("decoder", self.decoder) == "median":
            given["threshold"] = threshold
        elif threshold is not None:
            high, low = self.high_threshold, self.low_threshold
            given["high_threshold"] = threshold
            if low is not None:
                scaled = low * threshold / high if high > 0 else low
                given["low_threshold"] = min(scaled, threshold if low <= high else 1.0)
        if "tag_threshold" in changes:
            given["search_thresholds"] = False
        if "median_frames" in changes or "median_s" in changes:
            given |= {"search_medians": False, "median_s": None}
        return {**given, **changes}

    @property
    def searches_gate(self) -> bool:
        """True if searched tag thresholds take the place of `tag_threshold`."""
        return self.tag_threshold is not None and self.search_thresholds

    def check_classes(self, n_classes: int) -> None:
        """Raises ValueError unless lists by class have one entry for each class."""
        for name in ("median_frames", "median_s"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != n_classes:
                raise ValueError(
                    f"decoding.{name}: expected one number, or {n_classes}, one for each class. "
                    f"Received: {len(value)}."
                )

    @property
    def windows(self) -> int | tuple[int, ...]:
        """Median lengths in frames.

        Raises:
            ValueError: they are in seconds or by class name, see `resolved`.
        """
        if self.median_s is not None or isinstance(self.median_frames, dict):
            raise ValueError(
                "Median lengths must be in frames and in the order of the classes. Use"
                " `DecodingConfig.resolved(classes, hop_s)`."
            )
        return self.median_frames

    @property
    def frame_threshold(self) -> float:
        """Threshold that a frame of an event reaches, or exceeds."""
        return self.threshold if self.decoder == "median" else self.high_threshold

    @property
    def swept_threshold(self) -> float:
        """Threshold of `decision_scores` that gives the decoder's own events: scores above it.

        Where the threshold is reached, not exceeded, it is the number just below.
        """
        if self.decoder != "median":
            return self.high_threshold
        if self.threshold_rule == "exceeded":
            return self.threshold
        return float(np.nextafter(self.threshold, -np.inf))

    def of_classes(self, classes: Sequence[int]) -> "DecodingConfig":
        """Returns the rule for some of the classes, by number."""
        windows = self.windows
        if isinstance(windows, int):
            return self
        return self.model_copy(update={"median_frames": tuple(windows[k] for k in classes)})

    def reaches(self, values: np.ndarray) -> np.ndarray:
        """True where probabilities are active by `threshold` and `threshold_rule`."""
        return postprocess.binarize(values, self.threshold, self.threshold_rule == "exceeded")


def nearest_odd(length: float) -> int:
    """Odd number nearest to a length in frames, at least 1; 7.06 gives 7, 6.2 gives 7."""
    return 2 * int(length / 2 + 1e-9) + 1


def _entries(value: Any) -> tuple[Any, ...]:
    """All lengths of a setting that holds one, a list, or one for each class name."""
    if isinstance(value, Mapping):
        return tuple(value.values())
    return tuple(value) if isinstance(value, tuple) else (value,)


def _by_class(value: Any, classes: Sequence[str], setting: str) -> Any:
    """One length, or a tuple in the order of the classes."""
    if isinstance(value, Mapping):
        unknown, missing = sorted({*value} - {*classes}), sorted({*classes} - {*value})
        if unknown or missing:
            problem = "has no length for" if not unknown else "names classes that do not exist:"
            raise ValueError(
                f"{setting} {problem} {', '.join(unknown or missing)}. Expected: one length for"
                f" each of {', '.join(classes)}."
            )
        return tuple(value[name] for name in classes)
    if isinstance(value, tuple) and len(value) != len(classes):
        raise ValueError(
            f"{setting}: expected one number, or {len(classes)}, one for each class. Received:"
            f" {len(value)}."
        )
    return value


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
        clip_s: length of the clip; events beyond are cut, unless `decoding.cut_at_end` is false.

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
    curves = strided(curves_of(frames, clip, gate, decoding), decoding.frame_stride)
    events = _detect(curves, gate, decoding).astype(np.float64)
    events[:, 1:] *= decoding.frame_stride * hop_s
    if clip_s is not None and decoding.cut_at_end:
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
    if clip is not None and decoding.clip_masking != "gate":
        return np.asarray(clip) >= decoding.threshold  # reached, whatever `threshold_rule` is
    if clip is None or limit is None:
        return np.ones(n_classes, bool)
    # A searched threshold is reached, not exceeded, as with `median`.
    reached = tag_thresholds is not None or decoding.decoder == "median"
    return np.asarray(clip) >= limit if reached else np.asarray(clip) > limit


def tag_limits(
    decoding: DecodingConfig, n_classes: int, tag_thresholds: np.ndarray | None = None
) -> np.ndarray | None:
    """Thresholds (K,) of clip tag gating; None: there is none. Arguments as for `tag_gate`."""
    if decoding.clip_masking != "gate":
        return np.full(n_classes, decoding.threshold)
    limit = decoding.tag_threshold if tag_thresholds is None else tag_thresholds
    return None if limit is None else np.broadcast_to(limit, (n_classes,))


def weighted(frames: np.ndarray, clip: np.ndarray | None, decoding: DecodingConfig) -> np.ndarray:
    """Multiplies frames (T, K) by clip-level probabilities (K,) with `frame_weight: tags`."""
    return frames if decoding.frame_weight == "none" or clip is None else frames * np.asarray(clip)


def curves_of(
    frames: np.ndarray, clip: np.ndarray | None, gate: np.ndarray, decoding: DecodingConfig
) -> np.ndarray:
    """Curves (T, K) that are decoded: weighted frames, or 1 and 0 in whole clips."""
    if decoding.clip_masking == "whole_clip" and clip is not None:
        return np.broadcast_to(gate.astype(np.float64), frames.shape)
    return weighted(frames, clip, decoding)


def strided(frames: np.ndarray, stride: int) -> np.ndarray:
    """Whole output frames (T', K) of frames (T, K) that repeat each of them, at least one."""
    whole = max(len(frames) // stride, min(len(frames), 1))
    return frames[: whole * stride : stride]


def gated_frames(
    frames: np.ndarray,
    clip: np.ndarray,
    decoding: DecodingConfig,
    tag_thresholds: np.ndarray | None = None,
) -> np.ndarray:
    """Weights frames (T, K) as set; 0 for classes that clip tag gating excludes."""
    gate = tag_gate(clip, decoding, frames.shape[1], tag_thresholds)
    return curves_of(frames, clip, gate, decoding) * gate


def decision_scores(
    frames: np.ndarray,
    clip: np.ndarray | None,
    decoding: DecodingConfig,
    tag_thresholds: np.ndarray | None = None,
) -> np.ndarray:
    """Computes scores whose level sets are the events of a decoder at every threshold.

    A frame lies in an event where its score exceeds the threshold (`median` with `threshold_rule:
    reached`: reaches it). Of two thresholds the high one is swept, and the low one keeps its ratio
    to it; gaps are closed and short stretches dropped at each.

    Args:
        frames: probabilities (T, K).
        clip: clip-level probabilities (K,); None: no clip tag gating.
        decoding: the rule.
        tag_thresholds: see `decode_clip`.

    Returns:
        float64 (T, K); minus infinity where no threshold of `decoding` gives an event, as for
        classes that clip tag gating excludes.
    """
    frames = np.asarray(frames)
    if decoding.frame_stride > 1 and len(frames):
        whole = decoding.model_copy(update={"frame_stride": 1})
        decoded = strided(frames, decoding.frame_stride)
        scores = decision_scores(decoded, clip, whole, tag_thresholds)
        scores = np.repeat(scores, decoding.frame_stride, axis=0)[: len(frames)]
        left = len(frames) - len(scores)  # no whole output frame: no event lasts as long
        return np.pad(scores, ((0, left), (0, 0)), constant_values=-np.inf)
    curves = np.asarray(weighted(frames, clip, decoding))
    if decoding.decoder == "median":
        return _median_scores(curves, clip, decoding, tag_thresholds)
    gate = tag_gate(clip, decoding, curves.shape[1], tag_thresholds)
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


def _median_scores(
    curves: np.ndarray,
    clip: np.ndarray | None,
    decoding: DecodingConfig,
    tag_thresholds: np.ndarray | None,
) -> np.ndarray:
    """`decision_scores` of the median decoder: the median of a mask is the mask of the median."""
    filtered = filtered_scores(curves, decoding).astype(np.float64)
    if clip is None or decoding.clip_masking == "gate":
        gate = tag_gate(clip, decoding, curves.shape[1], tag_thresholds)
        return np.where(gate, filtered, -np.inf)
    tags = np.asarray(clip, np.float64)
    if decoding.threshold_rule == "exceeded":  # tags reach the threshold, which scores exceed
        tags = np.minimum(np.nextafter(tags, np.inf), 1.0)
    whole = np.broadcast_to(tags, curves.shape)
    return whole if decoding.clip_masking == "whole_clip" else np.minimum(filtered, whole)


def filtered_scores(frames: np.ndarray, decoding: DecodingConfig) -> np.ndarray:
    """Probabilities (T, K) after the median filter, as score files of the baselines hold them."""
    return postprocess.median_filter(frames, decoding.windows, decoding.median_edges)


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


def _detect(
    frames: np.ndarray,
    gate: np.ndarray,
    decoding: DecodingConfig,
    is_end: tuple[bool, bool] = _BOTH_ENDS,
) -> np.ndarray:
    """Finds events as (n, 3) = class, onset frame, offset frame.

    Args:
        frames: (T, K).
        gate: bool (K,), classes that may have events.
        decoding: the rule.
        is_end: True where the frames begin, and end, with the recording; else quiet ones precede
            or follow.
    """
    if decoding.decoder == "median":
        return postprocess.regions(_median_activity(frames, decoding, is_end) & gate)
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


def _median_activity(
    frames: np.ndarray, decoding: DecodingConfig, is_end: tuple[bool, bool]
) -> np.ndarray:
    if decoding.clip_masking == "whole_clip":
        return decoding.reaches(frames)
    start, end = (decoding.median_edges if each else "zeros" for each in is_end)
    edges: tuple[Edge, Edge] = (start, end)
    if decoding.median_of == "scores":
        return decoding.reaches(postprocess.median_filter(frames, decoding.windows, edges))
    return postprocess.median_filter(decoding.reaches(frames), decoding.windows, edges)


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
        self._stride = decoding.frame_stride
        self._left = np.zeros((0, n_classes), np.float32)  # of an output frame that is not whole
        self._is_short = True  # no whole output frame so far

    def push(self, curves: np.ndarray) -> list[FoundEvent]:
        """Takes in the next frames (T, K); returns the final events, by class and onset."""
        frames = np.concatenate([self._left, np.asarray(curves)]) if self._stride > 1 else curves
        whole = len(frames) // self._stride * self._stride
        self._left = np.asarray(frames)[whole:]
        self._is_short = self._is_short and whole == 0
        pairs = zip(self._classes, np.asarray(frames)[: whole : self._stride].T, strict=True)
        return self._found([decoder.push(curve) for decoder, curve in pairs])

    def finish(self) -> list[FoundEvent]:
        """Returns the events that last until the end."""
        begun: list[FoundEvent] = []
        if self._is_short and len(self._left):  # as `strided`, which leaves at least one frame
            pairs = zip(self._classes, self._left[:1].T, strict=True)
            begun = self._found([decoder.push(curve) for decoder, curve in pairs])
        return begun + self._found([each.finish() for each in self._classes])

    def _found(self, events: Sequence[Iterator[tuple[float, float, float]]]) -> list[FoundEvent]:
        """Events of each class, in feature frames."""
        return [
            FoundEvent(k, onset * self._stride, offset * self._stride, score)
            for k, of_class in enumerate(events)
            for onset, offset, score in of_class
        ]


class _OneClass:
    def __init__(self, decoding: DecodingConfig):
        self._decoding, self._separating = decoding, _separating_frames(decoding)
        # Quiet frames that stay, so that the mirror image at the end of the stream has them.
        self._kept = self._separating - 1 if decoding.median_edges == "reflect" else 0
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
        return self._decoded(len(self._curve), is_end=True)

    def _decoded(self, n_frames: int, is_end: bool = False) -> Iterator[tuple[float, float, float]]:
        part, start = self._curve[:n_frames], self._start
        kept = 0 if is_end else self._kept
        self._curve, self._start = self._curve[n_frames - kept :], start + n_frames - kept
        if not len(part):
            return
        gate = np.ones(1, bool)
        events = _detect(part[:, None], gate, self._decoding, (start == 0, is_end))
        for _, onset, offset in events.tolist():
            within = part[int(onset) : max(int(offset), int(onset) + 1)]
            yield start + onset, start + offset, float(within.mean())


def _of_class(decoding: DecodingConfig, k: int) -> DecodingConfig:
    """Returns the rule for one class."""
    windows = decoding.windows
    if isinstance(windows, int):
        return decoding
    return decoding.model_copy(update={"median_frames": windows[k]})


def _separating_frames(decoding: DecodingConfig) -> int:
    """Number of quiet frames in a row that no event reaches across."""
    if decoding.decoder == "median":
        return int(np.max(decoding.windows)) // 2 + 1
    return decoding.smooth_frames + 1


def _is_quiet(curve: np.ndarray, decoding: DecodingConfig) -> np.ndarray:
    """True for frames that cannot be part of an event, bool (T,)."""
    if decoding.decoder == "median":
        return ~decoding.reaches(curve)
    exact, low = curve.astype(np.float64), decoding.low_threshold
    return (exact <= decoding.high_threshold) & ((exact < low) if low is not None else True)
