"""How long the features of a recording take on one core, and how many bytes on disk.

python -m benchmarks.extraction [--quick]
"""

from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks.measure import Figure, run_alone, task, wall_s
from seld.extraction import run
from seld.simulator import SimulationConfig, simulate_tau2019

TITLE = "Extraction: features of 60-second ambisonic recordings of 48 kHz into shards, in one process"
Kind = Literal["magnitude_phase", "logmel_intensity"]
KINDS: tuple[Kind, ...] = ("magnitude_phase", "logmel_intensity")
AIMS = {"magnitude_phase": "at most 50 MB; the published code: 393 MB", "logmel_intensity": ""}


def dataset(folder: Path, recordings: int, recording_s: float) -> None:
    """Writes the recordings that are extracted."""
    simulation = SimulationConfig(preset="fixture", recordings_per_split={1: recordings}, duration_s=recording_s)
    simulate_tau2019(folder, simulation, formats=("foa",), splits=(1,), progress=False)


def measure(quick: bool, folder: Path) -> list[Figure]:
    """Measures both kinds of features; the first run of each, which loads libraries, is not counted."""
    recordings, recording_s = (1, 6.0) if quick else (12, 60.0)
    dataset(folder / "dataset", recordings, recording_s)
    figures = []
    for kind in KINDS:
        settings = task("1", folder, f"features.kind={kind}", f"dataset.recording_s={recording_s}")
        for turn in ("counted",) if quick else ("warm-up", "counted"):
            timed = settings.model_copy(update={"feature_dir": folder / kind / turn})
            seconds = wall_s(partial(run, timed, ["dev"], progress=False))
        shards = list((folder / kind / "counted").rglob("*.tfrecord"))
        megabytes = sum(path.stat().st_size for path in shards) / 1e6
        figures.append(Figure(f"{kind}: per recording and core", seconds / recordings, "s"))
        figures.append(Figure(f"{kind}: on disk per recording", megabytes / recordings, "MB", AIMS[kind]))
    return figures


if __name__ == "__main__":
    run_alone(TITLE, measure)
