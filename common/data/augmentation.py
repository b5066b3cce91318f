"""Augmentation of training batches: mixtures, rotations, levels, shifts of bands and cutouts.

All draws are stateless and depend only on the seed, the number of the pass and that of the batch.
"""

from dataclasses import dataclass, field

import numpy as np

from common.data.cutter import INSIDE, SequenceCutter, draw_key
from common.data.made_targets import Pairs
from common.data.sequences import ACTIVITY, FEATURES, SequenceFormat
from common.data.shard_source import Tensors
from common.data.tfrecord import tf
from common.errors import ConfigError
from common.features.channel_transforms import ChannelTransforms, reversed_bands
from common.features.kinds import FeatureKind
from common.runtime.multi_host import SINGLE, World
from common.settings.augmentation import FeatureAugmentation, MixingSettings

_SMALLEST_AREA = 0.02  # share of a sequence, as published for SALSA
_OF_MIXTURES = 0  # draws of a batch; those of other changes are numbered from 1 on
_EQUALISER_KNOTS = 6  # of the curve over the bands
_LONGEST_SIDE = 0.3  # ratio of the shorter side of a rectangle to the longer one


@dataclass(frozen=True)
class FeatureChanges:
    """Random changes of features, and what their channels are.

    Attributes:
        settings: the changes.
        n_levels: number of the first channels, which hold levels; the others are spatial.
        has_lags: bands of the others are lags, which no shift of frequencies moves.
        level_per_db: change of a level for one dB.
    """

    settings: FeatureAugmentation
    n_levels: int
    has_lags: bool = False
    level_per_db: float = 1.0

    @classmethod
    def of_kind(
        cls, settings: FeatureAugmentation, kind: FeatureKind, n_levels: int
    ) -> "FeatureChanges":
        """Changes of a kind of features.

        Raises:
            ConfigError: gains are added to levels that are not on a logarithmic scale.
        """
        if settings.changes_levels and kind.level_per_db is None:
            raise ConfigError(
                "`training.feature_augmentation`: `max_gain_db` and `max_equaliser_db` are added to"
                " logarithmic levels. Expected: `features.kind` with such levels, such as"
                f" logmel_intensity or log_magnitude_mel. Received: {kind.name}. Set both to 0."
            )
        return cls(settings, n_levels, kind.has_lags, kind.level_per_db or 1.0)


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training batches, in the order in which they are applied.

    Attributes:
        mixing: sequences that others are added to.
        transforms: rotations and reflections, one of which is drawn for each sequence.
        changes: shifts of bands and cutouts.
    """

    mixing: MixingSettings = field(default_factory=MixingSettings)
    transforms: ChannelTransforms | None = None
    changes: FeatureChanges | None = None


class Mixer:
    """Adds another sequence of the batch to some: the one a number of rows before it, drawn."""

    def __init__(self, mixing: MixingSettings, seed: int, world: World) -> None:
        self.mixing, self._seed, self._world = mixing, seed, world

    def pairs(
        self, number: tf.Tensor, index: tf.Tensor, recordings: tf.Tensor, starts: tf.Tensor
    ) -> Pairs:
        """Draws what may be mixed in batch `index` of pass `number`; a process gets its rows.

        Args:
            number: of the pass.
            index: of the batch in it.
            recordings: int32 (B,), of the sequences of the joint batch.
            starts: int32 (B,), their first frames.
        """
        n, key = tf.shape(starts)[0], draw_key(-1 - self._seed, number, index)
        own_key = tf.random.experimental.stateless_fold_in(key, _OF_MIXTURES)
        draws = _Draws(own_key, n, SINGLE)
        wanted = draws.uniform() < self.mixing.probability
        shift = 1 + draws.below(n - 1)[0]
        others = tf.roll(recordings, shift, axis=0), tf.roll(starts, shift, axis=0)
        # A batch that was filled may hold a sequence twice: it is not doubled.
        wanted &= (recordings != others[0]) | (starts != others[1])
        joint = Pairs(recordings, starts, *others, wanted)
        return joint if self._world.size == 1 else Pairs(*map(self._world.part_of, joint))


def add_audio(audio: tf.Tensor, others: tf.Tensor, is_mixed: tf.Tensor) -> tf.Tensor:
    """Adds audio to some sequences; a sum beyond full scale is made as loud as that.

    Args:
        audio: int16 (B, S, C).
        others: int16 (B, S, C).
        is_mixed: bool (B,), where the other one is added.

    Returns:
        int16 (B, S, C).
    """
    total = tf.cast(audio, tf.float32) + tf.cast(others, tf.float32)
    peak = tf.reduce_max(tf.abs(total), axis=(1, 2), keepdims=True)
    total *= tf.minimum(1.0, audio.dtype.max / tf.maximum(peak, 1.0))
    return tf.where(is_mixed[:, None, None], tf.cast(tf.round(total), audio.dtype), audio)


class BatchFinisher:
    """Turns cut arrays into the batches of a model: transformed features and targets."""

    def __init__(
        self,
        cutter: SequenceCutter,
        sequence_format: SequenceFormat,
        augmentation: Augmentation,
        seed: int,
        world: World,
    ) -> None:
        self.cutter, self.seed, self.world = cutter, seed, world
        self.transforms, changes = augmentation.transforms, augmentation.changes
        self.interleaved_channels = sequence_format.interleaved_channels
        self.changes = changes if changes is not None and changes.settings.is_used else None

    def __call__(
        self, batch: Tensors, number: tf.Tensor, index: tf.Tensor
    ) -> tuple[tf.Tensor | Tensors, Tensors]:
        """Finishes batch `index` of pass `number`: input of the model, and targets."""
        features = batch[FEATURES]  # (B, T, F, C)
        key = draw_key(-1 - self.seed, number, index)
        n_joint = (features.shape[0] or tf.shape(features)[0]) * self.world.size
        if self.transforms is not None:
            rows = tf.random.stateless_uniform([n_joint], key, 0, len(self.transforms), tf.int32)
            rows = rows if self.world.size == 1 else self.world.part_of(rows)  # (B,)
            features = transform_features(features, self.transforms, rows)
            batch = transform_angles(batch, self.transforms, rows)
            batch = self._turn_vectors(batch, rows)
        if self.changes is not None:
            features, cut = change_features(features, self.changes, key, n_joint, self.world)
            if self.changes.settings.mask_labels:
                batch = self._mask(batch, tf.reduce_all(cut, axis=2))
        if self.interleaved_channels:
            features = interleave(features, self.interleaved_channels)
        return self.cutter.model_inputs(features, batch), self.cutter.targets_of(batch)

    def _turn_vectors(self, batch: Tensors, rows: tf.Tensor) -> Tensors:
        """Turns the vectors in targets that are made from events."""
        made, transforms = self.cutter.event_targets, self.transforms
        if made is None or transforms is None:
            return batch
        turned = dict(batch)
        for name, (axis, first) in made.vectors.items():
            target = batch[name]
            n_axes = min(3, target.shape[axis] - first)
            parts = tf.split(target, [first, n_axes, target.shape[axis] - first - n_axes], axis)
            order = list(range(target.shape.rank))
            order[axis], order[-1] = order[-1], order[axis]
            moved = transform_vectors(tf.transpose(parts[1], order), transforms, rows)
            turned[name] = tf.concat([parts[0], tf.transpose(moved, order), parts[2]], axis)
        return turned

    def _mask(self, batch: Tensors, hidden: tf.Tensor) -> Tensors:
        """Makes the labels of hidden frames, bool (B, T), unknown."""
        made = self.cutter.event_targets
        masked = {**batch, INSIDE: batch[INSIDE] & ~hidden}
        for name, unknown in self.cutter.unknown_targets.items() if made else ():
            at = tf.gather(hidden, self.cutter.middles(np.zeros(1, int))[0], axis=1)  # (B, T')
            at = tf.reshape(at, [*tf.unstack(tf.shape(at)), *[1] * unknown.ndim])
            masked[name] = tf.where(at, tf.constant(unknown), batch[name])
        return masked


def transform_features(
    features: tf.Tensor, transforms: ChannelTransforms, rows: tf.Tensor
) -> tf.Tensor:
    """Applies a row of the tables to each sequence, like `ChannelTransforms.apply_to_features`.

    Args:
        features: (B, T, F, C), float16 or float32, or audio (B, S, C), int16.
        transforms: the tables.
        rows: int32 (B,), the row for each sequence.

    Returns:
        Features of the same shape and type, computed in float32.
    """
    n_channels = transforms.channel_permutation.shape[1]
    shape = tf.shape(features)
    # A product with zeros and ones is exact, and much faster than gathering along the last axis.
    flat = tf.reshape(tf.cast(features, tf.float32), [shape[0], -1, n_channels])
    moved = tf.matmul(flat, tf.gather(tf.constant(transforms.matrices), rows))  # (B, T * F, C)
    if np.any(transforms.channel_shift_rad):
        moved += tf.gather(tf.constant(transforms.channel_shift_rad, tf.float32), rows)[:, None]
        turn = tf.constant(2 * np.pi * transforms.periodic, tf.float32)  # (C,), 0: never wraps
        moved -= turn * tf.math.ceil((moved - np.pi) / (2 * np.pi))  # (-pi, pi]
    moved = tf.reshape(moved, shape)
    if transforms.reversed_lags is not None and np.any(transforms.reversed_lags):
        places = reversed_bands(features.shape[2], transforms.lag_reversal)
        turned = tf.gather(tf.constant(transforms.reversed_lags), rows)[:, None, None]  # (B,1,1,C)
        moved = tf.where(turned, tf.gather(moved, places, axis=2), moved)
    # -32768 has no opposite in 16 bits.
    cast = tf.saturate_cast if features.dtype.is_integer else tf.cast
    return tf.ensure_shape(cast(moved, features.dtype), features.shape)


def transform_angles(batch: Tensors, transforms: ChannelTransforms, rows: tf.Tensor) -> Tensors:
    """Rotates the angles (B, T, K) of active entries, wrapped to the circle of the labels."""
    turned = dict(batch)
    for name, (sign, offset_deg) in transforms.angles.items():
        if name not in batch:
            continue
        angles = tf.cast(batch[name], tf.float32)
        tables = (tf.constant(sign, tf.float32), tf.constant(offset_deg, tf.float32))
        signs, offsets = (tf.gather(table, rows)[:, None, None] for table in tables)
        lowest_deg = transforms.lowest_deg.get(name, -180.0)
        moved = tf.math.floormod(signs * angles + offsets - lowest_deg, 360.0) + lowest_deg
        turned[name] = tf.where(batch[ACTIVITY] > 0, moved, angles)
    return turned


def transform_vectors(
    vectors: tf.Tensor, transforms: ChannelTransforms, rows: tf.Tensor
) -> tf.Tensor:
    """Applies a row of `axes` to each sequence, like `ChannelTransforms.apply_to_vectors`.

    Args:
        vectors: float (B, ..., 3) along x, y, z; zeros stay zeros.
        transforms: the tables, with axes.
        rows: int32 (B,).

    Raises:
        ValueError: the transforms have no axes.
    """
    if transforms.axes is None:
        raise ValueError("These transforms have no `axes`. Expected: float32 (rows, 3, 3).")
    shape = tf.shape(vectors)
    matrices = tf.gather(tf.constant(transforms.axes.transpose(0, 2, 1)), rows)  # (B, old, new)
    flat = tf.reshape(vectors, [shape[0], -1, 3])
    moved = tf.matmul(flat, tf.cast(matrices, vectors.dtype))
    return tf.ensure_shape(tf.reshape(moved, shape), vectors.shape)


class _Draws:
    """Random numbers of the sequences of a batch, the same for any number of processes."""

    def __init__(self, key: tf.Tensor, n_joint: tf.Tensor | int, world: World) -> None:
        self._key, self._n_joint, self._world = key, n_joint, world
        self._count = 0

    def uniform(self) -> tf.Tensor:
        """A number in [0, 1) for each sequence: float32 (B,)."""
        self._count += 1
        key = tf.random.experimental.stateless_fold_in(self._key, self._count)
        drawn = tf.random.stateless_uniform([self._n_joint], key)
        return drawn if self._world.size == 1 else self._world.part_of(drawn)

    def below(self, limit: tf.Tensor | int) -> tf.Tensor:
        """A whole number from 0 to `limit` - 1 for each sequence: int32 (B,)."""
        limit = tf.cast(limit, tf.int32)
        drawn = tf.cast(self.uniform() * tf.cast(limit, tf.float32), tf.int32)
        return tf.minimum(drawn, limit - 1)

    def interval(self, width: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """Intervals of given widths (B,) anywhere in `length` places: bool (B, length)."""
        first = self.below(length - tf.minimum(width, length) + 1)[:, None]
        places = tf.range(length)
        return (places >= first) & (places < first + width[:, None])


def change_features(
    features: tf.Tensor,
    changes: FeatureChanges,
    key: tf.Tensor,
    n_joint: tf.Tensor | int,
    world: World = SINGLE,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Changes levels, shifts the bands of some sequences, and cuts areas out of some.

    Args:
        features: (B, T, F, C), not standardised.
        changes: kinds and sizes of the changes.
        key: seed of the draws, int64 (2,).
        n_joint: sequences in the joint batch of all processes.
        world: rank among processes that train together.

    Returns:
        Features of the same shape and type, and bool (B, T, F), true where they were cut out.

    Raises:
        ValueError: the model takes audio, which has no bands.
    """
    if features.shape.rank != 4:
        raise ValueError(
            "Only features can be shifted and cut out. Expected: `features.frontend: extraction`."
            f" Received: an input of shape {features.shape}."
        )
    settings, draws = changes.settings, _Draws(key, n_joint, world)
    if settings.changes_levels:
        features = change_levels(features, changes, draws)
    largest = settings.max_shift_bands
    chosen = draws.uniform() < settings.shift_probability
    bands = tf.where(chosen, draws.below(2 * largest + 1) - largest, 0)  # (B,)
    if largest:
        n_moved = changes.n_levels if changes.has_lags else features.shape[3]
        moved = shift_bands(features[..., :n_moved], bands)
        features = tf.concat([moved, features[..., n_moved:]], axis=3)
    chosen = draws.uniform() < settings.cutout_probability
    fill = draws.uniform()[:, None, None, None] if settings.fill == "random" else 0.0
    cut = cutout_area(tf.shape(features), settings, draws) & chosen[:, None, None]  # (B, T, F)
    levels = tf.cast(features[..., : changes.n_levels], tf.float32)
    lowest, highest = (
        reduce(levels, axis=(1, 2, 3), keepdims=True) for reduce in (tf.reduce_min, tf.reduce_max)
    )
    level = tf.cast(lowest + fill * (highest - lowest), features.dtype)  # (B, 1, 1, 1)
    is_level = tf.range(features.shape[3]) < changes.n_levels  # (C,)
    filled = tf.where(is_level, level, tf.zeros_like(level))  # (B, 1, 1, C)
    return tf.where(cut[..., None], filled, features), cut


