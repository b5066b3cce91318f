"""How many seconds of recording one core simulates in a second.

python -m benchmarks.simulation [--quick]
"""

from pathlib import Path

from benchmarks.measure import Figure, run_alone, wall_s
from seld.simulator import SimulationConfig, simulate_tau2019

TITLE = "Simulation: 60-second recordings, written as wav with their metadata, in one process"
RECORDING_S = 60.0
AIM = "at least 50"


def simulated_s(root: Path, formats: tuple[str, ...], recordings: int) -> float:
    """Seconds it takes to write `recordings` recordings, half of them with two events at a time."""
    simulation = SimulationConfig(
        preset="fixture", rooms=(0,), overlaps=(1, 2), recordings=recordings // 2, duration_s=RECORDING_S
    )
    return wall_s(
        lambda: simulate_tau2019(root, simulation, formats=formats, splits=(1,), seed=0, jobs=1, progress=False)
    )


def measure(quick: bool, folder: Path) -> list[Figure]:
    """Measures the rate of a long run: the sounds and ambiences made once at its start are a figure of their own."""
    few, many = (2, 4) if quick else (4, 24)
    figures = []
    for formats, name in ((("foa", "mic"), "both formats of the same scenes"), (("foa",), "ambisonics alone")):
        key = "_".join(formats)
        start_s = simulated_s(folder / f"{key}_few", formats, few)
        total_s = simulated_s(folder / f"{key}_many", formats, many)
        per_recording_s = max(total_s - start_s, 1e-9) / (many - few)
        figures.append(Figure(f"{name}: times real time per core", RECORDING_S / per_recording_s, "x", AIM))
        figures.append(Figure(f"{name}: once at the start", max(start_s - few * per_recording_s, 0.0), "s"))
    return figures


if __name__ == "__main__":
    run_alone(TITLE, measure)
