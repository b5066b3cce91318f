"""Weights from files of PyTorch into Keras models, and back.

python -m common.cli.import_torch CHECKPOINT --task TASK --out MODEL [--statistics STORE]
python -m common.cli.import_torch --export MODEL.keras --task TASK --out CHECKPOINT.pt
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.cli.base import base_parser, params_path, run_safely
from common.errors import CheckpointError, ConfigError, DataError
from common.family import load
from common.features.scaling import dataset_statistics
from common.features.settings import FeatureSettings
from common.io.archives import read_arrays
from common.io.files import atomic_path
from common.models.torch_files import read_checkpoint, torch_library, write_checkpoint
from common.runtime.backend import start_backend
from common.settings.tasks import BaseTask, load_task
from common.training.setting_changes import changed_settings

Statistics = tuple[np.ndarray, np.ndarray]  # mean and standard deviation, (F, C)
MODEL_SUFFIX = ".keras"
STATISTICS_NAMES = ("mean", "std")  # arrays of a file of statistics


def import_weights(
    checkpoint: Path,
    task: BaseTask,
    out: Path,
    statistics: Statistics | None = None,
    part: str = "",
) -> Any:
    """Writes a task's network with the weights of a PyTorch checkpoint.

    Args:
        checkpoint: see `common.models.torch_files.read_checkpoint`.
        task: the task's settings.
        out: the Keras model; an older file of that name is replaced.
        statistics: mean and standard deviation of the features (F, C); None: the model takes
            standardised features.
        part: of the checkpoint, see `read_checkpoint`.

    Returns:
        The model: from features (B, T, F, C), raw ones with `statistics`, to the network's outputs.

    Raises:
        CheckpointError: the checkpoint cannot be read, or does not fit the network.
        ConfigError: the task's system has no published PyTorch weights.
        DataError: the statistics do not fit the features, or the model cannot be written.
    """
    state = read_checkpoint(checkpoint, part)
    experiment = _experiment(task)
    model, names = _network(experiment)
    from common.models import layers, torch_weights  # now that the backend is chosen

    if hasattr(experiment.system, "published_state"):
        state = experiment.system.published_state(state, experiment.network)
    torch_weights.load_state(model, state, names)
    if statistics is not None:
        try:
            model = layers.with_statistics(model, *statistics, levels=experiment.levels())
        except ValueError as error:
            problem = "The statistics do not fit the features of the task."
            raise DataError(f"{problem} {error}") from error
    _save(model, out)
    return model


def export_weights(path: Path, task: BaseTask, out: Path) -> dict[str, np.ndarray]:
    """Writes the weights of a Keras model as a PyTorch checkpoint, {"model_state_dict": ...}.

    Args:
        path: model of this task, such as a run's `best.keras`; statistics of the features in it are
            left out.
        task: the task's settings.
        out: the checkpoint; an older file of that name is replaced.

    Returns:
        The arrays written, by name.

    Raises:
        CheckpointError: the model cannot be loaded, or is not the task's.
        ConfigError: the task's system has no published PyTorch weights, or PyTorch is not
            installed.
        DataError: the checkpoint cannot be written.
    """
    torch_library()
    network, names = _network(_experiment(task))
    from common.models import layers, saving, torch_weights  # now that the backend is chosen

    model = saving.load_model(path, "Give a file that training or this command has written.")
    weights = [layers.weights_by_name(each).items() for each in (model, network)]
    given, expected = ({(name, tuple(weight.shape)) for name, weight in own} for own in weights)
    of_statistics = f"{layers.STATISTICS}/"
    different = sorted({n for n, _ in given ^ expected if not n.startswith(of_statistics)})
    if different:
        raise CheckpointError(
            f"{path} is not a model of this task. Expected: the layers of {network.name}. They"
            f" differ in {', '.join(different)}. Give a model of this task, or change `network`."
        )
    state = torch_weights.torch_state(model, names)
    write_checkpoint(out, state)
    return state


def read_mean_std(source: Path, task: BaseTask, groups: Sequence[str] | None = None) -> Statistics:
    """Reads the mean and the standard deviation of features.

    Args:
        source: folder of a feature store, or the file of statistics in it; or an `.npz` file with
            arrays `mean` and `std`, (F, C) each.
        task: the task's settings, which the features of a store must have been made with.
        groups: those of the store that count, such as the training splits; None: all.

    Raises:
        DataError: there are no such statistics, or they belong to other features.
        ConfigError: groups of a file.
    """
    from common.data.feature_store import MANIFEST, STATISTICS, FeatureStore  # loads Keras

    folder = source.parent if source.name == STATISTICS else source
    if (folder / MANIFEST).is_file():
        store = FeatureStore.open(folder)
        stored = store.settings.get("features", {})
        changed = "; ".join(changed_settings(stored, task.features.content()))
        if changed:
            raise DataError(f"{source} holds other features than the task's. {changed}.")
        features: Any = task.features
        is_linear = isinstance(features, FeatureSettings) and features.entry.is_linear
        if is_linear:
            return dataset_statistics(store.running_statistics(groups), features.scaling)
        return store.statistics(groups)
    if groups is not None:
        raise ConfigError(f"--groups chooses among groups of a store. Received: the file {source}.")
    try:
        arrays = read_arrays(source)
        if any(arrays[name].dtype.kind not in "fiu" for name in STATISTICS_NAMES):
            raise TypeError("expected real numbers")
        with np.errstate(over="ignore"):  # infinity is refused later
            mean, std = (arrays[name].astype(np.float32) for name in STATISTICS_NAMES)
    except (OSError, TypeError, ValueError, KeyError) as error:
        names = " and ".join(STATISTICS_NAMES)
        raise DataError(
            f"No statistics in {source} ({error}). Expected: the folder of a feature store, or a"
            f" file of numpy.savez with arrays {names}, (bands, channels) each."
        ) from error
    return mean, std


def _experiment(task: BaseTask) -> Any:
    """Prepares the task's experiment.

    Raises:
        ConfigError: its system has no published PyTorch weights.
    """
    start_backend(task.run)
    experiment = load(task.family, "experiment").Experiment.prepare(task)
    if not hasattr(experiment.system, "torch_names"):
        raise ConfigError(
            f"`system: {task.system}` was not published in PyTorch, so names and order of its"
            " tensors are unknown. Expected: a task whose system file has `torch_names`."
        )
    return experiment


def _network(experiment: Any) -> tuple[Any, Any]:
    """Builds an experiment's network, with the places of the PyTorch weights in it."""
    return experiment.new_network(), experiment.system.torch_names(experiment.network)


