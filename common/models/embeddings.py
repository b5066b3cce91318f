"""Embeddings of another model as a second input: brought to the frames of a network, and joined.

Models trained on much more data (PANNs, AST, BEATs) describe each frame, or a whole clip, by a
vector. Their frames have another length than those of the network.
"""

from typing import Any, Literal

import keras

from common.models.layers import PACKAGE

Alignment = Literal["pool1d", "interpolate", "repeat"]


@keras.saving.register_keras_serializable(package=PACKAGE)
class AlignFrames(keras.layers.Layer):
    """Brings vectors to the number of frames of another tensor, in float32.

    Args:
        kind: "pool1d": frame t of T is the mean of the frames floor(t L / T) to
            ceil((t + 1) L / T) - 1 of L, PyTorch's adaptive average; "interpolate": the frame
            floor((t + 0.5) L / T), its "nearest-exact"; "repeat": one vector for all frames.
    """

    def __init__(self, kind: Alignment, **options: Any) -> None:
        options.setdefault("dtype", "float32")
        super().__init__(**options)
        self.kind = kind

    def call(self, inputs: Any, like: Any) -> Any:
        """Aligns vectors.

        Args:
            inputs: (B, L, D), or (B, D) for "repeat".
            like: (B, T, any), the tensor whose frames are wanted.

        Returns:
            (B, T, D).
        """
        ops = keras.ops
        n_frames = ops.shape(like)[1]
        if self.kind == "repeat":
            shape = (ops.shape(inputs)[0], n_frames, inputs.shape[-1])
            return ops.broadcast_to(ops.expand_dims(inputs, 1), shape)
        length = ops.shape(inputs)[1]
        frames = ops.arange(n_frames, dtype="int32")  # (T,)
        if self.kind == "interpolate":
            # In float32, as there: between two frames, rounding decides.
            ratio = ops.cast(length, "float32") / ops.cast(n_frames, "float32")
            source = ops.cast(ops.floor((ops.cast(frames, "float32") + 0.5) * ratio), "int32")
            return ops.take(inputs, ops.minimum(source, length - 1), axis=1)
        first = ops.expand_dims(frames * length // n_frames, 1)  # (T, 1)
        end = ops.expand_dims(((frames + 1) * length + n_frames - 1) // n_frames, 1)
        source = ops.expand_dims(ops.arange(length, dtype="int32"), 0)  # (1, L)
        within = ops.cast(ops.logical_and(source >= first, source < end), inputs.dtype)  # (T, L)
        return ops.einsum("tl,bld->btd", within / ops.cast(end - first, inputs.dtype), inputs)

    def compute_output_shape(self, inputs_shape: tuple, like_shape: tuple) -> tuple:
        """Returns the shape of vectors for each of the frames."""
        return (inputs_shape[0], like_shape[1], inputs_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        return {**super().get_config(), "kind": self.kind}


@keras.saving.register_keras_serializable(package=PACKAGE)
class LastFrame(keras.layers.Layer):
    """Keeps the last frame, as a sequence of one: (B, L, D) -> (B, 1, D)."""

    def call(self, inputs: Any) -> Any:
        """Returns the last frame."""
        return inputs[:, -1:]

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the shape of one frame."""
        return (input_shape[0], 1, input_shape[2])


@keras.saving.register_keras_serializable(package=PACKAGE)
class DropFrames(keras.layers.Layer):
    """Sets a run of consecutive frames of each example to 0, in training ("drop-step").

    A run has n frames, n any whole number from 0 to below `max_frames` and `max_share` of all, and
    starts at any frame from which it fits; all of these are equally likely. (In the published code
    of the baselines, a run never reaches the last frame.)

    Args:
        max_frames: frames of a run are fewer than this.
        max_share: frames of a run are fewer than this share of all, (0, 1].
        seed: seed of the draws.
    """

    def __init__(
        self, max_frames: int, max_share: float, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.max_frames, self.max_share, self.seed = max_frames, max_share, seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns (B, T, D), unchanged outside training."""
        if not training:
            return inputs
        ops = keras.ops
        n_examples, n_frames = ops.shape(inputs)[:2]
        all_frames = ops.cast(n_frames, "float32")
        most = ops.minimum(float(self.max_frames), ops.floor(self.max_share * all_frames))
        draws = keras.random.uniform((n_examples, 2), dtype="float32", seed=self.seed_generator)
        length = ops.floor(draws[:, :1] * most)  # (B, 1)
        first = ops.floor(draws[:, 1:] * (all_frames - length + 1.0))
        frames = ops.expand_dims(ops.arange(n_frames, dtype="float32"), 0)  # (1, T)
        dropped = ops.logical_and(frames >= first, frames < first + length)  # (B, T)
        return ops.where(ops.expand_dims(dropped, -1), ops.zeros_like(inputs), inputs)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the input's shape."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        own = {"max_frames": self.max_frames, "max_share": self.max_share, "seed": self.seed}
        return {**super().get_config(), **own}
