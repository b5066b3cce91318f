"""Score files: the scores of each clip as a table of frames, one file a clip.

Columns are onset and offset of a frame in seconds, then one for each class; frames follow each
other without a gap. These are the files of sed_scores_eval, which the baselines since 2022 write:
any system's folder can be scored here, and ours there.
"""

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.audio.formats import shown, stem_of
from common.errors import DataError
from common.events.postprocess import regions
from common.io.files import write_text
from common.io.tables import SEPARATORS, header_of, parse_table, read_text, to_number

logger = logging.getLogger(__name__)

SCORES = "scores"  # folder next to the events of a stage
TIMES = ("onset", "offset")
_SLACK_S = 1e-6  # frames this close to each other touch
_REMEDY = "Write the scores again, one row a frame, each from the end of the one before."


@dataclass(frozen=True)
class ClipScores:
    """Scores of one clip.

    Attributes:
        edges_s: (T + 1,), edges of the frames in seconds.
        scores: (T, K), in the order of the classes.
    """

    edges_s: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True)
class ScoreFolder:
    """Scores of the clips of a set.

    Attributes:
        names: clips of the set that have a file, in the order of the set.
        clips: their scores.
        notes: what was left out, a sentence each.
    """

    names: tuple[str, ...]
    clips: tuple[ClipScores, ...]
    notes: tuple[str, ...]


def clip_edges(n_frames: int, hop_s: float, clip_s: float) -> np.ndarray:
    """Returns the edges of regular frames that end with their clip, (n_frames + 1,), in seconds."""
    return np.minimum(np.arange(n_frames + 1) * hop_s, clip_s)


def format_scores(clip: ClipScores, classes: Sequence[str]) -> str:
    """Formats a score file, numbers unrounded.

    Raises:
        ValueError: edges, scores and classes do not fit.
    """
    edges_s = np.asarray(clip.edges_s, np.float64)
    scores = np.asarray(clip.scores, np.float64)
    if scores.shape != (len(edges_s) - 1, len(classes)):
        raise ValueError(
            f"Expected: scores ({len(edges_s) - 1}, {len(classes)}) for {len(edges_s)} edges and"
            f" {len(classes)} classes. Received: {scores.shape}."
        )
    lines = ["\t".join([*TIMES, *classes])]
    times = zip(edges_s[:-1].tolist(), edges_s[1:].tolist(), strict=True)
    for (onset, offset), row in zip(times, scores.tolist(), strict=True):
        lines.append("\t".join(map(repr, (onset, offset, *row))))
    return "\n".join([*lines, ""])


def write_score_files(
    folder: Path, names: Sequence[str], clips: Sequence[ClipScores], classes: Sequence[str]
) -> None:
    """Writes `a.tsv` for each clip `a.wav`; frames of no length are left out.

    Raises:
        DataError: a file cannot be written, or two clips differ in their suffix only.
    """
    stems = [stem_of(name) for name in names]
    if len(set(stems)) < len(stems):
        twice = sorted({stem for stem in stems if stems.count(stem) > 1})
        raise DataError(
            f"{len(twice)} clips have the same name but for the suffix: {shown(twice)}. Their score"
            " files would be one. Rename them."
        )
    for stem, clip in zip(stems, clips, strict=True):
        lasting = np.diff(clip.edges_s) > 0
        edges_s = np.concatenate([clip.edges_s[:1], clip.edges_s[1:][lasting]])
        text = format_scores(ClipScores(edges_s, clip.scores[lasting]), classes)
        write_text(Path(folder) / f"{stem}.tsv", text)


def is_score_folder(folder: Path) -> bool:
    """True for a folder whose tables have onset, offset and further columns but no label."""
    if not Path(folder).is_dir():
        return False
    first = next(iter(sorted(Path(folder).glob("*.tsv"))), None)
    if first is None:
        return False
    header = header_of(_text_of(first), TIMES)
    named = {name.casefold() for name in header}
    return header[:2] == TIMES and not named & {"label", "event_label", "filename"}


def parse_scores(
    text: str, classes: Sequence[str], source: str = "scores"
) -> tuple[ClipScores, tuple[str, ...]]:
    """Reads a score file.

    Args:
        text: the table.
        classes: the columns to take, in their order.
        source: origin of the table, for errors.

    Returns:
        The scores, and the names of other columns, which are left out.

    Raises:
        DataError: a column is missing, a value is no number, or frames overlap or leave a gap;
            names file and line.
    """
    header = header_of(text, (*TIMES, *classes))
    missing = [name for name in classes if name not in header]
    if header[:2] != TIMES or missing:
        expected = "onset, offset and a column for each class"
        problem = "it begins with other columns" if header[:2] != TIMES else "classes are missing"
        raise DataError(
            f"{source}: {problem}. Expected: {expected}: {', '.join(classes)}. Received:"
            f" {', '.join(header)[:300] or 'nothing'}. Missing: {', '.join(missing) or 'none'}."
            " Correct the header, or name the classes with --classes."
        )
    values, lines = _numbers(text, (*TIMES, *classes), source)
    if not len(values):
        raise DataError(f"{source} has no frame. {_REMEDY}")
    onset_s, offset_s = values[:, 0], values[:, 1]
    _check_frames(onset_s, offset_s, lines, source)
    edges_s = np.append(onset_s, offset_s[-1])
    others = tuple(name for name in header[2:] if name not in classes)
    return ClipScores(edges_s, values[:, 2:]), others


