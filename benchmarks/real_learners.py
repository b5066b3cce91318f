"""Runs that learn from synthetic or from real sounds, and the test recordings that they share.

Names of folders depend on all settings, so that other settings, or other sounds, are other runs.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from benchmarks import seed_runs
from benchmarks.measure import ROOT
from benchmarks.seed_runs import SCORES, options_of
from common.family import load
from common.io.files import load_json
from common.settings.tasks import load_task
from common.simulation.dataset_folder import SETTINGS_FILE

# Settings that recordings and features depend on: runs that agree in them share both.
DATA_SETTINGS = ("dataset", "features", "simulation", "parallel")
SCENE_SEED = 0  # of the test recordings: all rows are scored on the same ones


@dataclass(frozen=True)
class Learner:
    """Material that a run learns from.

    Attributes:
        task_id: its task.
        program: that trains it.
        label: in the table.
        settings: all that differ from the task.
    """

    task_id: str
    program: str
    label: str
    settings: tuple[str, ...]

    def places(self, folder: Path, seed: int) -> dict[str, Path]:
        """Folders of recordings and features, which other learners may have in common."""
        data = [each for each in self.settings if each.startswith(DATA_SETTINGS)]
        home = folder / "data" / f"{self.task_id}_{_digest(data)}_s{seed}"
        return {"dataset_dir": home / "recordings", "feature_dir": home / "features"}

    def run(self, folder: Path, seed: int) -> Path:
        """Folder of the run of a seed."""
        return folder / f"{self.task_id}_{self._job(seed)}"

    def check(self, folder: Path) -> None:
        """Refuses settings that do not exist, and own sounds of too few sources.

        Raises:
            ConfigError, DataError: see above.
        """
        task: Any = load_task(ROOT / "params.yaml", self.task_id, self._settings(folder, 0))
        if task.simulation.source_dir is not None:
            simulator: Any = load(task.family, "simulation.simulator")
            with _without_warnings():  # the simulation has them, too
                simulator.own_sources(task)

    def train(self, folder: Path, seed: int) -> Path:
        """Trains and scores a run unless it is finished; returns its folder."""
        run = self.run(folder, seed)
        settings = options_of(self._settings(folder, seed))
        seed_runs.train([self.program, self.task_id, self._job(seed), *settings], run)
        return run

    def _job(self, seed: int) -> str:
        """Names a run: other settings under one label have a folder of their own."""
        name = re.sub(r"[^a-z0-9]+", "-", self.label.lower()).strip("-")
        return f"{name}-{_digest(self.settings)}_s{seed}"

    def _settings(self, folder: Path, seed: int) -> list[str]:
        places = self.places(folder, seed) | {"output_dir": folder}
        given = [f"{name}={as_setting(place)}" for name, place in places.items()]
        return [*self.settings, f"seed={seed}", *given]


def _digest(settings: Sequence[str]) -> str:
    return f"{crc32(repr(list(settings)).encode()):08x}"


def as_setting(path: Path) -> str:
    """A path as the value of a setting, whatever characters it has."""
    return json.dumps(str(path))


@contextmanager
def _without_warnings() -> Iterator[None]:
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@dataclass(frozen=True)
class Scenes:
    """Test recordings of real sounds, on which the rows of a table are scored.

    Attributes:
        name: of the evaluations on them; depends on all that decides the recordings.
        task_id: whose recordings they are.
        root: folder of the recordings.
        settings: all that differ from the task.
    """

    name: str
    task_id: str
    root: Path
    settings: tuple[str, ...]

    @classmethod
    def of(cls, name: str, task_id: str, folder: Path, settings: tuple[str, ...]) -> "Scenes":
        """Names the recordings and their folder after the settings."""
        name = f"{name}_{_digest([task_id, *settings])}"
        return cls(name, task_id, folder / "scenes" / name, settings)

    def simulate(self) -> None:
        """Writes the recordings unless they are finished."""
        path = self.root / SETTINGS_FILE
        if path.exists() and load_json(path).get("finished"):
            return
        of_data = [each for each in self.settings if each.startswith(DATA_SETTINGS)]
        settings = [*of_data, f"seed={SCENE_SEED}", f"dataset_dir={as_setting(self.root)}"]
        seed_runs.start(["simulate.py", self.task_id, *options_of(settings)])


def evaluate(run: Path, data: Mapping[str, Path], splits: str) -> None:
    """Scores a finished run on the test splits of some recordings unless that is finished.

    Args:
        run: folder of the run.
        data: by name of the evaluation, folder of the recordings.
        splits: those that are tested.
    """
    given = [
        f"{name}={folder}"
        for name, folder in data.items()
        if not (evaluation(run, name) / SCORES).exists()
    ]
    if given:
        options = [option for each in given for option in ("--data", each)]
        command = ["-m", "common.cli.evaluate", str(run), *options, "--splits", splits]
        seed_runs.start(command)


def evaluation(run: Path, name: str) -> Path:
    """Folder of an evaluation of a run."""
    return run / "evaluations" / name
