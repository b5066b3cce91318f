"""The contract of a family: the modules that commands load by its name, and their parts.

A family is a package for one kind of task, such as `seld`; `family: seld` in the settings names
it, and no module of `common` imports one. Each Protocol below describes one module of a family. A
family outside this repository needs no entry here: any importable package that satisfies the
contract will do, see docs/adding-a-family.md.

Each family has a `TaskConfig` of its own, so `task` is `Any` here. So are objects of the rooms
above this module, whose types stand in the comments.
"""

import importlib
import importlib.util
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, overload

from common.errors import ConfigError

FAMILIES = ("seld", "sed_task4", "sed_task4.segmentation")  # of this repository
_NEEDED = ("config", "extraction", "experiment")  # modules that distinguish a family
_PAGE = "docs/adding-a-family.md"


class Config(Protocol):
    """`<family>/config.py`: the settings of a task. Loads no large library."""

    # Extends `common.settings.tasks.BaseTask`: defines `set_names` and `known_sets`.
    TaskConfig: type[Any]


class Systems(Protocol):
    """`<family>/systems/__init__.py`: the folder of the family's systems, one file each."""

    __path__: Sequence[str]  # its folders, as every package has them
    # Names that these files define besides those of `common.training.system.System`.
    REQUIRED: tuple[str, ...]


class Extraction(Protocol):
    """`<family>/extraction.py`: recordings to feature stores, one for each set of a task."""

    # Extracts some sets; records that exist already are kept, unless `overwrite`.
    def run(
        self, task: Any, set_names: Sequence[str], overwrite: bool = False, progress: bool = True
    ) -> list[Any]: ...  # common.data.feature_store.FeatureStore

    # True if the features of a set are complete.
    def is_extracted(self, task: Any, set_name: str) -> bool: ...

    # Opens a finished store. Raises DataError if it was made from other recordings or settings.
    def open_store(self, task: Any, set_name: str) -> Any: ...  # FeatureStore

    # Recordings of some sets as work items, in a fixed order.
    def all_items(self, task: Any, set_names: Sequence[str]) -> Sequence[Any]: ...  # Item


class Experiment(Protocol):
    """A task with its system, checked and ready to run."""

    task: Any  # the family's TaskConfig
    system: Any  # module of the system, common.training.system.System
    network: Any  # its NetworkConfig

    # Loads the system and checks that network, features and data fit together, before any work.
    @classmethod
    def prepare(cls, task: Any) -> "Experiment": ...

    # Audio features that the models compute themselves; None: models take stored features.
    @property
    def frontend(self) -> Any: ...  # common.features.frontend.Frontend | None

    # Network with fresh weights, from standardised features (B, T, F, C) to outputs.
    def new_network(self) -> Any: ...  # keras.Model

    # New layers between raw features and their statistics; most features have none.
    def levels(self) -> Sequence[Any]: ...  # of keras.layers.Layer

    # Name of the score that selects a stage's model, such as "val_f", and "min" or "max".
    def decisive_score(self, stage: Any) -> tuple[str, str]: ...  # of a Stage

    # Names of the scores of the validation set, such as "f", without training; empty: not known.
    def score_names(self, stage: Any) -> Sequence[str]: ...  # of a Stage

    # Trains, tests, writes `scores.json` and the submission files; returns the tables as text.
    def run(self, stores: Sequence[Any], folder: Path) -> str: ...


class Experiments(Protocol):
    """`<family>/experiment.py`: one run of a task."""

    Experiment: type[Experiment]


class Simulator(Protocol):
    """`<family>/simulation/simulator.py`: a dataset in the layout of the task's real one."""

    # Writes the dataset; what exists is kept, unless `overwrite`. `annotations`: events to render.
    def run(self, task: Any, annotations: Path | None = None, overwrite: bool = False) -> Any: ...

    # Raises DataError if the dataset in `task.dataset_dir` was simulated with other settings.
    def check(self, task: Any) -> None: ...


class Predictors(Protocol):
    """`<family>/predictor.py`: finished runs over recordings of any length.

    `common.api.features` also takes `features_of(audio, task)`, from (samples, channels) to
    (frames, bands, channels) as they are stored.
    """

    # Loads the models of one fold, or of all (None); `live`: short delay, few windows at a time.
    # `checkpoint`: "best", "last" or the number of an epoch; only given if one is asked for.
    def load_predictor(
        self,
        run: Path,
        task: Any,
        fold: str | None = None,
        live: bool = False,
        checkpoint: str | None = None,
    ) -> Any: ...  # common.inference.predictor.Predictor


class Report(Protocol):
    """`<family>/report.py`: the family's part of a run's page."""

    # Scores, classes and recordings of a run directory.
    def chapters(self, task: Any, folder: Path) -> list[Any]: ...  # common.display.page.Chapter


class Figures(Protocol):
    """`<family>/figures.py`: figures of a run."""

    # Panels of the learning curves: scores of the training history that belong together.
    LEARNING_PANELS: Sequence[Any]  # common.display.plotting.Panel