def change_levels(features: tf.Tensor, changes: FeatureChanges, draws: "_Draws") -> tf.Tensor:
    """Adds a gain, and a smooth curve over the bands, to the levels of each sequence.

    Args:
        features: (B, T, F, C), the first channels levels on a logarithmic scale.
        changes: sizes of the changes, and the number of those channels.
        draws: random numbers of the sequences.

    Returns:
        Features of the same shape and type.
    """
    settings, n_bands = changes.settings, features.shape[2]
    knots = np.linspace(0, n_bands - 1, _EQUALISER_KNOTS)
    weights = np.stack([np.interp(np.arange(n_bands), knots, row) for row in np.eye(len(knots))])
    heights = tf.stack([2 * draws.uniform() - 1 for _ in knots], axis=1)  # (B, knots)
    curve_db = settings.max_equaliser_db * tf.matmul(heights, tf.constant(weights, tf.float32))
    gain_db = settings.max_gain_db * (2 * draws.uniform() - 1)
    added_db = curve_db + gain_db[:, None]  # (B, F)
    is_level = tf.cast(tf.range(features.shape[3]) < changes.n_levels, tf.float32)  # (C,)
    added = changes.level_per_db * added_db[:, None, :, None] * is_level  # (B, 1, F, C)
    changed = tf.cast(features, tf.float32) + added
    return tf.ensure_shape(tf.cast(changed, features.dtype), features.shape)


