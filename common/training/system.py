"""What a system file must define, and how it is found."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

from common.errors import ConfigError
from common.settings.section import Section
from common.settings.tasks import validate

# A system file, `<family>/systems/<name>.py`, defines these.
REQUIRED = ("NetworkConfig", "build_model", "check_network", "stages", "decode")


def any_layer(name: str) -> bool:
    """Says yes to every layer, see `Stage.keeps`."""
    return True


@dataclass(frozen=True)
class Stage:
    """One training of one model: stages are the only way systems differ.

    Attributes:
        name: names the folder of the stage's weights and logs.
        build: from the features' shape (frames or None, bands, channels) to the network on
            standardised features.
        targets: for each output of the network, the arrays of a record that are joined to its
            target.
        losses: for each output, a function of (target, output).
        loss_weights: for each output, the weight of its loss.
        target_stride: feature frames per output frame.
        metrics: for some outputs, makers of Keras metrics of the training batches, logged as
            <output>_<metric>.
        learns_from: "labels" of the dataset, or "predictions" of the stage before on unlabelled
            recordings.
        starts_from: name of an earlier stage whose weights this one starts from; None: fresh
            weights.
        keeps: says of a layer's name whether its weights come from `starts_from`; those of other
            layers are fresh.
        outputs_used: outputs that are scored from this stage's model; empty: all.
        part_of: name of the system that the stage belongs to, where a run trains and compares
            several; stages of one system are scored together.
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
    part_of: str = ""


def stages_to_redo(stages: Sequence[Stage], overwrite: Sequence[str]) -> list[str]:
    """Names of the stages to do again: those asked for, and those after them, which learned from
    them.

    Args:
        stages: of the system, in order.
        overwrite: names asked for; "extraction" is not a stage of training and is passed over.

    Raises:
        ConfigError: there is no stage of that name.
    """
    names = [stage.name for stage in stages]
    unknown = [name for name in overwrite if name not in [*names, "extraction"]]
    if unknown:
        raise ConfigError(
            "`overwrite` names what is to be done again. Expected: some of extraction,"
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


def systems(family: str) -> list[str]:
    """Names of the system files of a family."""
    package = importlib.import_module(f"{family}.systems")
    return sorted(
        found.name
        for found in pkgutil.iter_modules(package.__path__)
        if not found.name.startswith("_")
    )


def load_system(family: str, system: str) -> ModuleType:
    """Imports the file of a system.

    Args:
        family: package that holds it, e.g. "seld".
        system: name of the file in `<family>/systems/`, without `.py`.

    Raises:
        ConfigError: there is no such file, or it lacks a part.
    """
    known = systems(family)
    if system not in known:
        raise ConfigError(
            f"Unknown `system` for {family}. Expected: one of {', '.join(known)}. Received:"
            f" {system!r}."
        )
    module = importlib.import_module(f"{family}.systems.{system}")
    lacking = [name for name in REQUIRED if not hasattr(module, name)]
    if lacking:
        raise ConfigError(
            f"{module.__file__} does not define {', '.join(lacking)}: see docs/adding-a-system.md."
        )
    return module


def prepare_system(task: Any, bands_channels: tuple[int, int]) -> tuple[ModuleType, Section]:
    """Loads the system of a task and checks, before any work, that its settings and the features
    fit together.

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
