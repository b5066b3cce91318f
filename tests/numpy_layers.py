"""Layers by their formulas, on one example in float64: what the networks are compared with."""

import numpy as np
from scipy.signal import correlate


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def hard_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(0.2 * x + 0.5, 0, 1)


def convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Zero-padded convolution of (T, F, C) with an odd kernel (kT, kF, C, N) -> (T, F, N)."""
    edges = [(size // 2, size // 2) for size in kernel.shape[:2]]
    padded = np.pad(x, (*edges, (0, 0)))
    return np.stack(
        [correlate(padded, kernel[..., n], "valid")[..., 0] for n in range(kernel.shape[-1])],
        axis=-1,
    )


def normalise(
    x: np.ndarray, weights: dict[str, np.ndarray], layer: str, epsilon: float, axis: int = -1
) -> np.ndarray:
    """Batch normalisation with stored statistics, of which each index of an axis has its own."""
    shape = [1] * x.ndim
    shape[axis] = -1
    gamma, beta, mean, variance = (
        weights[f"{layer}/{part}"].reshape(shape)
        for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta


def pool(x: np.ndarray, frames: int, bands: int, reduce=np.max) -> np.ndarray:
    """Pools (T, F, C) without overlap; what does not fill a pool is dropped."""
    n_frames, n_bands = x.shape[0] // frames, x.shape[1] // bands
    kept = x[: n_frames * frames, : n_bands * bands]
    return reduce(kept.reshape(n_frames, frames, n_bands, bands, -1), axis=(1, 3))


def gru(
    x: np.ndarray,
    kernel: np.ndarray,
    recurrent: np.ndarray,
    bias: np.ndarray,
    activation=hard_sigmoid,
) -> np.ndarray:
    """GRU of Keras 2 (reset before the matrix product) on one sequence (T, D) -> (T, U)."""
    units = len(recurrent)
    state, states = np.zeros(units), []
    for frame in x @ kernel + bias:
        gates = activation(frame[: 2 * units] + state @ recurrent[:, : 2 * units])
        update, reset = gates[:units], gates[units:]
        candidate = np.tanh(frame[2 * units :] + (reset * state) @ recurrent[:, 2 * units :])
        state = update * state + (1 - update) * candidate
        states.append(state)
    return np.array(states)


def both_directions(
    x: np.ndarray, weights: dict[str, np.ndarray], layer: str, **options
) -> list[np.ndarray]:
    """Outputs (T, U) of the forward and of the backward part of a bidirectional GRU."""
    forward, backward = (
        [weights[f"{layer}/{way}/{part}"] for part in ("kernel", "recurrent_kernel", "bias")]
        for way in ("forward", "backward")
    )
    return [gru(x, *forward, **options), gru(x[::-1], *backward, **options)[::-1]]


def random_weights(weights: dict, seed: int) -> dict[str, np.ndarray]:
    """Values for all weights of a network; variances are positive."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.uniform(0.5, 2, weight.shape)
            if "variance" in name
            else rng.normal(0, 0.5, weight.shape)
        )
        for name, weight in weights.items()
    }


def gru_reset_after(
    x: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray, biases: np.ndarray
) -> np.ndarray:
    """GRU of PyTorch and Keras 3 (two biases, reset after the matrix product), (T, D) -> (T, U)."""
    units = len(recurrent)
    state, states = np.zeros(units), []
    for frame in x @ kernel + biases[0]:
        inner = state @ recurrent + biases[1]
        gates = sigmoid(frame[: 2 * units] + inner[: 2 * units])
        update, reset = gates[:units], gates[units:]
        candidate = np.tanh(frame[2 * units :] + reset * inner[2 * units :])
        state = update * state + (1 - update) * candidate
        states.append(state)
    return np.array(states)


def attend(
    x: np.ndarray, weights: dict[str, np.ndarray], layer: str, n_heads: int, memory=None
) -> np.ndarray:
    """Multi-head attention of (T, D) to a memory (S, D) or to itself, head by head."""
    memory, width = x if memory is None else memory, x.shape[-1]
    size = width // n_heads
    projected = [
        source @ weights[f"{layer}/in_kernel"][:, part] + weights[f"{layer}/in_bias"][part]
        for source, part in zip(
            (x, memory, memory), (slice(i * width, (i + 1) * width) for i in range(3)), strict=True
        )
    ]
    heads = []
    for head in range(n_heads):
        query, key, value = (each[:, head * size : (head + 1) * size] for each in projected)
        scores = np.exp(query @ key.T / np.sqrt(size))
        heads.append(scores / scores.sum(axis=1, keepdims=True) @ value)
    return (
        np.concatenate(heads, axis=1) @ weights[f"{layer}/out_kernel"]
        + weights[f"{layer}/out_bias"]
    )


def dense(x: np.ndarray, weights: dict[str, np.ndarray], layer: str) -> np.ndarray:
    """Dense layer without activation."""
    return x @ weights[f"{layer}/kernel"] + weights[f"{layer}/bias"]


def layer_norm(x: np.ndarray, weights: dict[str, np.ndarray], layer: str) -> np.ndarray:
    """Layer normalisation over the last axis, epsilon 1e-5."""
    centred = x - x.mean(axis=-1, keepdims=True)
    scaled = centred / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
    return scaled * weights[f"{layer}/gamma"] + weights[f"{layer}/beta"]


def transformer(
    x: np.ndarray, weights: dict[str, np.ndarray], layer: str, n_heads: int, memory=None
) -> np.ndarray:
    """Transformer layer with normalisation after each sum, of an encoder or a decoder."""
    x = layer_norm(x + attend(x, weights, f"{layer}_attention", n_heads), weights, f"{layer}_norm1")
    last = 2
    if memory is not None:
        y = attend(x, weights, f"{layer}_cross", n_heads, memory)
        x, last = layer_norm(x + y, weights, f"{layer}_norm2"), 3
    hidden = np.maximum(dense(x, weights, f"{layer}_dense1"), 0)
    return layer_norm(x + dense(hidden, weights, f"{layer}_dense2"), weights, f"{layer}_norm{last}")
