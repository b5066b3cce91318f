"""Lengths of recordings, read from the headers of their sound files."""

from collections.abc import Mapping
from pathlib import Path

from common.audio.files import read_header
from common.errors import DataError
from common.io.notes import collected

# Keys in the facts of a feature store (`common.data.provenance.MEASURED`).
SAMPLES, RATE = "samples", "sample_rate_hz"


def length_facts(path: Path) -> dict[str, int]:
    """Returns samples and sample rate of a sound file; empty if its header cannot be read.

    Decoding the file raises the error, and logs the notes on it.
    """
    try:
        with collected():
            header = read_header(path)
    except DataError:
        return {}
    return {SAMPLES: header.samples, RATE: header.sample_rate_hz}


def seconds_of(facts: Mapping[str, int | None]) -> float | None:
    """Returns the length in seconds from the facts of a recording; None if they lack it."""
    samples, rate_hz = facts.get(SAMPLES), facts.get(RATE)
    return samples / rate_hz if samples and rate_hz else None
