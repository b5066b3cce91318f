"""Attention: multi-head attention, transformer layers, and pooling of frames by attention."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Literal

import keras

from common.models.layers import PACKAGE

NORM_EPSILON = 1e-5  # of layer normalisation, PyTorch's
SMALLEST_SHARE = 1e-7  # of an attention that pools frames


@keras.saving.register_keras_serializable(package=PACKAGE)
class MultiHeadAttention(keras.layers.Layer):
    """Scaled dot-product attention of several heads, with weights in the form of PyTorch.

    Queries, keys and values come from one matrix, so that published weights fit as they are. The
    softmax is float32 under any precision policy.

    Args:
        width: size of inputs and outputs, D.
        n_heads: number of heads; divides `width`.
        dropout: dropout rate of the attention weights, [0, 1).

    Raises:
        ValueError: `n_heads` does not divide `width`.

    References:
        Vaswani et al., "Attention is all you need", NeurIPS 2017, arXiv:1706.03762.
    """

    def __init__(self, width: int, n_heads: int, dropout: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        if width % n_heads:
            raise ValueError(f"Expected: `n_heads` that divides {width}. Received: {n_heads}.")
        self.width, self.n_heads, self.dropout = width, n_heads, dropout
        self.drop = keras.layers.Dropout(dropout, dtype="float32")
        self.in_kernel = self.add_weight(shape=(width, 3 * width), name="in_kernel")
        self.in_bias = self.add_weight(shape=(3 * width,), initializer="zeros", name="in_bias")
        self.out_kernel = self.add_weight(shape=(width, width), name="out_kernel")
        self.out_bias = self.add_weight(shape=(width,), initializer="zeros", name="out_bias")

    def call(self, inputs: Any, memory: Any = None, training: bool | None = None) -> Any:
        """Looks up each frame in the memory.

        Args:
            inputs: (B, T, D), frames that ask.
            memory: (B, S, D), frames that answer; None: the inputs.
            training: attention weights are dropped out.

        Returns:
            (B, T, D).
        """
        ops = keras.ops
        sources = inputs, *2 * (inputs if memory is None else memory,)
        kernels, biases = ops.split(self.in_kernel, 3, axis=-1), ops.split(self.in_bias, 3)
        query, key, value = (
            self._heads(ops.matmul(source, kernel) + bias)
            for source, kernel, bias in zip(sources, kernels, biases, strict=True)
        )  # (B, heads, T or S, D / heads)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))  # (B, heads, T, S)
        scores = ops.cast(scores, "float32") * (self.width // self.n_heads) ** -0.5
        shares = self.drop(ops.softmax(scores, axis=-1), training=training)
        mixed = ops.matmul(ops.cast(shares, value.dtype), value)  # (B, heads, T, D / heads)
        mixed = ops.transpose(mixed, (0, 2, 1, 3))  # (B, T, heads, D / heads)
        joined = ops.reshape(mixed, (-1, ops.shape(inputs)[1], self.width))  # (B, T, D)
        return ops.matmul(joined, self.out_kernel) + self.out_bias

    def _heads(self, x: Any) -> Any:
        """Splits (B, T, D) into (B, heads, T, D / heads)."""
        parts = (-1, keras.ops.shape(x)[1], self.n_heads, self.width // self.n_heads)
        return keras.ops.transpose(keras.ops.reshape(x, parts), (0, 2, 1, 3))

    def compute_output_shape(self, inputs_shape: tuple, memory_shape: tuple | None = None) -> tuple:
        """Returns the inputs' shape."""
        return inputs_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        own = {"width": self.width, "n_heads": self.n_heads, "dropout": self.dropout}
        return {**super().get_config(), **own}


def attention_block(x: Any, n_heads: int, *, dropout: float, name: str) -> Any:
    """Applies self-attention, adds its input and normalises the sum.

    Args:
        x: (B, T, D).
        n_heads: number of heads.
        dropout: dropout rate of the attention weights, [0, 1).
        name: name of the attention; that of the normalisation is <name>_norm.

    Returns:
        (B, T, D).
    """
    attention = MultiHeadAttention(x.shape[-1], n_heads, dropout, name=name)
    return _add_and_norm(x, attention(x), f"{name}_norm")


def _add_and_norm(x: Any, y: Any, name: str) -> Any:
    total = keras.layers.Add(name=f"{name}_sum")([x, y])
    return keras.layers.LayerNormalization(epsilon=NORM_EPSILON, name=name)(total)


def _dropped(x: Any, dropout: float, name: str) -> Any:
    return keras.layers.Dropout(dropout, name=name)(x) if dropout else x


