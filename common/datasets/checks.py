"""Checks of datasets of any family before use: errors, warnings and tables."""

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
SILENCE_DB = -40.0  # below the peak: silence at the ends of a recording
_BIN_HZ, _FALL_HZ, _FALL_DB, _LOWEST_EDGE_HZ = 50, 500, 25.0, 1000.0  # of a cut-off
_REACHED = 0.95  # of the highest band: a recording that ends there is long enough
_DIFFERENT_SHARES = 0.3  # between classes, of their recordings that end below the highest band


@dataclass(frozen=True)
class Finding:
    """A problem; an error would stop extraction or training, or make its result useless."""

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
        aligned = (
            [line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines
        )
        return "\n".join([self.title, *(f"  {'  '.join(cells)}".rstrip() for cells in aligned)])


@dataclass
class DatasetReport:
    """Collects the findings of a family's checks."""

    findings: list[Finding] = field(default_factory=list)
    tables: list[TextTable] = field(default_factory=list)

    def error(self, text: str, names: Sequence[Any] = ()) -> None:
        """Adds an error, with the files or classes concerned."""
        self.findings.append(Finding("error", _sentence(text, names)))

    def warn(self, text: str, names: Sequence[Any] = ()) -> None:
        """Adds a warning about something possibly unintended, with the files or classes."""
        self.findings.append(Finding("warning", _sentence(text, names)))

    def table(self, title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Adds a table; numbers are written as they are."""
        self.tables.append(TextTable(title, header, [[str(cell) for cell in row] for row in rows]))

    @property
    def usable(self) -> bool:
        """True without errors."""
        return all(finding.level != "error" for finding in self.findings)

    def to_text(self) -> str:
        """Returns tables, findings with the errors first, and a summary in one line."""
        ordered = sorted(self.findings, key=lambda finding: finding.level)  # errors first
        found = "\n".join(f"{finding.level}: {finding.text}" for finding in ordered)
        n_errors = sum(finding.level == "error" for finding in ordered)
        verdict = "can be used" if self.usable else "cannot be used as it is"
        counts = f"{n_errors} error(s), {len(ordered) - n_errors} warning(s)"
        summary = f"The dataset {verdict}: {counts}."
        tables = (table.to_text() for table in self.tables)
        return "\n\n".join([*tables, *filter(None, [found]), summary])

    def to_dict(self) -> dict[str, Any]:
        """Returns the same as plain values."""
        return {"usable": self.usable, **asdict(self)}


@dataclass(frozen=True)
class AudioFacts:
    """Facts of a sound file; `clipped` to `checksum` only where it was decoded.

    Attributes:
        path: the file.
        problem: reason why it cannot be used; None if it can.
        sample_rate_hz: rate, 0 with a problem.
        channels: their number, 0 with a problem.
        duration_s: length, 0 with a problem.
        clipped: share of the samples at full scale.
        dead_channels: channels of only zeros, from 0.
        equal_channels: True: there are several channels, all equal.
        checksum: of the samples.
        heard_s: seconds from the first to the last sample within 40 dB of the peak.
        bandwidth_hz: frequency above which a cut-off leaves nothing; half the rate without one.
        notes: oddities of a file that is used nevertheless.
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
    heard_s: float | None = None
    bandwidth_hz: float | None = None
    notes: tuple[Note, ...] = ()

    @property
    def silent(self) -> bool:
        """True if it was decoded and holds only zeros."""
        return 0 < len(self.dead_channels) == self.channels


def examine(paths: Sequence[Path], deep: bool, parallel: ParallelConfig) -> list[AudioFacts]:
    """Reads the headers of sound files, in their order, or with `deep` all samples, in parallel."""
    found = parallel_map(_decoded, paths, parallel) if deep else map(_header_facts, paths)
    by_path = {facts.path: facts for facts in found}
    return [by_path[path] for path in paths]


def _header_facts(path: Path) -> AudioFacts:
    try:
        with collected() as notes:
            header = read_header(path)
    except DataError as error:
        return AudioFacts(path, str(error))
    sizes = header.sample_rate_hz, header.channels, header.duration_s
    return AudioFacts(path, None, *sizes, notes=tuple(notes))


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
        heard_s=_heard_samples(audio) / rate_hz,
        bandwidth_hz=bandwidth_hz(audio[:, 0], rate_hz),
        notes=tuple(notes),
    )


def _heard_samples(audio: np.ndarray) -> int:
    """Samples of (S, C) from the first to the last one that is not silent; 0 of only zeros."""
    level = np.abs(audio).max(axis=1, initial=0)  # (S,)
    loud = np.flatnonzero((level > 0) & (level >= level.max(initial=0) * 10 ** (SILENCE_DB / 20)))
    return int(loud[-1] - loud[0] + 1) if len(loud) else 0


def bandwidth_hz(samples: np.ndarray, rate_hz: int) -> float:
    """Finds the frequency at which a recording was cut off, as by a lower sample rate before.

    Spectra of sounds fall off slowly, filters of codecs and resamplers within some 100 Hz. So a
    cut-off is a fall of the mean spectrum by 25 dB within 500 Hz, above which it stays as low.

    Args:
        samples: float (S,).
        rate_hz: sample rate.

    Returns:
        The frequency, in hertz; half the sample rate without a cut-off.
    """
    n_bins = max(round(rate_hz / _BIN_HZ), 2)
    n_frames = len(samples) // n_bins
    if not n_frames or not np.any(samples):
        return rate_hz / 2
    frames = samples[: n_frames * n_bins].reshape(n_frames, n_bins) * np.hanning(n_bins)
    power = np.mean(np.abs(np.fft.rfft(frames, axis=1)) ** 2, axis=0)  # (F,)
    level_db = 10 * np.log10(np.maximum(power, power.max() * 1e-12))
    highest_from = np.maximum.accumulate(level_db[::-1])[::-1]  # of this bin and all above
    step = round(_FALL_HZ / _BIN_HZ)
    falls = level_db[:-step] - highest_from[step:] >= _FALL_DB
    # Bins that leakage of the window fills are part of the fall, not its edge.
    before = np.lib.stride_tricks.sliding_window_view(np.pad(level_db, (step, 0), "edge"), step + 1)
    falls &= level_db[:-step] >= before.max(axis=1)[:-step] - _FALL_DB / 2
    # The first bins are those of a direct current, which ends steeply, too.
    edges = np.flatnonzero(falls & (np.arange(len(falls)) * _BIN_HZ >= _LOWEST_EDGE_HZ))
    return float((edges[-1] + 1) * rate_hz / n_bins) if len(edges) else rate_hz / 2


def check_isolated(
    report: DatasetReport,
    title: str,
    sounds: Sequence[tuple[AudioFacts, int]],
    length_s: float,
    remedy: str,
) -> None:
    """Warns where most of the labelled recordings to train on are isolated sounds.

    They have one event, and are heard for less than half the length of a scene: silence at their
    ends does not count where they were decoded.

    Args:
        report: receives the finding.
        title: name of the recordings, e.g. "weak".
        sounds: facts of each, and its number of events, or of classes.
        length_s: of the scenes that the task learns from, in seconds.
        remedy: advice for the user.
    """
    usable = [(each, number) for each, number in sounds if not each.problem and not each.silent]
    heard = [
        each.duration_s if each.heard_s is None else each.heard_s
        for each, number in usable
        if number == 1
    ]
    short = [seconds for seconds in heard if seconds < length_s / 2]
    if 2 * len(short) > len(usable):
        report.warn(
            f"{title}: {len(short)} of {len(usable)} labelled recordings are isolated sounds, one"
            f" event each and a median of {np.median(short):.2g} s, for scenes of {length_s:g} s."
            f" A detector that learns from them finds little in scenes. {remedy}"
        )


def check_bandwidths(
    report: DatasetReport, sounds: Mapping[str, Sequence[AudioFacts]], highest_hz: float | None
) -> None:
    """Warns where recordings of some classes end below the bands of the features, others not.

    Args:
        report: receives the finding.
        sounds: by class, the facts of its recordings.
        highest_hz: upper edge of the highest band of the features; None: unknown.
    """
    if highest_hz is None:
        return
    ends: dict[str, list[float]] = {}
    for name, members in sounds.items():
        known = (each for each in members if not each.problem and not each.silent)
        found = [each.bandwidth_hz or each.sample_rate_hz / 2 for each in known]
        if found:
            ends[name] = found
    low = {name: [hz for hz in of if hz < _REACHED * highest_hz] for name, of in ends.items()}
    shares = [len(low[name]) / len(ends[name]) for name in ends]
    if not shares or max(shares) - min(shares) < _DIFFERENT_SHARES:
        return
    counts = [
        f"{name} {len(low[name])} of {len(of)}"
        + (f" (median {np.median(low[name]):.0f} Hz)" if low[name] else "")
        for name, of in ends.items()
    ]
    report.warn(
        f"Classes differ in bandwidth, so that a network can tell them by it. Recordings that end"
        f" below the highest band of the features, {highest_hz:g} Hz: {', '.join(counts)}. Lower"
        " `features.fmax_hz`, or record all classes alike."
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
    """Reports problems of sound files, and a table of their lengths.

    Args:
        report: receives the findings.
        facts: of the files, from `examine`.
        title: name of the files, e.g. "dev".
        sample_rate_hz: rate they must have; None: any.
        channels: number of channels they must have; None: any.
        duration_s: length they should have, in seconds; None: any.
        silence_is_refused: True: files of only zeros are errors.
        skips_unreadable: True: unreadable files are left out, only a warning.
    """
    broken = [each for each in facts if each.problem]
    if broken:
        add = report.warn if skips_unreadable else report.error
        text = f"{title}: {len(broken)} file(s) cannot be read. {broken[0].problem} All of them:"
        add(text, _names(broken))
    sound = [each for each in facts if not each.problem]
    if not sound:
        return
    wanted_sizes = ("sample_rate_hz", sample_rate_hz, " Hz"), ("channels", channels, " channels")
    for what, wanted, unit in wanted_sizes:
        others = [each for each in sound if wanted is not None and getattr(each, what) != wanted]
        if others:
            received = ", ".join(map(str, sorted({getattr(each, what) for each in others})))
            text = f"do not have {wanted}{unit}, as in `dataset.{what}`, but {received}"
            report.error(f"{title}: {len(others)} file(s) {text}:", _names(others))
    _check_lengths(report, sound, title, duration_s)
    for line in summaries(remark for each in sound for remark in each.notes):
        report.warn(f"{title}: {line}")
    silent = [each for each in sound if each.silent]
    if silent:
        add = report.error if silence_is_refused else report.warn
        add(f"{title}: {len(silent)} file(s) are silent, only zeros:", _names(silent))
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
    for what, remedy, off in (
        ("shorter than", "the rest is padded", lengths < duration_s - tolerance_s),
        ("longer than", "the rest is cut off", lengths > duration_s + tolerance_s),
    ):
        names = [each.path.name for each, is_off in zip(sound, off, strict=True) if is_off]
        if names:
            text = f"{len(names)} file(s) are {what} {duration_s:g} s, {remedy}"
            report.warn(f"{title}: {text}:", names)


def _check_samples(report: DatasetReport, sound: Sequence[AudioFacts], title: str) -> None:
    """Reports problems of decoded files that are not silent."""
    clipped = f"are clipped, more than {100 * _CLIPPED_SHARE:g} % of their samples at full scale"
    for what, chosen in (
        ("have a channel without sound", [each for each in sound if each.dead_channels]),
        ("have equal channels", [each for each in sound if each.equal_channels]),
        (clipped, [each for each in sound if each.clipped > _CLIPPED_SHARE]),
    ):
        if chosen:
            report.warn(f"{title}: {len(chosen)} file(s) {what}:", _names(chosen))


def check_copies(report: DatasetReport, groups: Mapping[str, Sequence[AudioFacts]]) -> None:
    """Reports recordings of equal content in different groups, except silence."""
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
        text = "recording(s) are in two parts of the data, so scores would be too good"
        report.error(f"{len(copies)} {text}:", copies)


def check_divided(report: DatasetReport, title: str, facts: Sequence[AudioFacts]) -> None:
    """Warns of recordings of equal content in a part of the data that is divided file by file."""
    seen: dict[int, Path] = {}
    copies = []
    for each in facts:
        if each.checksum is not None and not each.silent:
            earlier = seen.setdefault(each.checksum, each.path)
            if earlier != each.path:
                copies.append(f"{each.path.name} = {earlier.name}")
    if copies:
        report.warn(
            f"{title}: {len(copies)} recording(s) are copies of others, and a part of them is drawn"
            " to validate on: scores may be too good. Remove them, or give both one group in the"
            " column group:",
            copies,
        )


def check_classes(
    report: DatasetReport,
    classes: Sequence[str],
    groups: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
) -> None:
    """Tables events and seconds of each class in each group; reports classes absent from a group.

    Args:
        report: receives table and findings.
        classes: the class list, K names.
        groups: by name, the number of events of each class, int (K,), and their total length in
            seconds, (K,), None where unknown.
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
            text = f"{len(absent)} class(es), which cannot be learned or scored there"
            report.warn(f"{group}: no event of {text}:", absent)


def report_groups(
    report: DatasetReport, classes: Sequence[str], parts: Mapping[str, Sequence[SourceGroup]]
) -> None:
    """Tables the number of groups (sources) of each class, and of all, in each part of the data."""
    rows = [
        [name, *(sum(name in group.counts for group in groups) for groups in parts.values())]
        for name in classes
    ]
    rows.append(["all", *map(len, parts.values())])
    report.table("groups of one source each", ("class", *parts), rows)


def report_sources(
    report: DatasetReport,
    sources: Callable[[], Mapping[tuple[str, str], tuple[int, int]]],
    simulated: bool,
) -> None:
    """Tables the own recordings of a simulation by split, or reports why they are refused.

    Args:
        report: receives table or finding.
        sources: returns for each class and split the number of groups and of files.
        simulated: True: the dataset exists already, so that a refusal is only a warning.
    """
    try:
        dealt = sources()
    except (ConfigError, DataError) as error:
        (report.warn if simulated else report.error)(f"`simulation.source_dir`: {error}")
        return
    splits = list(dict.fromkeys(split for _, split in dealt))
    cells = {key: f"{n_groups} / {n_files}" for key, (n_groups, n_files) in dealt.items()}
    classes = dict.fromkeys(name for name, _ in dealt)
    rows = [[name, *(cells[name, split] for split in splits)] for name in classes]
    report.table("own recordings of the simulation: groups / files", ("class", *splits), rows)


def count_classes(
    class_index: np.ndarray, duration_s: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Counts the events of each class, int (K,), and adds up their seconds, (K,)."""
    index = np.asarray(class_index, np.int64)
    seconds = np.bincount(index, duration_s, minlength=n_classes)
    return np.bincount(index, minlength=n_classes), seconds


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
    """Returns the maximum number of simultaneous events; offsets are exclusive."""
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
    shown = [str(name).removesuffix(".") for name in names[:_SHOWN]]  # some are sentences
    return f"{text} {', '.join(shown)}{more}."
