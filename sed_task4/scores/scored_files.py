"""Event files of a system and of the ground truth, prepared for scoring as in a run.

A run leaves out the clips of `files_to_remove.csv` and those without a recording, and cuts events
to the clips; so do the commands that score its files.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.audio.formats import shown, stem_of
from common.errors import DataError
from sed_task4 import dataset as data
from sed_task4.dataset import REMOVAL_LIST
from sed_task4.labels import event_array
from sed_task4.scores.score_files import ClipScores, read_score_folder
from sed_task4.submission import CLIPS, read_predictions, read_submission, read_text_of

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredFiles:
    """Clips of a test set with their events.

    Attributes:
        names: file names of the clips.
        reference: true events of each clip, (n, 3) = class_index, onset_s, offset_s.
        estimate: those of the system.
        notes: what was left out, cut or renamed, a sentence each.
    """

    names: list[str]
    reference: list[np.ndarray]
    estimate: list[np.ndarray]
    notes: tuple[str, ...]


def read_pair(
    estimated: Path,
    reference: Path,
    classes: Sequence[str],
    clip_s: float,
    *,
    ignore_unknown: bool = False,
    strict: bool = True,
) -> ScoredFiles:
    """Reads estimate and reference; see `sed_task4.score.score_files` for the arguments.

    Raises:
        DataError: a file cannot be read, or estimates are of files that are not in the reference.
    """
    notes: list[str] = []
    text, source = read_text_of(reference), str(reference)
    truth, names = data.parse_events(text, classes, clip_s, source, strict=strict, notes=notes)
    guess, guessed, predicted = _read_estimate(estimated, names, classes, clip_s, strict, notes)
    same = _same_but_for_suffix(guessed, names, notes)
    guess = guess.assign(filename=guess["filename"].map(lambda name: same.get(name, name)))
    guessed = [same.get(name, name) for name in guessed]
    unknown = [name for name in guessed if name not in set(names)]
    if unknown and not ignore_unknown:
        raise DataError(
            f"{estimated} has events of {len(unknown)} file(s) that are not in {reference}, e.g."
            f" {', '.join(unknown[:3])}. The order is estimate first, then reference;"
            " --ignore-unknown leaves them out."
        )
    scored = _scored_names(names, reference, predicted, notes)
    silent = len(set(scored) - set(guessed)) if predicted is None else 0
    if silent:
        notes.append(f"{silent} clip(s) without an estimate count as silent.")
    notes.append("clip F is of the classes of the events: an event file has no tag probabilities.")
    clips = (data.events_by_name(events, scored).values() for events in (truth, guess))
    parts = [[event_array(rows, classes) for rows in each] for each in clips]
    return ScoredFiles(scored, parts[0], parts[1], tuple(notes))


def read_score_pair(
    folder: Path,
    reference: Path,
    classes: Sequence[str],
    clip_s: float,
    *,
    ignore_unknown: bool = False,
    strict: bool = True,
) -> tuple[ScoredFiles, list[ClipScores]]:
    """Reads a folder of score files, and the reference; see `sed_task4.score.score_files`.

    Returns:
        Clips and true events, with no estimated ones; and the scores of the clips.

    Raises:
        DataError: a file cannot be read, or scores are of clips that are not in the reference.
    """
    notes: list[str] = []
    text, source = read_text_of(reference), str(reference)
    truth, names = data.parse_events(text, classes, clip_s, source, strict=strict, notes=notes)
    found = read_score_folder(folder, names, classes, ignore_unknown=ignore_unknown)
    clips = dict(zip(found.names, found.clips, strict=True))
    scored = [name for name in _scored_names(names, reference, None, notes) if name in clips]
    rows = data.events_by_name(truth, scored).values()
    events = [event_array(each, classes) for each in rows]
    silent = [np.zeros((0, 3))] * len(scored)
    pair = ScoredFiles(scored, events, silent, (*notes, *found.notes))
    return pair, [clips[name] for name in scored]


def _read_estimate(
    path: Path,
    names: Sequence[str],
    classes: Sequence[str],
    clip_s: float,
    strict: bool,
    notes: list[str],
) -> "tuple[pd.DataFrame, list[str], list[str] | None]":
    """Events within the clips, clips with events, and predicted clips (None: unknown)."""
    if path.is_dir():
        events, guessed = read_predictions(path, names, classes, strict=strict)
        predicted: list[str] | None = guessed
    else:
        events, guessed = read_submission(path, classes, strict=strict)
        listed = path.with_name(CLIPS)
        predicted = data.read_names(listed) if listed.is_file() else None
    events = data.cut_events(events, clip_s, str(path), strict=strict, notes=notes)
    return events, guessed, predicted


def _same_but_for_suffix(
    guessed: Sequence[str], names: Sequence[str], notes: list[str]
) -> dict[str, str]:
    """Reference names by those of the estimate, where only the suffix differs: other formats."""
    known, given = set(names), set(guessed)
    stems = {stem_of(name): name for name in names if name not in given}
    others = {name: stem_of(name) for name in guessed if name not in known}
    same = {name: stems[stem] for name, stem in others.items() if stem in stems}
    if same:
        pairs = shown([f"{name} for {other}" for name, other in same.items()])
        notes.append(f"{len(same)} file(s) have another suffix than in the reference: {pairs}.")
    return same


def _scored_names(
    names: Sequence[str], reference: Path, predicted: Collection[str] | None, notes: list[str]
) -> list[str]:
    """The clips that a run scores: those predicted, without the removed ones."""
    parent = reference.resolve().parent
    metadata = (folder for folder in (parent, *parent.parents) if folder.name == "metadata")
    root = next((folder.parent for folder in metadata), parent)
    removed = data.removed_names({parent, root, root / "metadata"})
    scored = data.without_removed(names, removed)
    if len(scored) < len(names):
        notes.append(f"{len(names) - len(scored)} clip(s) are left out, see {REMOVAL_LIST}.")
    if predicted is None:
        return scored
    stems = {stem_of(name) for name in predicted}
    kept = [name for name in scored if stem_of(name) in stems]
    if len(kept) < len(scored):
        missing = f"{len(scored) - len(kept)} clip(s) of the reference"
        notes.append(f"{missing} were not predicted and are left out.")
    return kept
