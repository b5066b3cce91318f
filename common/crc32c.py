"""CRC-32C (Castagnoli), the checksum of TFRecord files, on whole arrays.

The processes of an extraction need it without TensorFlow, whose import takes longer than a minute of features. The
checksum is linear: a long message is folded onto a short one by multiplying what is there with a constant, two table
look-ups per word, and adding the next row of words. 50 MB take about 30 ms.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

_POLYNOMIAL = 0x82F63B78  # x^32 + x^28 + ... + 1 with its bits reversed
_ROW_WORDS = (16384, 128, 1)  # words that a message is folded onto, step by step


def crc32c(content: bytes | memoryview, previous: int = 0) -> int:
    """Checksum of bytes.

    Args:
        content: any bytes-like object.
        previous: checksum of what came before it, to go on from.

    Returns:
        Unsigned 32-bit number.
    """
    view = memoryview(content).cast("B")
    state = previous ^ 0xFFFFFFFF
    n_words = len(view) // 4
    if n_words >= _ROW_WORDS[1]:
        words = np.frombuffer(view[: 4 * n_words], "<u4")
        for row_words in _ROW_WORDS:
            words, state = _fold(words, row_words, state), 0  # the state went into the first word
        state = int(_after_zero_bytes(4)(words)[0])
        view = view[4 * n_words :]
    table = _byte_table()
    for byte in view:
        state = int(table[(state ^ byte) & 0xFF]) ^ (state >> 8)
    return state ^ 0xFFFFFFFF


def masked_crc32c(checksum: int) -> int:
    """The form in which TFRecord files store a checksum: rotated and shifted, so that checksums of checksums differ."""
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _fold(words: np.ndarray, row_words: int, state: int) -> np.ndarray:
    """A message of `row_words` words with the checksum that `words`, begun in `state`, have."""
    head = len(words) % row_words or row_words
    folded = np.zeros(row_words, np.uint32)
    if len(words) < row_words:
        head = len(words)
    folded[row_words - head :] = words[:head]  # zeros in front change nothing
    folded[row_words - head] ^= np.uint32(state)
    low, high = _tables(4 * row_words)
    halves = folded.view(np.uint16)
    first, second = np.empty_like(folded), np.empty_like(folded)
    for row in words[head:].reshape(-1, row_words):
        np.take(low, halves[0::2], out=first, mode="clip")
        np.take(high, halves[1::2], out=second, mode="clip")
        np.bitwise_xor(first, second, out=folded)
        np.bitwise_xor(folded, row, out=folded)
    return folded


@lru_cache(maxsize=8)
def _tables(n_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """What `n_bytes` zero bytes make of each lower and of each upper half of a state: uint32 (65536,) each."""
    halves = np.arange(65536, dtype=np.uint32)
    advance = _after_zero_bytes(n_bytes)
    return advance(halves), advance(halves << np.uint32(16))


def _after_zero_bytes(n_bytes: int) -> Callable[[np.ndarray], np.ndarray]:
    """The linear map from states, uint32 (n,), to the states after `n_bytes` zero bytes."""
    images = _images(n_bytes)

    def advance(states: np.ndarray) -> np.ndarray:
        result = np.zeros_like(states)
        for bit, image in enumerate(images):
            result ^= ((states >> np.uint32(bit)) & np.uint32(1)) * image
        return result

    return advance


@lru_cache(maxsize=64)
def _images(n_bytes: int) -> np.ndarray:
    """What `n_bytes` zero bytes make of each single bit, uint32 (32,); `n_bytes` is a power of two."""
    if n_bytes == 1:
        bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
        return _byte_table()[bits & np.uint32(0xFF)] ^ (bits >> np.uint32(8))
    half = _after_zero_bytes(n_bytes // 2)
    return half(half(np.uint32(1) << np.arange(32, dtype=np.uint32)))


@lru_cache(maxsize=1)
def _byte_table() -> np.ndarray:
    states = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        states = (states >> np.uint32(1)) ^ (states & np.uint32(1)) * np.uint32(_POLYNOMIAL)
    return states