class Check(Protocol):
    """`<family>/check.py`: the dataset of a task, checked before hours of work."""

    # Adds problems and counts to the report; `deep`: decodes every recording, not only headers.
    def check(self, task: Any, report: Any, deep: bool) -> None: ...  # DatasetReport


class Download(Protocol):
    """`<family>/download.py`: where the published dataset comes from."""

    # Archives of the sets that a task reads.
    def sources(self, task: Any) -> list[Any]: ...  # common.datasets.download.Source


class Scores(Protocol):
    """`<family>/score.py`: scores of submission files, `dcase score`.

    `common.api.score` also takes `score_task(estimated, reference, task, task_id)`, paths to a
    report.
    """

    # Runs the command; returns its exit status.
    def main(self, arguments: Sequence[str] | None = None) -> int: ...


class CommandLine(Protocol):
    """`<family>/cli.py`: the command that trains, also run as `python -m <family>.cli`."""

    SCRIPT: str  # script in a checkout, such as "seld.py"
    SCRIPTS: Mapping[str, str]  # scripts of single systems, by system

    # Runs the command; returns its exit status.
    def main(self, arguments: Sequence[str] | None = None) -> int: ...


PARTS: dict[str, type] = {
    "config": Config,
    "systems": Systems,
    "extraction": Extraction,
    "experiment": Experiments,
    "simulation.simulator": Simulator,
    "predictor": Predictors,
    "report": Report,
    "score": Scores,
    "figures": Figures,
    "check": Check,
    "download": Download,
    "cli": CommandLine,
}


def families() -> list[str]:
    """Names of the families of this repository that are installed."""
    return [name for name in FAMILIES if is_family(name)]


def is_family(name: object) -> bool:
    """True if there is a package of this name with the modules of a family; imports nothing of it.

    Settings are data: those of a run that somebody sent must not load any package they name.
    """
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        return False
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # of a module without a file, such as __main__
        return False
    places = [Path(folder, *rest) for folder in (spec and spec.submodule_search_locations) or ()]
    return any(all((place / f"{part}.py").is_file() for part in _NEEDED) for place in places)


@overload
def load(family: str, part: Literal["config"]) -> Config: ...
@overload
def load(family: str, part: Literal["systems"]) -> Systems: ...
@overload
def load(family: str, part: Literal["extraction"]) -> Extraction: ...
@overload
def load(family: str, part: Literal["experiment"]) -> Experiments: ...
@overload
def load(family: str, part: Literal["simulation.simulator"]) -> Simulator: ...
@overload
def load(family: str, part: Literal["predictor"]) -> Predictors: ...
@overload
def load(family: str, part: Literal["report"]) -> Report: ...
@overload
def load(family: str, part: Literal["figures"]) -> Figures: ...
@overload
def load(family: str, part: Literal["check"]) -> Check: ...
@overload
def load(family: str, part: Literal["download"]) -> Download: ...
@overload
def load(family: str, part: Literal["score"]) -> Scores: ...
@overload
def load(family: str, part: Literal["cli"]) -> CommandLine: ...
def load(family: str, part: str) -> Any:
    """Imports a module of a family and checks it against its Protocol.

    Args:
        family: name of the package, such as "seld".
        part: name of the module in it, a key of `PARTS`.

    Raises:
        ConfigError: the module is missing, or lacks a part of the contract.
    """
    name = f"{family}.{part}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # of a library that the family needs
        raise ConfigError(f"The family {family} has no module {name}: see {_PAGE}.") from error
    require(module, missing_parts(module, PARTS[part]), _PAGE)
    return module


def require(module: ModuleType, missing: Sequence[str], page: str) -> None:
    """Refuses a module that lacks parts of its contract.

    Raises:
        ConfigError: names the file, the parts and the page that explains them.
    """
    if missing:
        place = module.__file__ or module.__name__  # a folder without __init__.py is no file
        raise ConfigError(f"{place} does not define {', '.join(missing)}: see {page}.")


def missing_parts(module: ModuleType, contract: type) -> list[str]:
    """Names of a Protocol that a module lacks, and those that its classes lack, as Class.name."""
    hints, missing = typing.get_type_hints(contract), []
    for name in contract_names(contract):
        found = getattr(module, name, None)
        if found is None:
            missing.append(name)
            continue
        inner = next(iter(typing.get_args(hints.get(name))), None)  # type[Experiment]: Experiment
        expected = contract_names(inner) if getattr(inner, "_is_protocol", False) else []
        lacking = [each for each in expected if not _has(found, each)]
        lacking += sorted(getattr(found, "__abstractmethods__", ()))
        missing += [f"{name}.{each}" for each in lacking]
    return missing


def contract_names(contract: Any) -> list[str]:
    """Names of the attributes and functions of a Protocol."""
    names = [*vars(contract).get("__annotations__", {}), *vars(contract)]
    return [name for name in dict.fromkeys(names) if not name.startswith("_")]


def _has(kind: type, name: str) -> bool:
    """True if a class has an attribute, or declares it as one of its instances."""
    declared = (vars(base).get("__annotations__", {}) for base in kind.__mro__)
    return hasattr(kind, name) or any(name in annotations for annotations in declared)
