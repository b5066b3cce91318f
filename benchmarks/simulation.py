"""Simulated seconds of recording per second on one core.

python -m benchmarks.simulation [--quick]
"""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import Figure, run_alone
from common.settings.parallel import ParallelConfig
from common.simulation.simulator import SimulationReport
from seld.dataset import DatasetConfig
from seld.recordings.layouts import LAYOUTS
from seld.simulation.settings import MovementConfig, PathKind, SimulationConfig
from seld.simulation.simulator import SeldSimulator

TITLE = (
    "Simulation: 60-second recordings in five rooms, written as wav with their metadata, in one"
    " process; moving sources as in the data of 2021: up to three at a time, half of them moving"
)
AIM, MOVING_AIM = "at least 50", "at least 25"
FORMATS = {"ambisonics only": ("foa",), "both formats of the same scenes": ("foa", "mic")}


def simulated(
    root: Path, formats: tuple[str, ...], recordings: int, quick: bool
) -> SimulationReport:
    """Writes recordings of one split; half of them have two events at a time."""
    simulation = SimulationConfig(
        preset="fixture" if quick else "demo", recordings_per_split={1: recordings}
    )
    simulator = SeldSimulator(
        root, simulation, formats=formats, splits=(1,), parallel=ParallelConfig(jobs=1)
    )
    return simulator.run(progress=False)


def moving(root: Path, path: PathKind, recordings: int, quick: bool) -> SimulationReport:
    """Writes recordings of one split in the layout of 2021, at 24 kHz."""
    layout = LAYOUTS["tau2021"]
    simulation = SimulationConfig(
        preset="fixture" if quick else "demo",
        recordings_per_split={1: recordings},
        movement=MovementConfig(path=path),
    )
    dataset = DatasetConfig(
        classes=layout.classes[-2:] if quick else layout.classes,
        sample_rate_hz=layout.sample_rate_hz,
        label_hop_s=layout.label_hop_s,
    )
    simulator = SeldSimulator(
        root, simulation, dataset, ("foa",), (1,), layout, parallel=ParallelConfig(jobs=1)
    )
    return simulator.run(progress=False)


def measure(quick: bool, folder: Path) -> list[Figure]:
    """Measures the rate of a long run; sounds and rooms, made once, are measured separately."""
    few, many = (1, 2) if quick else (10, 40)
    if not quick:
        simulated(folder / "first", ("foa", "mic"), 1, quick=True)  # loads libraries; not counted
    figures = []
    for name, formats in list(FORMATS.items())[: 1 if quick else None]:
        reports = [
            simulated(folder / f"{len(formats)}_{n}", formats, n, quick) for n in (few, many)
        ]
        figures += _figures(name, reports, AIM)
    paths: tuple[PathKind, ...] = ("sphere",) if quick else ("sphere", "straight")
    for path in paths:
        reports = [moving(folder / f"{path}_{n}", path, n, quick) for n in (few, many)]
        figures += _figures(f"moving sources ({path}), ambisonics only", reports, MOVING_AIM)
    return figures


def _figures(name: str, reports: Sequence[SimulationReport], aim: str) -> list[Figure]:
    """Rate and start-up time, from a short and a long run."""
    few, many = reports
    elapsed_s = max(many.elapsed_s - few.elapsed_s, 1e-3)
    rate = (many.audio_s - few.audio_s) / elapsed_s
    start_s = max(few.elapsed_s - few.audio_s / rate, 0.0)
    return [
        Figure(f"{name}: per core", rate, "x real time", aim),
        Figure(f"{name}: once, at the start", start_s, "s"),
    ]


if __name__ == "__main__":
    run_alone(TITLE, measure)
