"""Features of SELD from 2022 on: ours and those of the papers' steps written out.

python -m benchmarks.seld_features [--quick]
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.baselines import seld_features as literal
from benchmarks.gcc_features import cpu_s
from benchmarks.measure import Figure, Goal, in_turns, run_alone
from seld.features import FeatureConfig, extract_features

TITLE = (
    "SALSA and the features of the DCASE baselines, of recordings of 24 kHz with four channels, on"
    " one core"
)
RATE_HZ = literal.RATE_HZ
# Kind of features, steps written out, how many times faster ours are to be, seconds of audio.
ROUTES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float, float]] = {
    "salsa_foa": (partial(literal.salsa, audio_format="foa", fmax_doa_hz=9000.0), 8.0, 10.0),
    "salsa_mic": (partial(literal.salsa, audio_format="mic", fmax_doa_hz=4000.0), 8.0, 10.0),
    "salsa_lite": (literal.salsa_lite, 1.5, 60.0),
    "logmel_intensity_2022": (partial(literal.baseline_2024, audio_format="foa"), 1.5, 60.0),
    "logmel_gcc_2020": (partial(literal.baseline_2024, audio_format="mic"), 1.5, 60.0),
}


def scene(duration_s: float) -> np.ndarray:
    """A source that comes and goes, in noise: float32 (S, 4)."""
    rng, samples = np.random.default_rng(0), round(duration_s * RATE_HZ)
    envelope = np.abs(np.sin(np.pi * np.arange(samples) / RATE_HZ))[:, None]
    source = 0.2 * envelope * rng.standard_normal((samples, 1)) * [1.0, 0.5, 0.2, 0.8]
    return (source + 0.01 * rng.standard_normal((samples, 4))).astype(np.float32)


def check_equal(kind: str, ours: np.ndarray, other: np.ndarray) -> None:
    """Raises ArithmeticError if more than one number in 200 differs.

    Rounding decides on bins at the thresholds of SALSA, and on phases of mirrored first frames.
    """
    different = np.mean(np.abs(ours - other) > 3e-3) if ours.shape == other.shape else 1.0
    if different > 0.005:
        raise ArithmeticError(
            f"{kind}: {different:.2%} of the numbers differ. Expected: at most 0.5 %."
        )


def measure(quick: bool, folder: Path) -> list[Figure | Goal]:
    """Measures both routes of each kind in turns, and checks that they agree."""
    repeats = 1 if quick else 3
    results: list[Figure | Goal] = []
    for kind, (steps, aim, whole_s) in ROUTES.items():
        audio = scene(1.0 if quick else whole_s)
        ours_of = partial(extract_features, audio, FeatureConfig(kind=kind), RATE_HZ)
        check_equal(kind, ours_of(), steps(audio))
        works = {"ours": ours_of, "steps": partial(steps, audio)}
        timings = in_turns({name: partial(cpu_s, work) for name, work in works.items()}, repeats)
        ours, other = timings["ours"], timings["steps"]
        results.append(
            Goal(
                f"{kind} of {whole_s:g} s with four channels, one core",
                other.median / ours.median,
                aim,
                "times faster",
                at_least=True,
                details=f"ours {ours.text()}, steps written out {other.text()}",
                reason="the transforms take most of the time",
            )
        )
    return results


if __name__ == "__main__":
    run_alone(TITLE, measure)
