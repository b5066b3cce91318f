"""Folder of a run: settings, versions, and per fold weights, history, scores and figures."""

import json
import logging
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from pydantic import PositiveInt, TypeAdapter, ValidationError

from common.errors import CheckpointError
from common.io.files import load_json, remove_temporaries, write_json, write_text
from common.io.safe_yaml import read_yaml
from common.settings.folds import FoldConfig
from common.training.setting_changes import (
    Difference,
    differences,
    may_change_text,
    refused_changes,
    with_lengths_of,
)

logger = logging.getLogger(__name__)
PACKAGES = (
    *("tensorflow", "keras", "jax", "torch", "numpy", "scipy"),
    *("librosa", "soundfile", "dcase_util", "sed_eval"),
)
SETTINGS = "settings.yaml"
ENVIRONMENT = "environment.json"
DATA = "data.json"
TESTS = "tests.json"  # only of an evaluation
CHECKPOINTS = "checkpoints.json"  # as well: notes on models that are not those of the run's scores
EVALUATIONS = "evaluations"  # folder in a run whose folders have the form of runs without models
FINISHED = "training.json"  # written last: a stage that has it is not trained again


@dataclass(frozen=True)
class Finished:
    """Form of `FINISHED`.

    `chosen_epoch` only if another model than the best one is scored; `requested_of`, the epochs in
    the settings, only if it was ended before them on request.
    """

    epochs: PositiveInt
    iterations_per_epoch: PositiveInt
    best_epoch: PositiveInt
    history: dict[str, list[float | None]]
    chosen_epoch: PositiveInt | None = None
    requested_of: PositiveInt | None = None


def scored_epoch(finished: Mapping[str, Any]) -> int:
    """Number of the epoch whose model is scored, from the content of `FINISHED`."""
    return finished.get("chosen_epoch") or finished["best_epoch"]


def stop_text(finished: Mapping[str, Any]) -> str:
    """Epoch after which a training ended on request, in words; "" if it did not.

    Args:
        finished: content of `FINISHED`.
    """
    of_epochs = finished.get("requested_of")
    return (
        f"stopped after epoch {finished['epochs']} of {of_epochs} on request" if of_epochs else ""
    )


def model_notes(folder: Path) -> list[str]:
    """Notes on the models beside scores: trainings that ended on request, models in training.

    Args:
        folder: of a run, of one of its folds, or of an evaluation.
    """
    of_run = [
        f"{name}: {text}."
        for name, finished in finished_stages(run_of(folder))
        if (text := stop_text(finished))
    ]
    path = folder / CHECKPOINTS
    return [*of_run, *(read_form(path, list[str]) if path.exists() else [])]


def write_model_notes(folder: Path, notes: Sequence[str]) -> None:
    """Writes notes on the models of an evaluation; none if all are those of the run's scores."""
    if notes:
        write_json(folder / CHECKPOINTS, list(notes))
    else:
        (folder / CHECKPOINTS).unlink(missing_ok=True)