def _save(model: Any, path: Path) -> None:
    """Writes a model, whole or not at all."""
    with atomic_path(path) as temporary:
        unfinished = temporary.with_suffix(MODEL_SUFFIX)  # Keras goes by the ending
        try:
            model.save(unfinished)
            unfinished.rename(temporary)
        finally:
            unfinished.unlink(missing_ok=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    return run_safely(_run, arguments)


def _run(arguments: Sequence[str]) -> None:
    options = _parser().parse_args(arguments)
    source = options.checkpoint or options.export
    _check_paths(source, options)
    task = load_task(params_path(options.params), options.task, options.overrides)
    if options.export:
        state = export_weights(source, task, options.out)
        takes = "The network they belong to takes standardised features."
        print(f"Wrote {options.out}: {len(state)} tensors. {takes}")
        return
    statistics = None
    if options.statistics is not None:
        start_backend(task.run)
        statistics = read_mean_std(options.statistics, task, options.groups)
    model = import_weights(source, task, options.out, statistics, options.part)
    form = "standardised" if statistics is None else "raw"
    takes = f"takes {form} features (B, T, F, C) = {model.input_shape}"
    print(f"Wrote {options.out}: {model.name}, which {takes}.")


def _parser() -> argparse.ArgumentParser:
    parser = base_parser("Weights from files of PyTorch into Keras models, and back.")
    given = parser.add_mutually_exclusive_group(required=True)
    torch_file, export = "file of torch.save, to become a Keras model", "Keras model, the other way"
    given.add_argument("checkpoint", nargs="?", type=Path, help=torch_file)
    given.add_argument("--export", type=Path, metavar="MODEL", help=export)
    parser.add_argument("--task", required=True, help="id of a task with the same network")
    part = "where the network is in the file, such as state_dict.sed_teacher; default: found"
    parser.add_argument("--part", default="", help=part)
    out = f"file to write; a model's name ends in {MODEL_SUFFIX}"
    parser.add_argument("--out", required=True, type=Path, help=out)
    store = "feature store or .npz with mean and std; default: the model takes standardised input"
    parser.add_argument("--statistics", type=Path, help=store)
    groups = "groups of the store that count, e.g. 2 3 4; default: all"
    parser.add_argument("--groups", nargs="+", help=groups)
    return parser


def _check_paths(source: Path, options: argparse.Namespace) -> None:
    """Checks what can be checked before any work.

    Raises:
        ConfigError: options that contradict each other.
    """
    out: Path = options.out
    if source.resolve() == out.resolve():
        raise ConfigError(f"--out must be another file than the one that is read. Received: {out}.")
    if options.checkpoint and out.suffix != MODEL_SUFFIX:
        raise ConfigError(f"--out: a Keras model must end in {MODEL_SUFFIX}. Received: {out}.")
    if options.export and (options.statistics or options.groups or options.part):
        which = "--statistics, --groups and --part"
        raise ConfigError(f"{which} belong to a checkpoint, not to --export.")
    if options.groups and not options.statistics:
        raise ConfigError("--groups chooses among groups of a store: give it with --statistics.")


if __name__ == "__main__":
    raise SystemExit(main())
