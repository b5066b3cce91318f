"""Changes of features and labels by given draws: mixtures, shifts, masks, gains and noise.

Features are linear spectra (B, T, F, C), embeddings (B, E, D), labels (B, K) of clips or (B, T', K)
of output frames, with -1 where they are unknown. Draws are made in
`common.models.augmentation.layers`.
"""

import math
from typing import Any, Literal

import keras


def mix(x: Any, permutation: Any, weight: Any) -> Any:
    """Adds to each clip another one of the batch.

    Args:
        x: features or embeddings (B, ...).
        permutation: int (B,), row of the other clip.
        weight: (B,), weight of the clip itself; the other one has the rest to 1.

    Returns:
        weight * x + (1 - weight) * x[permutation].

    References:
        Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018, arXiv:1710.09412.
    """
    weight = _per_clip(weight, x)
    return weight * x + (1.0 - weight) * keras.ops.take(x, permutation, axis=0)


def mix_labels(labels: Any, permutation: Any, weight: Any, kind: Literal["soft", "hard"]) -> Any:
    """Labels of mixtures as `mix` makes them; a class that is unknown in one clip is unknown.

    Args:
        labels: (B, ...), 0 to 1, or -1 where unknown.
        permutation: int (B,), row of the other clip.
        weight: (B,), weight of the clip itself; those of weight 1 keep their labels.
        kind: "soft": weighted sums; "hard": sums up to 1.

    Returns:
        Labels of the shape received.
    """
    ops, weight = keras.ops, _per_clip(weight, labels)
    other = ops.take(labels, permutation, axis=0)
    total = labels + other if kind == "hard" else weight * labels + (1.0 - weight) * other
    unknown = ops.minimum(labels, other) < 0.0
    mixed = ops.where(unknown, -1.0, ops.clip(total, 0.0, 1.0))
    return ops.where(weight < 1.0, mixed, labels)


def shift_frames(x: Any, shift: Any) -> Any:
    """Moves each clip along time, frames that leave at one end enter at the other.

    Args:
        x: (B, T, ...), features, embeddings or frame-level labels.
        shift: int (B,), frames; negative: towards the start.

    Returns:
        The shape received.
    """
    ops = keras.ops
    n_clips, n_frames, *inner = ops.shape(x)
    shift = ops.cast(shift, "int32")
    frames = ops.mod(ops.arange(n_frames)[None] - shift[:, None], n_frames)  # (B, T)
    rows = ops.reshape(frames + n_frames * ops.arange(n_clips)[:, None], (-1,))  # (B * T,)
    flat = ops.take(ops.reshape(x, (-1, *inner)), rows, axis=0)  # (B * T, ...)
    return ops.reshape(flat, (-1, n_frames, *inner))


def label_shift(shift: Any, stride: int, rounding: Literal["nearest", "floor"]) -> Any:
    """Shift of output frames that belongs to one of feature frames.

    Args:
        shift: int (B,), feature frames.
        stride: feature frames per output frame.
        rounding: "nearest", halves up; or "floor", as published, by which a shift of -1 feature
            frame is one of -1 output frame.

    Returns:
        int (B,), output frames.
    """
    if rounding == "floor":
        return keras.ops.floor_divide(shift, stride)
    return keras.ops.floor_divide(2 * shift + stride, 2 * stride)


def mask_frames(x: Any, low: Any, width: Any, fill: float = 0.0) -> Any:
    """Fills a span of frames of each clip.

    Args:
        x: (B, T, ...).
        low: int (B,), first masked frame.
        width: int (B,), number of masked frames.
        fill: value in the span.

    Returns:
        The shape received.
    """
    return keras.ops.where(_per_clip(_span(keras.ops.shape(x)[1], low, width), x), fill, x)


def mask_bands(x: Any, low: Any, width: Any, fill: float = 0.0) -> Any:
    """Fills a span of bands of each clip (B, T, F, C); arguments as for `mask_frames`."""
    inside = _span(keras.ops.shape(x)[2], low, width)  # (B, F)
    return keras.ops.where(inside[:, None, :, None], fill, x)


def mask_labels(labels: Any, low: Any, width: Any) -> Any:
    """Sets known labels (B, T', K) in a span of output frames to 0, see `mask_frames`."""
    return keras.ops.where(labels < 0.0, labels, mask_frames(labels, low, width))


def spec_augment_span(draws: Any, size: Any, length: int, share: float) -> tuple[Any, Any]:
    """Span of a mask of SpecAugment from uniform draws.

    Args:
        draws: (2, B) in [0, 1), for width and start.
        size: number of frames or bands.
        length: largest width, unless `share` allows less.
        share: largest share of `size`; 1: no limit.

    Returns:
        First masked entry and number of masked entries, int (B,) each.

    References:
        Park et al., "SpecAugment: a simple data augmentation method for automatic speech
        recognition", Interspeech 2019, arXiv:1904.08779. Limits as in torchaudio.
    """
    ops = keras.ops
    limit: Any = length
    if share < 1.0:
        most = math.floor(size * share) if isinstance(size, int) else _floor(size * share)
        limit = min(length, most) if isinstance(size, int) else ops.minimum(length, most)
    width = draws[0] * ops.cast(limit, draws.dtype)
    start = draws[1] * (ops.cast(size, draws.dtype) - width)
    return _floor(start), _floor(width)


