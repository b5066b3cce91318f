"""The contract of a system: the parts of its file, and its stages."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal, Protocol

from common.data.sequences import EventTargets
from common.errors import ConfigError
from common.family import load, missing_parts, require
from common.settings.section import Section
from common.settings.tasks import BaseTask, validate


def any_layer(name: str) -> bool:
    """True for every layer, see `Stage.keeps`."""
    return True


@dataclass(frozen=True)
class ModelParts:
    """Parts of a stage's model, and the length of its epochs.

    Attributes:
        build: makes a network from what the frontend gives to the outputs, with its statistics and
            the weights that it starts from; another one at each call.
        frontend: layer from audio to features; None: the model takes features.
        iterations_per_epoch: batches in an epoch.
    """

    build: Callable[[], Any]
    frontend: Any
    iterations_per_epoch: int


@dataclass(frozen=True)
class Stage:
    """One training of one model: stages are the only way systems differ.

    Attributes:
        name: folder of the stage's weights and logs in the run directory.
        build: from the features' shape (frames or None, bands, channels) to the network on
            standardised features.
        targets: for each output of the network, the arrays of a record that are joined to its
            target.
        losses: for each output, a function of (target, output).
        loss_weights: for each output, the weight of its loss.
        target_stride: feature frames per output frame.
        metrics: for some outputs, makers of Keras metrics of the training batches, logged as
            <output>_<metric>.
        learns_from: "labels" of the dataset, or "predictions" of the previous stage on unlabelled
            recordings.
        starts_from: name of an earlier stage whose weights this one starts from; None: fresh
            weights.
        keeps: from a layer's name to True if its weights come from `starts_from`; other layers
            start with fresh weights.
        outputs_used: outputs that are scored from this stage's model; empty: all.
        event_targets: makes the targets from events, in place of `targets`.
        inputs: arrays of whole recordings that the network takes beside its features, see
            `common.data.sequences.SequenceFormat`.
        part_target: name of a further target, int32 (B,): number of the part of the batch that each
            row belongs to, from 0 on, for losses of some parts; None: none.
        part_of: name of the system that the stage belongs to, where a run trains and compares
            several; stages of one system are scored together.
        join: makes the model that is trained, from raw input, of its parts, such as a mean teacher
            of two networks; None: the frontend and one network.
    """

    name: str
    build: Callable[[tuple[int | None, int, int]], Any]
    targets: Mapping[str, tuple[str, ...]]
    losses: Mapping[str, Callable]
    loss_weights: Mapping[str, float]
    target_stride: int = 1
    metrics: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    learns_from: Literal["labels", "predictions"] = "labels"
    starts_from: str | None = None
    keeps: Callable[[str], bool] = any_layer
    outputs_used: tuple[str, ...] = ()
    event_targets: EventTargets | None = None
    inputs: tuple[str, ...] = ()
    part_target: str | None = None
    part_of: str = ""
    join: Callable[[ModelParts], Any] | None = None


class System(Protocol):
    """A system file, `<family>/systems/<name>.py`; the family may ask for more, see `Systems`.

    A file may also define `torch_names`, where PyTorch weights of the system were published, and
    `published_state`, which brings other forms of a state dict to those names.
    """

    NetworkConfig: type[Section]  # sizes of the network: `network` in the settings of a task

    # Raises ConfigError if network and features (T or None, F, C) do not fit together.
    def check_network(self, network: Any, shape: tuple[int | None, int, int]) -> None: ...

    # Network from standardised features (B, T, F, C) to its outputs, for so many classes.
    def build_model(
        self, shape: tuple[int | None, int, int], n_classes: int, network: Any
    ) -> Any: ...  # keras.Model

    # Trainings of the system, in order; `task` is the TaskConfig of the family.
    def stages(self, task: Any) -> list[Stage]: ...


def stages_to_redo(stages: Sequence[Stage], overwrite: Sequence[str]) -> list[str]:
    """Names of the stages to train again: those asked for, and all later ones.

    Args:
        stages: of the system, in order.
        overwrite: names asked for; "extraction" is not a stage of training and is ignored.

    Raises:
        ConfigError: there is no stage of that name.
    """
    names = [stage.name for stage in stages]
    unknown = [name for name in overwrite if name not in [*names, "extraction"]]
    if unknown:
        raise ConfigError(
            "`overwrite` names stages to do again. Expected: some of extraction,"
            f" {', '.join(names)}. Received: {', '.join(unknown)}."
        )
    positions = [names.index(name) for name in overwrite if name in names]
    return names[min(positions) :] if positions else []


def parts(stages: Sequence[Stage]) -> dict[str, list[Stage]]:
    """Groups stages by the system that they belong to, `Stage.part_of`, in their order."""
    grouped: dict[str, list[Stage]] = {}
    for stage in stages:
        grouped.setdefault(stage.part_of, []).append(stage)
    return grouped


def neighbours(stages: Sequence[Stage], stage: Stage) -> tuple[list[str], list[str]]:
    """Names of the stages before and behind one, of the system that it belongs to."""
    names = [each.name for each in parts(stages)[stage.part_of]]
    place = names.index(stage.name)
    return names[:place], names[place + 1 :]


def systems(family: str) -> list[str]:
    """Names of the system files of a family."""
    found = pkgutil.iter_modules(load(family, "systems").__path__)
    return sorted(each.name for each in found if not each.name.startswith("_"))


def load_system(family: str, system: str) -> ModuleType:
    """Imports the file of a system and checks that it has all parts of the contract.

    Args:
        family: package that holds it, e.g. "seld".
        system: name of the file in `<family>/systems/`, without `.py`.

    Raises:
        ConfigError: there is no such file, or it lacks a part.
    """
    known = systems(family)
    if system not in known:
        expected = f"one of {', '.join(known)}"
        problem = f"Unknown `system` for {family}."
        raise ConfigError(f"{problem} Expected: {expected}. Received: {system!r}.")
    module = importlib.import_module(f"{family}.systems.{system}")
    of_family = [name for name in load(family, "systems").REQUIRED if not hasattr(module, name)]
    require(module, [*missing_parts(module, System), *of_family], "docs/adding-a-system.md")
    return module


def prepare_system(task: BaseTask, bands_channels: tuple[int, int]) -> tuple[ModuleType, Section]:
    """Loads the system of a task and checks, before any work, that settings and features fit.

    Args:
        task: the settings of a task of any family.
        bands_channels: of its features, (F, C).

    Returns:
        The module of the system, and its own settings.

    Raises:
        ConfigError: they do not fit.
    """
    system = load_system(task.family, task.system)
    network = validate(system.NetworkConfig, task.network, "network")
    system.check_network(network, (task.pipeline.sequence_frames, *bands_channels))
    stages_to_redo(system.stages(task), task.overwrite)
    return system, network
