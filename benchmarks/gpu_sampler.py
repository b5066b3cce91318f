"""Load and memory of a GPU, sampled with nvidia-smi during other work."""

import csv
import statistics
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 2**20
INTERVAL_S = 1.0


@dataclass(frozen=True)
class GpuUse:
    """Summary of samples; with several GPUs, of the busiest in each sample.

    Attributes:
        mean_percent: share of the time in which the GPU computed.
        peak_percent: the highest of a sample.
        mean_gb: memory taken, by all programs.
        peak_gb: the highest of a sample.
    """

    mean_percent: float
    peak_percent: float
    mean_gb: float
    peak_gb: float


def query(*fields: str) -> list[list[str]]:
    """Asks nvidia-smi for some of its `--query-gpu` fields.

    Returns:
        A row for each GPU, a text for each field, without units; nothing where there is no GPU or
        no nvidia-smi.
    """
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [[cell.strip() for cell in row] for row in csv.reader(result.stdout.splitlines()) if row]


def gpu_names() -> str:
    """Names, memory and driver of the GPUs of this machine; empty without one."""
    rows = query("name", "memory.total", "driver_version")
    return "; ".join(
        f"{name}, {mebibytes} MiB, driver {driver}" for name, mebibytes, driver in rows
    )


class GpuSampler:
    """Samples all GPUs in a thread during the `with` block; without a GPU it has no effect.

    Samples are appended to a file at once, so that those of a killed job remain.

    Args:
        path: CSV file of rows stage, utilisation in percent, memory in MiB.
        stage: name of the current stage; samples of None are not kept.
        interval_s: time between two samples.
    """

    def __init__(self, path: Path, stage: Callable[[], str | None], interval_s: float = INTERVAL_S):
        self.path, self.stage, self.interval_s = path, stage, interval_s
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "GpuSampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        if not query("name"):
            return
        while not self._end.wait(self.interval_s):
            stage = self.stage()
            if stage is not None:
                self._keep(stage, query("utilization.gpu", "memory.used"))

    def _keep(self, stage: str, rows: Sequence[Sequence[str]]) -> None:
        # not "[N/A]"
        numbers = [row for row in rows if all(cell.replace(".", "").isdigit() for cell in row)]
        if not numbers:
            return
        percent, mebibytes = (max(map(float, column)) for column in zip(*numbers, strict=True))
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow([stage, percent, mebibytes])


def gpu_use(path: Path, stage: str) -> GpuUse | None:
    """Reads the samples of a stage; None where there are none."""
    if not path.exists():
        return None
    with path.open(newline="", encoding="utf-8") as file:
        # the last may be cut short
        rows = [row for row in csv.reader(file) if len(row) == 3 and row[0] == stage]
    if not rows:
        return None
    percent = [float(row[1]) for row in rows]
    memory_gb = [float(row[2]) * MEBIBYTE / 1e9 for row in rows]
    return GpuUse(
        statistics.fmean(percent), max(percent), statistics.fmean(memory_gb), max(memory_gb)
    )
