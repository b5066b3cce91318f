"""Augmentation of training batches: rotations and reflections of features and angles."""

import numpy as np

from common.data.cutter import SequenceCutter, draw_key
from common.data.sequences import ACTIVITY, FEATURES, SequenceFormat
from common.data.shard_source import Tensors
from common.data.tfrecord import tf
from common.features.channel_transforms import ChannelTransforms
from common.runtime.multi_host import World


class BatchFinisher:
    """Turns cut arrays into the batches of a model: transformed features and targets."""

    def __init__(
        self,
        cutter: SequenceCutter,
        sequence_format: SequenceFormat,
        transforms: ChannelTransforms | None,
        seed: int,
        world: World,
    ) -> None:
        self.cutter, self.transforms, self.seed, self.world = cutter, transforms, seed, world
        self.interleaved_channels = sequence_format.interleaved_channels

    def __call__(
        self, batch: Tensors, number: tf.Tensor, index: tf.Tensor
    ) -> tuple[tf.Tensor, Tensors]:
        """Finishes batch `index` of pass `number`."""
        features = batch[FEATURES]  # (B, T, F, C)
        if self.transforms is not None:
            key = draw_key(-1 - self.seed, number, index)
            n_joint = (features.shape[0] or tf.shape(features)[0]) * self.world.size
            rows = tf.random.stateless_uniform([n_joint], key, 0, len(self.transforms), tf.int32)
            rows = rows if self.world.size == 1 else self.world.part_of(rows)  # (B,)
            features = transform_features(features, self.transforms, rows)
            batch = transform_angles(batch, self.transforms, rows)
        if self.interleaved_channels:
            features = interleave(features)
        return features, self.cutter.targets_of(batch)


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
    identity = np.eye(n_channels, dtype=np.float32)
    chosen = identity[transforms.channel_permutation]  # (R, C, C): new, old
    matrices = (chosen * transforms.channel_sign[..., None]).transpose(0, 2, 1)  # (R, old, new)
    shape = tf.shape(features)
    # A product with zeros and ones is exact, and much faster than gathering along the last axis.
    flat = tf.reshape(tf.cast(features, tf.float32), [shape[0], -1, n_channels])
    moved = tf.matmul(flat, tf.gather(tf.constant(matrices), rows))  # (B, T * F, C)
    if np.any(transforms.channel_shift_rad):
        moved += tf.gather(tf.constant(transforms.channel_shift_rad, tf.float32), rows)[:, None]
        turn = tf.constant(2 * np.pi * transforms.periodic, tf.float32)  # (C,), 0: never wraps
        moved -= turn * tf.math.ceil((moved - np.pi) / (2 * np.pi))  # (-pi, pi]
    # -32768 has no opposite in 16 bits.
    cast = tf.saturate_cast if features.dtype.is_integer else tf.cast
    return tf.ensure_shape(tf.reshape(cast(moved, features.dtype), shape), features.shape)


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


def interleave(features: tf.Tensor) -> tf.Tensor:
    """`common.features.spectral.interleave_channels` for (B, T, F, 2C)."""
    _, _, n_bins, n_channels = features.shape
    shape = tf.shape(features)
    halves = tf.reshape(features, [shape[0], shape[1], n_bins, 2, n_channels // 2])
    swapped = tf.transpose(halves, [0, 1, 3, 2, 4])  # all magnitudes of a frame, then all phases
    return tf.ensure_shape(tf.reshape(swapped, shape), features.shape)