def finished_stages(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Reads how each finished stage was trained, by its place in the run, e.g. "fold1/seld"."""
    for path in sorted(folder.glob(f"**/{FINISHED}")):
        yield path.parent.relative_to(folder).as_posix(), read_form(path, Finished)


@dataclass(frozen=True)
class _Environment:
    """Form of `ENVIRONMENT`."""

    earlier: list[dict[str, Any]] = field(default_factory=list)
    date: str = ""
    command: list[str] = field(default_factory=list)
    python: str = ""
    platform: str = ""
    versions: dict[str, str | None] = field(default_factory=dict)
    git_revision: str | None = None
    computing: dict[str, Any] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)  # settings, before this part


@dataclass(frozen=True)
class _Data:
    """Form of `DATA`."""

    fingerprints: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    models: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunTest:
    """Recordings of a dataset, and the models of a run that predict them.

    Attributes:
        name: folder of the results within those of the evaluation; "": that folder itself.
        fold: whose models predict; None: those of all folds together.
        splits: numbers of splits, or names of subsets; empty: all.
    """

    name: str = ""
    fold: str | None = None
    splits: tuple[str, ...] = ()


def is_evaluation(folder: Path) -> bool:
    """True for the folder of an evaluation, False for that of a run."""
    return folder.resolve().parent.name == EVALUATIONS


def run_of(folder: Path) -> Path:
    """Directory of the run that has the models of an evaluation; of a run, itself."""
    return folder.resolve().parents[1] if is_evaluation(folder) else folder


def tests_of_folds(folds: Sequence[FoldConfig]) -> list[RunTest]:
    """Tests of a run: each fold on its own test splits."""
    return [RunTest(each.name, each.name, tuple(map(str, each.test))) for each in folds]


def write_tests(folder: Path, tests: Sequence[RunTest]) -> None:
    """Records the tests of an evaluation."""
    write_json(folder / TESTS, [asdict(each) for each in tests])


def read_tests(folder: Path, folds: Sequence[FoldConfig]) -> list[RunTest]:
    """Tests of a run over some folds, or of an evaluation.

    Raises:
        CheckpointError: the file of an evaluation is damaged.
    """
    if not (folder / TESTS).exists():
        return tests_of_folds(folds)
    given = read_form(folder / TESTS, list[RunTest])
    return [RunTest(**{**each, "splits": tuple(each["splits"])}) for each in given]


def open_run(
    folder: Path,
    settings: Mapping[str, Any],
    command: list[str],
    computing: Mapping[str, Any] | None = None,
    extends: bool = False,
) -> Path:
    """Makes the folder of a run, or resumes in it if it has the same settings or longer ones.

    Args:
        folder: `<output_dir>/<task-id>_<job-id>`.
        settings: the task's resolved settings, as plain values.
        command: the command line.
        computing: backend, number formats and devices, see
            `common.runtime.distribution.describe`; None: unknown.
        extends: settings may have changed as `common.training.setting_changes` allows; False: all
            that computations depend on are the same.

    Returns:
        The folder, with `settings.yaml` and `environment.json` of this part of the run and those
        before it.

    Raises:
        CheckpointError: the folder belongs to a run with other settings.
    """
    path = folder / SETTINGS
    changes = accepted_changes(folder, settings, extends)
    if changes:
        _write_settings(path, with_lengths_of(read_settings(folder), settings))
    elif path.exists():
        logger.info("Resumes the run in %s.", folder)
    else:
        _write_settings(path, settings)
    remove_temporaries(folder, below=True)
    path = folder / ENVIRONMENT
    before = [read_form(path, _Environment)] if path.exists() else []
    earlier = [part for last in before for part in (*last.pop("earlier", []), last)]
    more: dict[str, Any] = {"computing": dict(computing or {}), "earlier": earlier}
    if changes:
        more["changed"] = list(map(str, changes))
    write_json(path, environment(command) | more)
    return folder


def accepted_changes(
    folder: Path, settings: Mapping[str, Any], extends: bool = True
) -> list[Difference]:
    """Settings in which a run would go on with other values than it has; none for a new run.

    Args:
        folder: of the run.
        settings: those that it would go on with.
        extends: as of `open_run`.

    Raises:
        CheckpointError: a setting differs that may not change.
    """
    if not (folder / SETTINGS).exists():
        return []
    stored = read_settings(folder)
    changes = differences(stored, settings)
    refused = refused_changes(stored, settings, changes) if extends else list(map(str, changes))
    if refused:
        allowed = [may_change_text()] if extends else []
        lines = [*(f"  {line}" for line in sorted(refused)), *allowed]
        raise CheckpointError(
            f"{folder} holds a run with other settings, which cannot be continued with these.\n"
            + "\n".join(lines)
            + "\nChoose another job id, or delete the folder."
        )
    return changes


def _write_settings(path: Path, settings: Mapping[str, Any]) -> None:
    write_text(path, yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True))


def read_environment(folder: Path) -> dict[str, Any]:
    """Reads the environment of a run, see `environment`; `earlier`: its parts before the last one.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    return asdict(_Environment()) | read_form(folder / ENVIRONMENT, _Environment)


def fingerprints(stores: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Fingerprints of the content and of the splits of feature stores, by name of the set."""
    contents = {name: store.fingerprint for name, store in stores.items()}
    return contents, {name: store.splits_fingerprint for name, store in stores.items()}


def record_data(
    folder: Path,
    fingerprints: Mapping[str, str],
    splits: Mapping[str, str] | None = None,
    models: Mapping[str, str] | None = None,
) -> None:
    """Records the data that a run learns from, or checks that they have not changed.

    Args:
        folder: of the run.
        fingerprints: by name of the set, see `FeatureStore.fingerprint`.
        splits: by name of the set, see `FeatureStore.splits_fingerprint`.
        models: by name of the stage, the checksum of the file that it starts from.

    Raises:
        CheckpointError: the run began with other data.
    """
    now = {"fingerprints": dict(fingerprints), "splits": dict(splits or {})}
    now["models"] = dict(models or {})
    stored = check_data(folder, **now)
    noted = {kind: {**stored.get(kind, {}), **values} for kind, values in now.items()}
    noted = {kind: values for kind, values in noted.items() if values or kind == "fingerprints"}
    if noted != stored:
        write_json(folder / DATA, noted)


def check_data(
    folder: Path,
    fingerprints: Mapping[str, str],
    splits: Mapping[str, str] | None = None,
    models: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Compares data with those that a run recorded, see `record_data`; others are not compared.

    Returns:
        The recorded data, empty without the file.

    Raises:
        CheckpointError: the run began with other data.
    """
    path = folder / DATA
    stored = read_form(path, _Data) if path.exists() else {}
    kinds = {
        "features of": ("fingerprints", fingerprints),
        "splits of": ("splits", splits),
        "model to start from of stage": ("models", models),
    }
    changed = [
        f"{what} {name}"
        for what, (kind, values) in kinds.items()
        for name, value in (values or {}).items()
        if stored.get(kind, {}).get(name, value) != value
    ]
    if changed:
        raise CheckpointError(
            f"{folder} was begun with other data. Expected: {', '.join(changed)} with the"
            f" fingerprints in {path}. Received: others, so that recordings, labels, splits or"
            " versions have changed since. Choose another job id, or delete the folder."
        )
    return dict(stored)


def read_settings(folder: Path) -> dict:
    """Reads the settings of a run.

    Raises:
        CheckpointError: there is no run in the folder, or its settings cannot be read.
    """
    path = folder / SETTINGS
    try:
        settings = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        problem = f"{path} cannot be read ({reason}): is {folder} a run directory?"
        raise CheckpointError(problem) from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"{path} holds no settings: is {folder} a run directory?")
    return settings


def environment(command: list[str]) -> dict[str, Any]:
    """Date, versions, machine, git revision and command line of a run."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "versions": versions,
        "git_revision": git_revision(),
    }


def git_revision() -> str | None:
    """Git revision, with "-dirty" if files differ from it; None outside a git checkout."""
    # Without optional locks: the index is not written, which a full disk or another job may forbid.
    git = ["git", "--no-optional-locks", "-C", str(Path(__file__).resolve().parent)]
    calls = ("rev-parse --short=12 HEAD", "status --porcelain --untracked-files=no")
    run = partial(subprocess.run, capture_output=True, text=True, timeout=10, check=False)
    try:
        revision, changes = (run([*git, *call.split()]).stdout.strip() for call in calls)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return f"{revision}{'-dirty' if changes else ''}" or None


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        return load_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}. Delete it and run the same command again."
        ) from error


def read_form(path: Path, form: Any) -> Any:
    """Reads a JSON file of a run and checks its form.

    Args:
        path: the file.
        form: type of the content for pydantic; further keys are allowed.

    Returns:
        The content of the file.

    Raises:
        CheckpointError: the file is missing, damaged or of another form.
    """
    content = read_json(path)
    try:
        TypeAdapter(form).validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise CheckpointError(
            f"{path} is damaged: {problem}. Delete it and run the same command again."
        ) from error
    return content
