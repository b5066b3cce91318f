"""The project for Python programs: runs, features, scores, shards, training.

These names stay; other modules may change. Nothing large is loaded before it is needed: TensorFlow
comes with the first call that computes, so that a run can choose its backend.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import CheckpointError, ConfigError, DataError, UserError
from common.events.table import EVENT_COLUMNS
from common.family import load
from common.inference.loading import Prediction, Run, load_run
from common.settings.tasks import BaseTask, check_task, flat_settings, load_task

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Prediction",
    "Run",
    "UserError",
    "features",
    "load_run",
    "read_shard",
    "score",
    "train",
]


def train(
    task_id: str,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    job_id: str = "1",
    params: str | Path | None = None,
) -> Path:
    """Trains the system of a task and scores it, as `dcase train` does; it resumes where it ended.

    Args:
        task_id: name of the task in the settings file.
        overrides: settings, `["training.epochs=3"]` or `{"training": {"epochs": 3}}`.
        job_id: any name for the run.
        params: settings file; None: `params.yaml` of the current folder, or the installed one.

    Returns:
        The run's directory, for `load_run`.

    Raises:
        UserError: settings, data or an earlier run of these ids do not fit.
    """
    from common.cli.train import train as run_training

    file = None if params is None else Path(params)
    return run_training(task_id, job_id, _texts(overrides), file)


def features(
    path: str | Path,
    task_or_run: str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    params: str | Path | None = None,
) -> np.ndarray:
    """Features of a whole sound file, as extraction stores them: not standardised.

    Args:
        path: the sound file, of any sample rate.
        task_or_run: a run's directory, or the name of a task in the settings file.
        overrides: settings of the task, see `train`; a run has its own.
        params: settings file of the task, see `train`.

    Returns:
        float16 or float32 (frames, bands, channels), in the unit of the kind of features.

    Raises:
        CheckpointError: the run is damaged.
        ConfigError: there is neither such a run nor such a task, or a run is given overrides.
        DataError: the file cannot be used.
    """
    from common.audio.stream import FileSource, converted

    task = _task_of(task_or_run, _texts(overrides), params)
    source = FileSource.open(Path(path))
    from common.runtime.backend import start_backend

    start_backend(task.run)
    family: Any = load(task.family, "predictor")
    data: Any = task
    own_rate_hz = data.features.rate_hz(data.dataset.sample_rate_hz)
    blocks = converted(source, own_rate_hz, task.audio_channels)
    found: np.ndarray = family.features_of(np.concatenate([*blocks]), task)
    return found


def score(
    estimated: "str | Path | pd.DataFrame",
    reference: "str | Path | pd.DataFrame",
    task_id: str,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    params: str | Path | None = None,
) -> Any:
    """Scores predictions against the ground truth, as `dcase score --task` does.

    Args:
        estimated: an event file, or a folder of files; of SED also a table with the columns
            `filename`, `onset`, `offset` and `event_label`.
        reference: as well; it names all recordings of the test.
        task_id: task whose family, classes and scoring these are.
        overrides: settings of the task, see `train`.
        params: settings file, see `train`.

    Returns:
        The family's report: `to_dict()` has all numbers, `to_text()` the tables.

    Raises:
        ConfigError: there is no such task, or its family has no scores of files.
        DataError: a file or table cannot be used, or they do not belong together.
    """
    task = load_task(_params(params), task_id, _texts(overrides))
    family: Any = load(task.family, "score")
    if not hasattr(family, "score_task"):
        raise ConfigError(
            f"The family {task.family} scores no files. Expected: a task of a family with"
            f" `score.score_task`. Received: {task_id}."
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [
            _as_file(each, folder / f"{title}.tsv")
            for title, each in (("estimated", estimated), ("reference", reference))
        ]
        return family.score_task(*files, task, task_id)


def read_shard(path: str | Path) -> Iterator[dict[str, Any]]:
    """Reads the records of a shard of features, one after another.

    Args:
        path: a `.tfrecord` file in a finished folder of features.

    Yields:
        Arrays of a recording by name, such as `features`, read-only, and its `name` as text.

    Raises:
        DataError: the file or its folder's list is missing or damaged.
    """
    from common.data.feature_store import FeatureStore
    from common.data.tfrecord import read_shard as read_records

    path = Path(path)
    store = FeatureStore.open(path.parent)
    if path.name not in {entry.file for entry in store.entries}:
        raise DataError(
            f"Expected: a shard of {path.parent}, such as {store.entries[0].file}."
            f" Received: {path.name}."
        )
    yield from read_records(path, store.schema)


def _texts(overrides: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Settings as `key=value` texts of a command line."""
    if isinstance(overrides, Mapping):
        return [f"{k}={json.dumps(v, default=str)}" for k, v in flat_settings(overrides).items()]
    if isinstance(overrides, str):
        raise ConfigError(
            f"`overrides`: expected a list of key=value texts. Received: the text {overrides!r}."
        )
    return list(overrides)


def _params(given: str | Path | None) -> Path:
    from common.cli.base import params_path

    return params_path(None if given is None else Path(given))


def _task_of(
    task_or_run: str | Path, overrides: Sequence[str], params: str | Path | None
) -> BaseTask:
    from common.training.run_directory import SETTINGS, read_settings

    run = Path(task_or_run)
    if not (isinstance(task_or_run, Path) or (run / SETTINGS).is_file()):
        return load_task(_params(params), task_or_run, overrides)
    if overrides:
        raise ConfigError(
            f"`overrides`: expected none, since {run} has its own settings. Received:"
            f" {', '.join(overrides)}."
        )
    return check_task(read_settings(run), f"the settings of {run}")


def _as_file(given: "str | Path | pd.DataFrame", path: Path) -> Path:
    """A path as it is; a table of events written to a file, which is read as all others are."""
    if isinstance(given, str | Path):
        return Path(given)
    missing = [name for name in EVENT_COLUMNS if name not in getattr(given, "columns", ())]
    if missing:
        received = ", ".join(map(str, getattr(given, "columns", [type(given).__name__])))
        raise DataError(
            f"Expected: a path, or a table with the columns {', '.join(EVENT_COLUMNS)}. Received:"
            f" {received}. Rename its columns, or use `Prediction.event_list`."
        )
    given[[*EVENT_COLUMNS]].to_csv(path, sep="\t", index=False)
    return path