def transformer_layer(
    x: Any, n_heads: int, n_hidden: int, *, dropout: float, name: str, memory: Any = None
) -> Any:
    """Applies a transformer layer, of an encoder or, with a memory, of a decoder.

    Self-attention, attention to the memory if there is one, and two dense layers with ReLU between;
    each is dropped out, added to its input, and the sum normalised.

    Args:
        x: (B, T, D).
        n_heads: number of heads.
        n_hidden: units between the two dense layers.
        dropout: dropout rate, [0, 1).
        name: stem of the layers' names.
        memory: (B, S, D), what a decoder attends to; None: an encoder.

    Returns:
        (B, T, D).
    """
    layers, norms = keras.layers, 1
    for kind, source in (("attention", None), ("cross", memory)):
        if kind == "cross" and memory is None:
            continue
        attention = MultiHeadAttention(x.shape[-1], n_heads, dropout, name=f"{name}_{kind}")
        y = _dropped(attention(x, memory=source), dropout, f"{name}_{kind}_drop")
        x = _add_and_norm(x, y, f"{name}_norm{norms}")
        norms += 1
    y = layers.Dense(n_hidden, "relu", name=f"{name}_dense1")(x)  # (B, T, n_hidden)
    y = _dropped(y, dropout, f"{name}_drop1")
    y = layers.Dense(x.shape[-1], name=f"{name}_dense2")(y)  # (B, T, D)
    return _add_and_norm(x, _dropped(y, dropout, f"{name}_drop2"), f"{name}_norm{norms}")


@keras.saving.register_keras_serializable(package=PACKAGE)
class AttentionPooling(keras.layers.Layer):
    """Pools frame-level into clip-level probabilities, weighted by attention, in float32.

    The attention is a softmax of scores, at least 1e-7; a clip's probability is the sum of the
    weighted probabilities divided by the sum of the weights. All scores equal: the mean over time.

    Args:
        over: axis of the softmax: "classes", as in the baselines of 2019 to 2024, or "time".
        groups: sizes of groups of classes that a softmax over classes runs over, each on its own,
            which add up to all classes; empty: one group.

    References:
        Turpault et al., "Sound event detection in domestic environments with weakly labeled data
        and soundscape synthesis", DCASE 2019 (softmax over classes). Nam et al., "Frequency dynamic
        convolution", Interspeech 2022, arXiv:2203.15296 (both).
    """

    def __init__(
        self, over: Literal["classes", "time"], groups: Sequence[int] = (), **options: Any
    ) -> None:
        options.setdefault("dtype", "float32")  # sums over hundreds of frames
        super().__init__(**options)
        self.over, self.groups = over, list(groups)

    def call(self, frames: Any, scores: Any, valid: Any = None) -> Any:
        """Pools over time.

        Args:
            frames: (B, T, K), probabilities.
            scores: (B, T, K), any real numbers.
            valid: (B, K), true for the classes that are attended to; None: all.

        Returns:
            (B, K).
        """
        ops = keras.ops
        shares = ops.clip(self.attention(scores, valid), SMALLEST_SHARE, 1.0)  # (B, T, K)
        return ops.sum(frames * shares, axis=1) / ops.sum(shares, axis=1)

    def attention(self, scores: Any, valid: Any = None) -> Any:
        """Computes the softmax of scores (B, T, K): sums of 1 over time or each group of classes.

        Args:
            scores: (B, T, K).
            valid: (B, K); scores of other classes count as minus infinity.
        """
        ops = keras.ops
        if valid is not None:
            scores = ops.where(ops.expand_dims(valid, 1), scores, -1e30)
        if self.over == "time":
            return _softmax(scores, axis=1)
        if len(self.groups) < 2:
            return _softmax(scores, axis=-1)
        parts = ops.split(scores, list(accumulate(self.groups))[:-1], axis=-1)
        return ops.concatenate([_softmax(part, axis=-1) for part in parts], axis=-1)

    def compute_output_shape(
        self, frames_shape: tuple, scores_shape: tuple, valid_shape: tuple | None = None
    ) -> tuple:
        """Returns the frames' shape without time."""
        return (frames_shape[0], frames_shape[2])

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again."""
        return {**super().get_config(), "over": self.over, "groups": self.groups}


def _softmax(x: Any, axis: int) -> Any:
    """Softmax that is 1 where the axis has one entry, which Keras takes for a mistake."""
    if x.shape[axis] == 1:
        return keras.ops.ones_like(x)
    return keras.ops.softmax(x, axis=axis)


@keras.saving.register_keras_serializable(package=PACKAGE)
class ValidClasses(keras.layers.Layer):
    """Sets the probabilities of classes that a clip's data set does not annotate to 0."""

    def call(self, inputs: Any, valid: Any) -> Any:
        """Masks classes.

        Args:
            inputs: (B, K) or (B, T, K).
            valid: (B, K), true for annotated classes.

        Returns:
            A tensor of the inputs' shape and type.
        """
        if len(inputs.shape) == 3:
            valid = keras.ops.expand_dims(valid, 1)
        return keras.ops.where(valid, inputs, 0.0)

    def compute_output_shape(self, inputs_shape: tuple, valid_shape: tuple) -> tuple:
        """Returns the inputs' shape."""
        return inputs_shape
