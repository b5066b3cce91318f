"""Computes the tables of docs/scale.md from the measured rates in benchmarks/results.json.

python -m benchmarks.scale
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.large_stores import MANY, ONE
from benchmarks.measure import ROOT, replace_between, short, table
from benchmarks.run import machine_text
from common.io.files import write_text

HOURS = (10, 1_000, 100_000)
MACHINES = (1, 10, 100)
PAGE = ROOT / "docs" / "scale.md"
_HOUR_S = 3600.0


@dataclass(frozen=True)
class System:
    """Costs of an hour of audio for one system on the measured machine.

    Attributes:
        name: of the system, and its features.
        extraction_core_s: seconds of one core to extract it.
        features_gb: its size on disk.
        pass_s: seconds of the whole machine to learn from it once.
        recordings: their number in an hour.
    """

    name: str
    extraction_core_s: float
    features_gb: float
    pass_s: float
    recordings: float


def systems(results: Mapping[str, dict]) -> list[System]:
    """Costs of an hour from the benchmark results: recordings of a minute, clips of ten seconds."""
    rates = {
        name: {each["name"]: each["value"] for each in result["figures"]}
        for name, result in results.items()
    }
    seldnet_s, _ = _medians_of(results, "SELDnet features of a 60 s recording, from reading")
    clip_s, _ = _medians_of(results, "log-mel of a clip of 10 s")
    steps, audio, gcc = rates["training_steps"], rates["frontend"], rates["gcc_features"]

    def examples_per_s(name: str) -> float:
        return next(
            value
            for key, value in steps.items()
            if key.startswith(name) and key.endswith(": examples")
        )

    seldnet_pass = _HOUR_S / (128 * 0.02) / examples_per_s("SELDnet")
    return [
        System(
            "SELDnet",
            60 * seldnet_s,
            60 * audio["features: on disk per recording"] / 1e3,
            seldnet_pass,
            60,
        ),
        System(
            "SELDnet, `frontend: device`",
            60 * seldnet_s,
            60 * audio["audio: on disk per recording"] / 1e3,
            seldnet_pass
            + _HOUR_S / 0.02 / audio["audio: features computed by the layer on the CPU"],
            60,
        ),
        System(
            "two-stage",
            60 * gcc["logmel_gcc: with resampling from 48 kHz"],
            60 * 6000 * 96 * 10 * 4 / 1e9,
            2 * _HOUR_S / 0.5 / examples_per_s("CRNN10"),
            60,
        ),
        System(
            "CNN9",
            360 * clip_s,
            360 * 640 * 64 * 4 / 1e9,
            _HOUR_S / 10 / examples_per_s("CNN9, average"),
            360,
        ),
    ]


def _medians_of(results: Mapping[str, dict], work: str) -> tuple[float, float]:
    """The medians of both routes of a goal, in seconds, from its details."""
    details = next(
        goal["details"]
        for result in results.values()
        for goal in result["goals"]
        if goal["work"].startswith(work)
    )
    values = []
    for part in details.split("), "):
        number, unit = part.split(" (")[0].split()[-2:]
        values.append(float(number) * {"s": 1.0, "ms": 1e-3}[unit])
    return values[0], values[1]


def duration(seconds: float) -> str:
    """Seconds in the unit that people would use."""
    for unit, size in (("years", 31_557_600.0), ("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{short(seconds / size)} {unit}"
    return f"{short(seconds)} s"


def size(gigabytes: float) -> str:
    """Gigabytes in the unit that people would use."""
    return f"{short(gigabytes / 1000)} TB" if gigabytes >= 1000 else f"{short(gigabytes)} GB"


def work_table(found: Sequence[System], cores: int) -> str:
    """Time of extraction and of one pass of training, and disk, by hours of audio and machines."""
    rows = []
    for system in found:
        for hours in HOURS:
            extraction = [
                duration(hours * system.extraction_core_s / cores / machines)
                for machines in MACHINES
            ]
            passes = [duration(hours * system.pass_s / machines) for machines in MACHINES]
            rows.append(
                (
                    system.name,
                    f"{hours:,} h",
                    size(hours * system.features_gb),
                    *extraction,
                    *passes,
                )
            )
    extracting = [f"extraction, {machines}" for machines in MACHINES]
    training = [f"one pass, {machines}" for machines in MACHINES]
    return table(("system", "audio", "disk", *extracting, *training), rows)


def store_table(results: Mapping[str, dict]) -> str:
    """Costs of the number of recordings, apart from their features."""
    rates = {each["name"]: each["value"] for each in results["large_stores"]["figures"]}
    rows = []
    for form in (ONE, MANY):
        for hours in HOURS:
            n = 60 * hours
            rows.append(
                (
                    form,
                    f"{hours:,} h, {n:,} recordings",
                    f"{max(1, n // 64 if form == MANY else n):,}",
                    size(n * rates[f"{form}: in the manifest"] / 1e9),
                    duration(n * rates[f"{form}: opened in"] / 1e6),
                    size(n * rates[f"{form}: in memory while training"] / 1e6),
                )
            )
    return table(
        (
            "store",
            "audio",
            "shards",
            "manifest",
            "opened in",
            "memory while training, without the model",
        ),
        rows,
    )


def main(page: Path = PAGE) -> None:
    """Writes the tables."""
    results = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    machine = results["training_steps"]["machine"]
    text = page.read_text(encoding="utf-8")
    text = replace_between(
        text, "work", f"{work_table(systems(results), machine['cores'])}\n\n{machine_text(machine)}"
    )
    write_text(page, replace_between(text, "stores", store_table(results)))


if __name__ == "__main__":
    argparse.ArgumentParser(
        description="Computes the tables of docs/scale.md from the measured rates."
    ).parse_args()
    main()
