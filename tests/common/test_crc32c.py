"""CRC-32C against its published check value and against a bit-by-bit computation."""

import numpy as np
import pytest

from common.crc32c import crc32c


def crc32c_bit_by_bit(content: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in content:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def test_the_check_value_of_the_standard_comes_out():
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize("length", [0, 1, 511, 512, 515, 4096, 65536, 65541, 131077])
def test_every_length_agrees_with_the_definition(length):
    content = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8).tobytes()
    assert crc32c(content) == crc32c_bit_by_bit(content)


def test_pieces_give_the_checksum_of_the_whole():
    content = np.random.default_rng(0).integers(0, 256, 200_003, dtype=np.uint8).tobytes()
    assert crc32c(content[70_001:], crc32c(content[:70_001])) == crc32c(content)