def shift_bands(features: tf.Tensor, bands: tf.Tensor) -> tf.Tensor:
    """Shifts features along frequency; the bands that enter are reflected ones.

    Args:
        features: (B, T, F, C).
        bands: int32 (B,), upwards if positive, less than F in magnitude.

    Returns:
        Features of the same shape and type.
    """
    n_bands = features.shape[2]
    places = tf.abs(tf.range(n_bands) - bands[:, None])  # (B, F)
    places = tf.minimum(places, 2 * (n_bands - 1) - places)
    return tf.ensure_shape(tf.gather(features, places, axis=2, batch_dims=1), features.shape)


def cutout_area(shape: tf.Tensor, settings: FeatureAugmentation, draws: _Draws) -> tf.Tensor:
    """Area of one shape in each sequence: bool (B, T, F), for features of shape (B, T, F, C)."""
    frames, bands = shape[1], shape[2]
    areas = {"rectangle": _rectangle, "stripes": _stripes, "holes": _holes}
    number = draws.below(len(settings.cutout_shapes))[:, None, None]
    cut = tf.zeros(shape[:3], tf.bool)
    for place, name in enumerate(settings.cutout_shapes):
        cut |= areas[name](frames, bands, settings, draws) & (number == place)
    return cut


def _rectangle(
    frames: tf.Tensor, bands: tf.Tensor, settings: FeatureAugmentation, draws: _Draws
) -> tf.Tensor:
    """One rectangle with a share of the area and a ratio of sides that are drawn."""
    smallest = min(_SMALLEST_AREA, settings.max_area)
    area = smallest + draws.uniform() * (settings.max_area - smallest)
    ratio = tf.exp((2 * draws.uniform() - 1) * -float(np.log(_LONGEST_SIDE)))
    in_time = _share(tf.minimum(tf.sqrt(area * ratio), 1.0), frames)
    in_bands = _share(tf.minimum(tf.sqrt(area / ratio), 1.0), bands)
    return draws.interval(in_time, frames)[..., None] & draws.interval(in_bands, bands)[:, None]