def filter_gains(edges: Any, gains_db: Any, n_bands: int, kind: Literal["step", "linear"]) -> Any:
    """Factors of FilterAugment for each mel band.

    Args:
        edges: int (n + 1,), mel bands at which the n bands of the filter begin, from 0 on, and
            `n_bands` last; bands that begin there are not used.
        gains_db: (B, n) dB of each band, for "step"; (B, n + 1) dB at each edge, for "linear".
        n_bands: number of mel bands, F.
        kind: "step": constant gain in a band; "linear": in dB from the gain at one edge in its
            first mel band to that at the next edge in its last one.

    Returns:
        Factors of magnitudes, (B, F).

    References:
        Nam, Kim, Park, "FilterAugment: an acoustic environmental data augmentation method", ICASSP
        2022, arXiv:2110.03282.
    """
    ops = keras.ops
    bands = ops.arange(n_bands)
    edges = ops.cast(edges, bands.dtype)
    numbers = ops.sum(ops.cast(edges[1:-1, None] <= bands[None], bands.dtype), axis=0)  # (F,)
    gains = ops.take(gains_db, numbers, axis=1)  # (B, F)
    if kind == "linear":
        first, end = ops.take(edges, numbers), ops.take(edges, numbers + 1)
        part = (bands - first) / ops.maximum(end - first - 1, 1)
        part = ops.cast(part, gains.dtype)
        gains = gains + part * (ops.take(gains_db, numbers + 1, axis=1) - gains)
    return ops.exp(gains * (math.log(10.0) / 20.0))


def apply_gains(x: Any, gains: Any) -> Any:
    """Multiplies the bands of features (B, T, F, C) by factors (B, F)."""
    return x * gains[:, None, :, None]


def add_noise(x: Any, noise: Any, snr_db: Any) -> Any:
    """Adds noise at a ratio to the standard deviation of each clip.

    Args:
        x: features (B, T, F, C).
        noise: of the same shape, of standard deviation 1.
        snr_db: (B,), signal-to-noise ratio in dB.

    Returns:
        x + noise * std(x) / 10^(snr / 20), with the estimate (n - 1) of the standard deviation.
    """
    ops = keras.ops
    axes = tuple(range(1, len(x.shape)))
    deviations = x - ops.mean(x, axis=axes, keepdims=True)
    n_values = ops.cast(ops.prod(ops.stack(list(ops.shape(x)[1:]))), x.dtype)
    variance = ops.sum(ops.square(deviations), axis=axes) / (n_values - 1.0)  # (B,)
    level = ops.sqrt(variance) * ops.exp(snr_db * (-math.log(10.0) / 20.0))
    return x + noise * _per_clip(level, x)


def add_magnitudes(x: Any, noise: Any) -> Any:
    """Adds magnitudes of noise of the shape of `x`, whatever the level of `x`, as in 2019."""
    return x + keras.ops.abs(noise)


def add_band_noise(x: Any, noise: Any, snr_db: float) -> Any:
    """Adds noise at a ratio to the level of each band.

    Args:
        x: features (B, T, F, C).
        noise: of the same shape, of standard deviation 1, either sign: sums may be negative.
        snr_db: ratio of the mean square of a band over time to that of the noise, in dB.

    Returns:
        The shape received.
    """
    return x + band_noise_std(x, snr_db) * noise


def band_noise_std(x: Any, snr_db: float) -> Any:
    """Standard deviation of the noise of `add_band_noise`, (B, 1, F, C)."""
    power = keras.ops.mean(keras.ops.square(x), axis=1, keepdims=True)
    return keras.ops.sqrt(power * 10.0 ** (-snr_db / 10.0))


def _span(size: Any, low: Any, width: Any) -> Any:
    """True inside [low, low + width), (B, size)."""
    low, width = low[:, None], width[:, None]
    entries = keras.ops.cast(keras.ops.arange(size), low.dtype)[None]
    return keras.ops.logical_and(entries >= low, entries < low + width)


def _floor(x: Any) -> Any:
    return keras.ops.cast(keras.ops.floor(x), "int32")


def _per_clip(values: Any, x: Any) -> Any:
    """Appends axes to values (B, ...), so that they broadcast to `x`."""
    shape = keras.ops.shape(values)
    return keras.ops.reshape(values, (*shape, *(1,) * (len(x.shape) - len(shape))))