def _numbers(text: str, columns: Sequence[str], source: str) -> tuple[np.ndarray, Sequence[int]]:
    """Values of some columns (T, n), and the line of each row."""
    quick = _quick_numbers(text, columns)
    if quick is not None:
        return quick, range(2, len(quick) + 2)
    table = parse_table(text, columns, source)
    values = np.empty((len(table), len(columns)))
    for row, (line, fields) in enumerate(table.rows()):
        for column, name in enumerate(columns):
            number = to_number(fields[name])
            if number is None and column >= 2 and fields[name].strip().lower() == "-inf":
                number = -np.inf  # no threshold gives an event
            if number is None:
                raise DataError(
                    f"{source}, line {line}, column {name}: expected a number. Received:"
                    f" {fields[name][:80]!r}. {_REMEDY}"
                )
            values[row, column] = number
    return values, table.lines


def _quick_numbers(text: str, columns: Sequence[str]) -> np.ndarray | None:
    """Values of a plain table of numbers, minus infinity among them; None for any other."""
    first, _, body = text.partition("\n")
    separator = max(SEPARATORS, key=first.count)
    names = [name.strip() for name in first.split(separator)]
    if not set(columns) <= set(names) or not body or "\n\n" in body or body[0] in "\r\n":
        return None
    try:
        values = np.loadtxt(
            io.StringIO(body),
            delimiter=separator,
            usecols=[names.index(name) for name in columns],
            comments=None,
            ndmin=2,
        )
    except ValueError:
        return None
    usable = np.isfinite(values[:, :2]).all() and (values < np.inf).all()
    return values if usable else None


def _check_frames(
    onset_s: np.ndarray, offset_s: np.ndarray, lines: Sequence[int], source: str
) -> None:
    """Raises DataError unless frames last and follow each other."""
    short = np.flatnonzero(~(offset_s > onset_s))
    if len(short):
        row = int(short[0])
        raise DataError(
            f"{source}, line {lines[row]}: a frame from {onset_s[row]:g} to {offset_s[row]:g} s has"
            f" no length. {_REMEDY}"
        )
    if onset_s[0] < 0:
        raise DataError(
            f"{source}, line {lines[0]}: the first frame begins at {onset_s[0]:g} s, before the"
            f" clip. {_REMEDY}"
        )
    steps = onset_s[1:] - offset_s[:-1]
    apart = np.flatnonzero(np.abs(steps) > _SLACK_S)
    if len(apart):
        row = int(apart[0]) + 1
        what = "overlaps the one before" if steps[row - 1] < 0 else "leaves a gap"
        raise DataError(
            f"{source}, line {lines[row]}: the frame {what}. Expected: an onset of"
            f" {offset_s[row - 1]:g} s. Received: {onset_s[row]:g} s. {len(apart)} frame(s) do."
            f" {_REMEDY}"
        )


def read_score_folder(
    folder: Path, names: Sequence[str], classes: Sequence[str], *, ignore_unknown: bool = False
) -> ScoreFolder:
    """Reads the score files of a set; clips without a file are left out and counted.

    Args:
        folder: of the files.
        names: the clips; `a.wav` has `a.tsv`.
        classes: columns to take.
        ignore_unknown: leave out files of other clips; otherwise they are an error.

    Raises:
        DataError: no clip has a file, or a file cannot be used.
    """
    folder = Path(folder)
    paths = {path.stem: path for path in sorted(folder.glob("*.tsv")) if path.name[0] != "."}
    wanted = {name: stem_of(name) for name in names}
    found = {name: paths[stem] for name, stem in wanted.items() if stem in paths}
    if not found:
        raise DataError(
            f"{folder} has no score file of any of the {len(names)} clips, e.g."
            f" {next(iter(wanted.values()), 'clip')}.tsv. Give the folder that holds them."
        )
    notes = []
    unknown = sorted(set(paths) - set(wanted.values()))
    if unknown and not ignore_unknown:
        raise DataError(
            f"{folder} has {len(unknown)} score file(s) of clips that are not in the reference:"
            f" {shown(unknown)}. --ignore-unknown leaves them out."
        )
    if unknown:
        notes.append(f"{len(unknown)} score file(s) of unknown clips are left out.")
    missing = [name for name in names if name not in found]
    if missing:
        notes.append(
            f"{len(missing)} clip(s) of the reference have no score file and are left out:"
            f" {shown(missing)}."
        )
    clips, others = [], dict[str, None]()
    for path in found.values():
        clip, more = parse_scores(_text_of(path), classes, str(path))
        clips.append(clip)
        others |= dict.fromkeys(more)
    if others:
        notes.append(f"{len(others)} column(s) of other classes are left out: {shown([*others])}.")
    for note in notes:
        logger.warning(note)
    return ScoreFolder(tuple(found), tuple(clips), tuple(notes))


def events_above(clip: ClipScores, threshold: float) -> np.ndarray:
    """Returns the events of scores above a threshold, (n, 3) = class_index, onset_s, offset_s.

    Raises:
        ValueError: the threshold is not in [0, 1].
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"Expected: a threshold from 0 to 1. Received: {threshold}.")
    found = regions(clip.scores > threshold)
    times_s = clip.edges_s[found[:, 1:]]
    return np.column_stack([found[:, 0], times_s]).astype(np.float64)


def clip_tags(clip: ClipScores) -> np.ndarray:
    """Returns the highest score of each class, (K,); 0 where it is minus infinity throughout."""
    highest = clip.scores.max(axis=0, initial=-np.inf)
    return np.where(np.isneginf(highest), 0.0, highest)


def _text_of(path: Path) -> str:
    return read_text(path, f"There is no {path}.", _REMEDY)
