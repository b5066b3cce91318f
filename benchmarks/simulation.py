"""Simulated seconds of recording per second on one core.

python -m benchmarks.simulation [--quick]
"""

from pathlib import Path

from benchmarks.measure import Figure, run_alone
from common.settings.parallel import ParallelConfig
from common.simulation.simulator import SimulationReport
from seld.simulation.settings import SimulationConfig
from seld.simulation.simulator import SeldSimulator

TITLE = (
    "Simulation: 60-second recordings in five rooms, written as wav with their metadata, in one"
    " process"
)
AIM = "at least 50"
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
        audio_s = reports[1].audio_s - reports[0].audio_s
        elapsed_s = max(reports[1].elapsed_s - reports[0].elapsed_s, 1e-3)
        rate = audio_s / elapsed_s
        start_s = max(reports[0].elapsed_s - reports[0].audio_s / rate, 0.0)
        figures.append(Figure(f"{name}: per core", rate, "x real time", AIM))
        figures.append(Figure(f"{name}: once, at the start", start_s, "s"))
    return figures


if __name__ == "__main__":
    run_alone(TITLE, measure)
