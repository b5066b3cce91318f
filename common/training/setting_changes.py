"""Settings that may change when a run goes on, and those that may not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class MayChange:
    """A setting that a run may go on with at another value.

    Attributes:
        key: with dots between sections; of a section, all settings in it.
        to: "any" other value, or only one that is "longer".
        effect: what becomes of it, for the pages.
    """

    key: str
    to: Literal["any", "longer"]
    effect: str


# The only table of them. Location and speed of a job may change between its parts, and its length
# may grow; its computations may not change.
MAY_CHANGE = (
    MayChange("training.epochs", "longer", "trains on after the last epoch"),
    MayChange("training.stage_epochs", "longer", "the same for one stage of a SELD system"),
    MayChange("second_pass.epochs", "longer", "the same for the second pass of the CRNN"),
    MayChange("training.patience_epochs", "longer", "goes on after an early stop; 0: none"),
    MayChange("training.checkpoint_every_epochs", "any", "models of the epochs from here on"),
    MayChange("dataset_dir", "any", "the same recordings in another place"),
    MayChange("feature_dir", "any", "the same features in another place"),
    MayChange("output_dir", "any", "runs that were moved"),
    MayChange("run", "any", "backend, devices, precision"),
    MayChange("parallel", "any", "processes of simulation and extraction"),
    MayChange("overwrite", "any", "stages to do again"),
    MayChange("description", "any", "text"),
    MayChange("published", "any", "scores beside those of the run"),
    MayChange("published_on", "any", "text"),
)
FREE_KEYS = tuple(each.key for each in MAY_CHANGE if each.to == "any" and "." not in each.key)
EPOCHS = "training.epochs"  # length of a stage that has none of its own
PATIENCE = "training.patience_epochs"
FALLS_UNTIL = "training.schedule.fall_until_epoch"


@dataclass(frozen=True)
class Difference:
    """A setting at two values; None also stands for a key that is not there."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.old!r} there, {self.new!r} now"


def differences(stored: Mapping, wanted: Mapping, prefix: str = "") -> list[Difference]:
    """Lists settings that differ, except `FREE_KEYS`."""
    found = []
    for key in [*stored, *(key for key in wanted if key not in stored)]:
        if not prefix and key in FREE_KEYS:
            continue
        old, new = stored.get(key), wanted.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(Difference(f"{prefix}{key}", old, new))
    return found


def changed_settings(stored: Mapping, wanted: Mapping) -> list[str]:
    """Lists settings that differ, except `FREE_KEYS`, with both values."""
    return [str(each) for each in differences(stored, wanted)]


def refused_changes(
    stored: Mapping[str, Any], wanted: Mapping[str, Any], changes: Sequence[Difference]
) -> list[str]:
    """Those of some differences that no run may go on with; for lengths, why not.

    Args:
        stored: settings of the run.
        wanted: settings that it would go on with.
        changes: the differences between both.
    """
    refused = []
    for change in changes:
        rule = _rule_of(change.key)
        if rule is None:
            refused.append(str(change))
        elif rule.to == "longer":
            old = _length(change.key, change.old, stored)
            if _length(change.key, change.new, wanted) < old:
                refused.append(f"{change}; it may only become longer (--finish ends a training)")
    return refused


def with_lengths_of(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run with those of others that may change, except `FREE_KEYS`."""
    settings = dict(stored)
    for section, _, name in (each.key.rpartition(".") for each in MAY_CHANGE):
        # A section may be null, such as `second_pass`.
        both = isinstance(wanted.get(section), Mapping) and settings.get(section, {}) is not None
        if both and name in wanted[section]:
            settings[section] = {**settings.get(section, {}), name: wanted[section][name]}
    return settings


def may_change_text() -> str:
    """The settings that may change, in a sentence."""
    longer = ", ".join(each.key for each in MAY_CHANGE if each.to == "longer")
    others = ", ".join(each.key for each in MAY_CHANGE if each.to == "any")
    return f"May become longer: {longer}. May be any other: {others}."


def remarks(settings: Mapping[str, Any], changes: Sequence[Difference]) -> list[str]:
    """What distinguishes a run that goes on with other lengths from one begun with them.

    Args:
        settings: those that the run goes on with.
        changes: the lengths that differ, with those before.
    """
    schedule = settings.get("training", {}).get("schedule", {})
    falls = schedule.get("fall", "none") != "none" and schedule.get("fall_until_epoch") is None
    of_epochs = [each for each in changes if is_length(each.key) and each.key != PATIENCE]
    if not falls or not of_epochs:
        return []
    return [
        f"The learning rate falls until the last epoch (`{FALLS_UNTIL}` is null): the epochs so far"
        " had the earlier curve and those that follow have the longer one, so that the run differs"
        " from one of this length from the start."
    ]


def _rule_of(key: str) -> MayChange | None:
    return next(
        (each for each in MAY_CHANGE if key == each.key or key.startswith(f"{each.key}.")), None
    )


def is_length(key: str) -> bool:
    """True for a setting that may become longer."""
    rule = _rule_of(key)
    return rule is not None and rule.to == "longer"


def _length(key: str, value: Any, settings: Mapping[str, Any]) -> float:
    """Length that a setting stands for: epochs are those of the training unless given."""
    if key == PATIENCE:
        return float(value) if value else math.inf
    if value is None or isinstance(value, Mapping):
        value = settings.get("training", {}).get("epochs")
    return math.inf if value is None else float(value)
