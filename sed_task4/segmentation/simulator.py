"""Simulated sounds and scenes in the layouts of DCASE 2018 task 2 and task 1, from which mixtures are made."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from common.section import Section
from common.simulation.dataset_folder import SimulationReport


class SimulationConfig(Section):
    """Simulated sounds and scenes; what is null follows from the preset."""

    preset: Literal["fixture", "demo", "gpu", "full"] = Field("demo", description="Size.")
    files_per_class: int | None = Field(None, gt=0, description="Sound files of each class.")
    scenes: int | None = Field(None, gt=0, description="Recordings of scenes.")
    verified_share: float | None = Field(None, gt=0, le=1, description="Part of the files that count as verified.")
    variation: float = Field(1.0, ge=0, le=1, description="How much sounds of a class differ.")


def run(task: Any, annotations: Path | None = None, overwrite: bool = False) -> SimulationReport:
    """Simulates the sounds and scenes that a task mixes.

    Args:
        task: settings; `dataset_dir`, `dataset`, `simulation`, `seed` and `parallel` are used.
        annotations: folder with a train.csv, a meta.csv or both, whose rows are rendered instead of drawn ones.
        overwrite: write again what is there.

    Raises:
        ConfigError: there is no synthetic sound of some class.
        DataError: the folder holds other data, or annotations cannot be used.
    """
    raise NotImplementedError
