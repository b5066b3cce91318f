"""Search space: keys of `params.yaml` with a range or a list of values, checked by their types."""

import math
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

import yaml

from common.errors import ConfigError
from common.settings.section import Section
from common.settings.tasks import parse_overrides
from common.training.setting_changes import FREE_KEYS

# A search compares trainings on one dataset, by one score; folders improve none.
FIXED_KEYS = (*FREE_KEYS, "family", "system", "folds", "simulation", "simulate_missing_dataset")
EXTRACTED_KEYS = ("dataset", "features")  # with these, each trial extracts features of its own
FORMS = "key=low:high, key=low:high:log or key=a,b,c"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        low: the lowest.
        high: the highest.
        log: True if they are even on a logarithmic scale.
        whole: True if they are integers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> tuple[str, ...]:
        """Values to check, as YAML."""
        return as_yaml(self.low), as_yaml(self.high)


@dataclass(frozen=True)
class Choice:
    """Values, each as YAML: numbers, words or lists."""

    ends: tuple[str, ...]


Space = dict[str, Range | Choice]


def parse_space(assignments: Sequence[str]) -> Space:
    """Reads `--over` texts: `training.learning_rate=1e-4:1e-2:log`, `network.gru_units=[64],[8]`.

    Raises:
        ConfigError: a text has another form, a key is given twice or cannot be searched over.
    """
    space: Space = {}
    for assignment in assignments:
        key, _, values = assignment.partition("=")
        if not values.strip() or not all(key.split(".")):
            raise ConfigError(f"--over expects {FORMS}. Received: {assignment!r}.")
        if key in space:
            raise ConfigError(f"--over names `{key}` twice. Keep one of them.")
        if key.split(".")[0] in FIXED_KEYS:
            raise ConfigError(f"--over: `{key}` must be equal in all trials. Give it with --set.")
        is_range = ":" in values and not set(values) & set(",[{\"'")
        space[key] = _range(assignment, values) if is_range else _choice(assignment, values)
    return space


def _range(assignment: str, values: str) -> Range:
    low, high, *scale = values.split(":")
    try:
        bounds = float(low), float(high)
    except ValueError:
        bounds = math.nan, math.nan
    ordered = math.isfinite(bounds[1] - bounds[0]) and bounds[0] < bounds[1]
    if not ordered or scale not in ([], ["log"]):
        raise ConfigError(
            f"--over expects two numbers, the lower one first: {FORMS}. Received: {assignment!r}."
        )
    if scale and bounds[0] <= 0:
        raise ConfigError(f"--over: a logarithmic range begins above 0. Received: {assignment!r}.")
    return Range(*bounds, log=bool(scale))


def _choice(assignment: str, values: str) -> Choice:
    choices = tuple(map(as_yaml, parse_overrides([f"values=[{values}]"])["values"]))
    if len(set(choices)) < max(len(choices), 2):
        raise ConfigError(f"--over expects two or more values: {FORMS}. Received: {assignment!r}.")
    return Choice(choices)


def checked_space(
    space: Space, sections: Mapping[str, type[Section]], check: Callable[[str], object]
) -> Space:
    """Checks every end and every value by the settings; gives ranges of integers their type.

    Args:
        space: from `parse_space`.
        sections: the task's class under "", that of its network under "network".
        check: called with each `key=value`; raises what is wrong with it.

    Raises:
        ConfigError: from `check`; a range of no numbers, or bounds of integers that are none.
    """
    checked: Space = {}
    for key, values in space.items():
        kind = number_type(setting_type(sections, key)) if isinstance(values, Range) else None
        if isinstance(values, Range) and kind is int:
            values = _whole(key, values)
        for end in values.ends:
            check(f"{key}={end}")
        if isinstance(values, Range) and kind is None:
            raise ConfigError(
                f"--over: `{key}` is no number. Expected: values, {key}=a,b,c. Received: a range."
            )
        checked[key] = values
    return checked


def _whole(key: str, values: Range) -> Range:
    if not (values.low.is_integer() and values.high.is_integer()):
        bounds = f"{values.low} to {values.high}"
        raise ConfigError(f"--over: `{key}` is an integer. Received: {bounds}.")
    return Range(int(values.low), int(values.high), values.log, whole=True)


def setting_type(sections: Mapping[str, type[Section]], key: str) -> Any:
    """Annotation of a setting by its dotted key; None for a key that does not exist."""
    current: Any = sections[""]
    for number, part in enumerate(key.split(".")):
        if number == 1 and key.startswith("network."):
            current = sections["network"]
        if get_origin(current) is dict:
            current = get_args(current)[1]
        else:
            field = getattr(current, "model_fields", {}).get(part)
            current = None if field is None else field.annotation
    return current


def number_type(annotation: Any) -> type[int] | type[float] | None:
    """Type of a setting that may be a plain number, int or float; None for others."""
    if annotation in (int, float):
        return annotation
    if get_origin(annotation) is Annotated:
        return number_type(get_args(annotation)[0])
    if get_origin(annotation) not in (Union, types.UnionType):
        return None
    kinds = [number_type(each) for each in get_args(annotation)]
    return float if float in kinds else int if int in kinds else None


def extracts(keys: Iterable[str]) -> bool:
    """True if trials that differ in these keys need features of their own."""
    return any(key.split(".")[0] in EXTRACTED_KEYS for key in keys)


def yaml_values(space: Space, params: Mapping[str, Any]) -> dict[str, str]:
    """Values that Optuna suggested, as YAML, in the order of `space`."""
    ranges = {key for key, values in space.items() if isinstance(values, Range)}
    return {key: as_yaml(params[key]) if key in ranges else params[key] for key in space}


def as_yaml(value: Any) -> str:
    """A value on one line, as `--set` takes it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf)
    return text.removesuffix("\n").removesuffix("\n...")
