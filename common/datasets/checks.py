"""What is found out about a dataset before it is used: errors, warnings and tables, and the checks
of any family."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common.audio.files import FULL_SCALE, read_header, read_with_rate
from common.datasets.groups import SourceGroup
from common.errors import ConfigError, DataError
from common.io.notes import Note, collected, summaries
from common.runtime.parallel import parallel_map
from common.settings.parallel import ParallelConfig

_SHOWN = 5  # files or classes named in a finding
_CLIPPED_SHARE = 1e-4  # of the samples at full scale, from which a recording counts as clipped
_FULL = 1.0 - 2.0 / FULL_SCALE


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: with an error, extraction or training would fail or learn
    nonsense."""

    level: Literal["error", "warning"]
    text: str


@dataclass(frozen=True)
class TextTable:
    """Rows of text under a title; the first column names them."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_text(self) -> str:
        """Returns the table in aligned columns."""
        lines = [list(self.header), *map(list, self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = [
            [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
            ]
            for line in lines
        ]
        return "\n".join([self.title, *(f"  {'  '.join(cells)}".rstrip() for cells in aligned)])


@dataclass
class DatasetReport:
    """Collects what the checks of a family find."""

    findings: list[Finding] = field(default_factory=list)
    tables: list[TextTable] = field(default_factory=list)

    def error(self, text: str, names: Sequence[Any] = ()) -> None:
        """Notes what would stop the work or spoil its result, with the files or classes it is
        about."""
        self.findings.append(Finding("error", _sentence(text, names)))

    def warn(self, text: str, names: Sequence[Any] = ()) -> None:
        """Notes what is allowed but may not be meant, with the files or classes it is about."""
        self.findings.append(Finding("warning", _sentence(text, names)))

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Adds a table; numbers are written as they are."""
        self.tables.append(TextTable(title, header, [[str(cell) for cell in row] for row in rows]))

    @property
    def usable(self) -> bool:
        """Whether nothing is wrong that would stop the work."""
        return all(finding.level != "error" for finding in self.findings)

    def to_text(self) -> str:
        """Returns tables, findings with the errors first, and one line that sums them up."""
        ordered = sorted(self.findings, key=lambda finding: finding.level)  # errors first
        counts = [
            sum(finding.level == level for finding in self.findings)
            for level in ("error", "warning")
        ]
        verdict = (
            "The dataset can be used" if self.usable else "The dataset cannot be used as it is"
        )
        return "\n\n".join(
            [
                *(table.to_text() for table in self.tables),
                *(
                    ["\n".join(f"{finding.level}: {finding.text}" for finding in ordered)]
                    if ordered
                    else []
                ),
                f"{verdict}: {counts[0]} error(s), {counts[1]} warning(s).",
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the same as plain values."""
        return {"usable": self.usable, **asdict(self)}


@dataclass(frozen=True)
class AudioFacts:
    """What is known of a sound file; `clipped` to `checksum` only where it was decoded.

    Attributes:
        path: the file.
        problem: why it cannot be used; None if it can.
        sample_rate_hz: rate, 0 with a problem.
        channels: their number, 0 with a problem.
        duration_s: length, 0 with a problem.
        clipped: part of the samples that are at full scale.
        dead_channels: channels of zeros alone, from 0.
        equal_channels: whether there are several channels and all hold the same.
        checksum: of the samples.
        notes: what is odd about a file that is used nevertheless.
    """

    path: Path
    problem: str | None = None
    sample_rate_hz: int = 0
    channels: int = 0
    duration_s: float = 0.0
    clipped: float = 0.0
    dead_channels: tuple[int, ...] = ()
    equal_channels: bool = False
    checksum: int | None = None
    notes: tuple[Note, ...] = ()

    @property
    def silent(self) -> bool:
        """Whether it was decoded and holds zeros alone."""
        return 0 < len(self.dead_channels) == self.channels


def examine(paths: Sequence[Path], deep: bool, parallel: ParallelConfig) -> list[AudioFacts]:
    """Looks at sound files, in their order: at the headers alone, or with `deep` at every sample,
    in parallel."""
    found = parallel_map(_decoded, paths, parallel) if deep else map(_header_facts, paths)
    by_path = {facts.path: facts for facts in found}
    return [by_path[path] for path in paths]


def _header_facts(path: Path) -> AudioFacts:
    try:
        with collected() as notes:
            header = read_header(path)
    except DataError as error:
        return AudioFacts(path, str(error))
    return AudioFacts(
        path, None, header.sample_rate_hz, header.channels, header.duration_s, notes=tuple(notes)
    )


def _decoded(path: Path) -> AudioFacts:
    import zlib

    try:
        with collected() as notes:
            audio, rate_hz = read_with_rate(path)  # (S, C)
    except DataError as error:
        return AudioFacts(path, str(error))
    return AudioFacts(
        path,
        None,
        rate_hz,
        audio.shape[1],
        len(audio) / rate_hz,
        clipped=float(np.mean(np.abs(audio) >= _FULL)),
        dead_channels=tuple(int(channel) for channel in np.flatnonzero(~audio.any(axis=0))),
        equal_channels=audio.shape[1] > 1 and bool((audio == audio[:, :1]).all()),
        checksum=zlib.crc32(audio.tobytes()),
        notes=tuple(notes),
    )


def check_audio(
    report: DatasetReport,
    facts: Sequence[AudioFacts],
    title: str,
    *,
    sample_rate_hz: int | None = None,
    channels: int | None = None,
    duration_s: float | None = None,
    silence_is_refused: bool = False,
    skips_unreadable: bool = False,
) -> None:
    """Reports what is wrong with sound files, and tells their lengths in a table.

    Args:
        report: gets the findings.
        facts: of the files, from `examine`.
        title: what they are, e.g. "dev".
        sample_rate_hz: rate they must have; None: any.
        channels: number of channels they must have; None: any.
        duration_s: length they should have, in seconds; None: any.
        silence_is_refused: whether the work stops at a file of zeros alone.
        skips_unreadable: whether the work leaves out files that cannot be read.
    """
    broken = [each for each in facts if each.problem]
    if broken:
        tell = report.warn if skips_unreadable else report.error
        tell(
            f"{title}: {len(broken)} file(s) cannot be read. {broken[0].problem} All of them:",
            _names(broken),
        )
    sound = [each for each in facts if not each.problem]
    if not sound:
        return
    for what, wanted, unit in (
        ("sample_rate_hz", sample_rate_hz, " Hz"),
        ("channels", channels, " channels"),
    ):
        others = [each for each in sound if wanted is not None and getattr(each, what) != wanted]
        if others:
            received = sorted({getattr(each, what) for each in others})
            report.error(
                f"{title}: {len(others)} file(s) do not have {wanted}{unit}, as `dataset.{what}`"
                f" says, but {', '.join(map(str, received))}:",
                _names(others),
            )
    _check_lengths(report, sound, title, duration_s)
    for line in summaries(remark for each in sound for remark in each.notes):
        report.warn(f"{title}: {line}")
    silent = [each for each in sound if each.silent]
    if silent:
        tell = report.error if silence_is_refused else report.warn
        tell(f"{title}: {len(silent)} file(s) are silent, zeros alone:", _names(silent))
    _check_samples(report, [each for each in sound if not each.silent], title)


def _check_lengths(
    report: DatasetReport, sound: Sequence[AudioFacts], title: str, duration_s: float | None
) -> None:
    lengths = np.array([each.duration_s for each in sound])
    cells = [f"{value:.2f}" for value in (lengths.min(), np.median(lengths), lengths.max())]
    rates = ", ".join(map(str, sorted({each.sample_rate_hz for each in sound})))
    channels = ", ".join(map(str, sorted({each.channels for each in sound})))
    report.table(
        f"{title}: sound files",
        ("files", "hours", "shortest s", "median s", "longest s", "Hz", "channels"),
        [(len(sound), f"{lengths.sum() / 3600:.2f}", *cells, rates, channels)],
    )
    if duration_s is None:
        return
    tolerance_s = 0.01 * duration_s
    for what, off in (
        ("shorter than", lengths < duration_s - tolerance_s),
        ("longer than", lengths > duration_s + tolerance_s),
    ):
        if off.any():
            remedy = "the rest is padded" if what == "shorter than" else "the rest is cut off"
            names = [each for each, is_off in zip(sound, off, strict=True) if is_off]
            report.warn(
                f"{title}: {len(names)} file(s) are {what} {duration_s:g} s, {remedy}:",
                _names(names),
            )


def _check_samples(report: DatasetReport, sound: Sequence[AudioFacts], title: str) -> None:
    """Reports what only decoding shows of files with sound."""
    for what, chosen in (
        ("have a channel without sound", [each for each in sound if each.dead_channels]),
        ("hold the same in all channels", [each for each in sound if each.equal_channels]),
        (
            f"are clipped, more than {100 * _CLIPPED_SHARE:g} % of their samples at full scale",
            [each for each in sound if each.clipped > _CLIPPED_SHARE],
        ),
    ):
        if chosen:
            report.warn(f"{title}: {len(chosen)} file(s) {what}:", _names(chosen))


def check_copies(report: DatasetReport, groups: Mapping[str, Sequence[AudioFacts]]) -> None:
    """Reports recordings of equal content in different groups, which must share none; silence does
    not count."""
    seen: dict[int, tuple[str, Path]] = {}
    copies = []
    for group, members in groups.items():
        for facts in members:
            if facts.checksum is None or facts.silent:
                continue
            earlier_group, earlier = seen.setdefault(facts.checksum, (group, facts.path))
            if earlier_group != group:
                copies.append(f"{facts.path.name} ({group}) = {earlier.name} ({earlier_group})")
    if copies:
        report.error(
            f"{len(copies)} recording(s) are in two parts of the data, so scores would be too"
            " good:",
            copies,
        )


def check_classes(
    report: DatasetReport,
    classes: Sequence[str],
    groups: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
) -> None:
    """Tells events and seconds of each class in each group, and reports classes that a group lacks.

    Args:
        report: gets table and findings.
        classes: the class list, K names.
        groups: by name, the number of events of each class, int (K,), and how long they are
            together in seconds, (K,), None where it is not known.
    """
    rows = []
    for number, name in enumerate(classes):
        cells = [
            (events[number], None if seconds is None else seconds[number])
            for events, seconds in groups.values()
        ]
        rows.append([name, *(f"{n}" if s is None else f"{n} / {s:.0f} s" for n, s in cells)])
    report.table("events and their seconds", ("class", *groups), rows)
    for group, (events, _) in groups.items():
        absent = [name for name, count in zip(classes, events, strict=True) if not count]
        if absent:
            text = (
                f"{group}: no event of {len(absent)} class(es), which cannot be learned or scored"
                " there:"
            )
            report.warn(text, absent)


def report_groups(
    report: DatasetReport, classes: Sequence[str], parts: Mapping[str, Sequence[SourceGroup]]
) -> None:
    """Tells how many groups (sources) of each class, and of all, there are in each part of the
    data."""
    rows = [
        [name, *(sum(name in group.counts for group in groups) for groups in parts.values())]
        for name in classes
    ]
    report.table(
        "groups of one source each", ("class", *parts), [*rows, ["all", *map(len, parts.values())]]
    )


def report_sources(
    report: DatasetReport,
    sources: Callable[[], Mapping[tuple[str, str], tuple[int, int]]],
    simulated: bool,
) -> None:
    """Tells the own recordings that a simulation deals, or why it refuses them.

    Args:
        report: gets table or finding.
        sources: gives for each class and split the number of groups and of files.
        simulated: whether the dataset is there already, so that a refusal does no harm to it.
    """
    try:
        dealt = sources()
    except (ConfigError, DataError) as error:
        (report.warn if simulated else report.error)(f"`simulation.source_dir`: {error}")
        return
    splits = list(dict.fromkeys(split for _, split in dealt))
    cells = {key: f"{n_groups} / {n_files}" for key, (n_groups, n_files) in dealt.items()}
    rows = [
        [name, *(cells[name, split] for split in splits)]
        for name in dict.fromkeys(name for name, _ in dealt)
    ]
    report.table("own recordings of the simulation: groups / files", ("class", *splits), rows)


def count_classes(
    class_index: np.ndarray, duration_s: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Counts the events of each class, int (K,), and adds up their seconds, (K,)."""
    index = np.asarray(class_index, np.int64)
    return np.bincount(index, minlength=n_classes), np.bincount(
        index, duration_s, minlength=n_classes
    )


def same_class_overlaps(class_index: np.ndarray, onset_s: np.ndarray, offset_s: np.ndarray) -> int:
    """Counts the events of a recording that begin while another of their class lasts."""
    order = np.lexsort((onset_s, class_index))
    index, onset, offset = class_index[order], onset_s[order], offset_s[order]
    overlapping = 0
    for each in np.unique(index):
        mine = index == each
        until = np.maximum.accumulate(offset[mine])[:-1]
        overlapping += int(np.sum(onset[mine][1:] < until))
    return overlapping


def polyphony(onset_s: np.ndarray, offset_s: np.ndarray) -> int:
    """Returns the largest number of events at one time; one that ends when another begins does not
    count with it."""
    times = np.concatenate([offset_s, onset_s])
    steps = np.repeat([-1, 1], len(onset_s))
    order = np.lexsort((steps, times))  # ends before beginnings
    return int(np.cumsum(steps[order]).max(initial=0))


def _names(facts: Sequence[AudioFacts]) -> list[str]:
    return [each.path.name for each in facts]


def _sentence(text: str, names: Sequence[Any]) -> str:
    if not names:
        return text
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{text} {', '.join(map(str, names[:_SHOWN]))}{more}."