def _stripes(
    frames: tf.Tensor, bands: tf.Tensor, settings: FeatureAugmentation, draws: _Draws
) -> tf.Tensor:
    """Stripes of whole frames and of whole bands, as in SpecAugment (arXiv:1904.08779)."""
    cut = tf.zeros([1, 1, 1], tf.bool)
    for _ in range(settings.n_time_stripes):
        width = _share(draws.uniform() * settings.max_time_share, frames)
        cut |= draws.interval(width, frames)[..., None]
    for _ in range(settings.n_band_stripes):
        width = _share(draws.uniform() * settings.max_band_share, bands)
        cut |= draws.interval(width, bands)[:, None]
    return cut


def _holes(
    frames: tf.Tensor, bands: tf.Tensor, settings: FeatureAugmentation, draws: _Draws
) -> tf.Tensor:
    """Small holes of sizes that are drawn."""
    cut = tf.zeros([1, 1, 1], tf.bool)
    for _ in range(settings.n_holes):
        in_time, in_bands = (1 + draws.below(settings.max_hole) for _ in range(2))
        cut |= draws.interval(in_time, frames)[..., None] & draws.interval(in_bands, bands)[:, None]
    return cut


def _share(share: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Places in shares (B,) of a length, rounded: int32 (B,)."""
    return tf.cast(tf.round(share * tf.cast(length, tf.float32)), tf.int32)


def interleave(features: tf.Tensor, n_first: bool | int = True) -> tf.Tensor:
    """`common.features.spectral.interleave_channels` for (B, T, F, C').

    Args:
        features: (B, T, F, C').
        n_first: see there; True: half of C'.
    """
    _, _, n_bins, n_channels = features.shape
    n_first = n_channels // 2 if n_first is True else int(n_first)
    shape = tf.shape(features)
    sorts = (features[..., :n_first], n_first), (features[..., n_first:], n_channels - n_first)
    flat = [tf.reshape(part, [shape[0], shape[1], n_bins * size]) for part, size in sorts]
    return tf.ensure_shape(tf.reshape(tf.concat(flat, axis=2), shape), features.shape)
