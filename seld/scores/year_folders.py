"""Two folders of csv files, predictions and metadata of any two years, become score tables.

`python -m seld.score PRED REF --scorer dcase2024` is the command. File names such as
`fold4_room23_mix001.csv` hold fold and room.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from common.errors import DataError
from seld.dataset import list_files
from seld.metrics.years import YearRules, year_rules
from seld.recording_list import has_list, read_list
from seld.recordings.csv_formats import read_rows
from seld.recordings.frames import frames_in_recording
from seld.recordings.lengths import seconds_of, sounds_of
from seld.recordings.rows import no_rows
from seld.scores.location_score import LocationRecording, LocationReport, layout_of, location_report

logger = logging.getLogger(__name__)

Place = tuple[int | None, int | None, int | None]  # fold, room, overlap

_FOLD_AND_ROOM = re.compile(r"fold(\d{1,9})_room(\d{1,9})(?!\d)", re.ASCII)
_OVERLAP = re.compile(r"_ov(\d{1,9})(?!\d)", re.ASCII)
LABEL_HOP_S = 0.1


def score_year_folder(
    estimate_dir: Path,
    reference_dir: Path,
    scorer: str | YearRules,
    *,
    formats: tuple[str | None, str | None] = (None, None),
    classes: Sequence[str] | int | None = None,
    splits: Iterable[int] | None = None,
    ignore_missing: bool = False,
    intervals: bool = False,
) -> LocationReport:
    """Scores a folder of csv files against another, each of any year.

    Args:
        estimate_dir: one csv per recording, in the folder or folders in it.
        reference_dir: metadata of the same names, or a dataset with a `recordings.csv`. Lengths
            are read from sounds in the same folder, or in `foa_dev`, `mic_dev` or `stereo_dev` next
            to `metadata_dev`.
        scorer: name of `seld.metrics.years.YEARS`, or rules.
        formats: of estimates and of references, names of `seld.recordings.csv_formats.FORMATS`;
            None: those of the scorer's year.
        classes: their names, or how many there are; None: those of the year.
        splits: score these folds only; None: all.
        ignore_missing: leave recordings without an estimate out, as the official scorers do;
            otherwise they count as silence.
        intervals: jackknife over recordings.

    Raises:
        ConfigError: unknown scorer or format.
        DataError: a folder is missing or empty, there are estimates without metadata, or a line
            cannot be used.
    """
    rules = year_rules(scorer)
    declared = [given or usual for given, usual in zip(formats, formats_of(rules), strict=True)]
    if classes is None:
        # Files in a format of another year may have other classes.
        named = layout_of(rules).classes
        classes = named if formats[1] is None else len(named)
    n_classes = classes if isinstance(classes, int) else len(classes)
    recordings, notes = read_year_folder(
        Path(estimate_dir),
        Path(reference_dir),
        declared,
        n_classes,
        splits=splits,
        ignore_missing=ignore_missing,
    )
    return location_report(recordings, rules, classes, intervals=intervals, notes=notes)


def formats_of(rules: YearRules) -> tuple[str, str]:
    """Names of the formats of estimates and references of a scorer's year."""
    layout = layout_of(rules)
    return str(layout.submission_format), str(layout.metadata_format)


def read_year_folder(
    estimate_dir: Path,
    reference_dir: Path,
    formats: Sequence[str],
    n_classes: int,
    *,
    splits: Iterable[int] | None = None,
    ignore_missing: bool = False,
) -> tuple[list[LocationRecording], list[str]]:
    """Reads the folders of `score_year_folder`; returns recordings and notes on missing files."""
    estimates = _csv_files(estimate_dir, "predictions")
    references, places = _references(reference_dir)
    if splits is not None:
        wanted = set(splits)
        unwanted = {name for name, place in places.items() if place[0] not in wanted}
        # Estimates of other folds are left out; those without metadata stay, an error.
        estimates, references = (
            {name: path for name, path in files.items() if name not in unwanted}
            for files in (estimates, references)
        )
    _check_files(estimates, references, estimate_dir, places)
    missing = {name: path for name, path in references.items() if name not in estimates}
    notes = _notes_on_missing(list(missing.values()), ignore_missing)
    sounds = sounds_of(reference_dir, references, below=True)
    recordings = []
    for name, path in references.items():
        if name in missing and ignore_missing:
            continue
        reference, estimate = read_rows(path, formats[1], n_classes), no_rows()
        if name in estimates:
            estimate = read_rows(estimates[name], formats[0], n_classes)
        length_s = seconds_of(sounds.get(name))
        n_frames = None if length_s is None else frames_in_recording(length_s, LABEL_HOP_S)
        recordings.append(LocationRecording(name, *places[name], reference, estimate, n_frames))
    return recordings, notes


def _references(folder: Path) -> tuple[dict[str, Path], dict[str, Place]]:
    """Metadata file and place of each recording, from `recordings.csv` or the file names."""
    if has_list(folder):
        listed = read_list(folder)
        files = {each.name: path for each in listed if (path := each.metadata_path) is not None}
        return files, {each.name: each.attributes for each in listed if each.name in files}
    files = _csv_files(folder, "metadata files")
    return files, {name: parse_year_name(name) for name in files}


def parse_year_name(name: str) -> Place:
    """Returns fold, room and overlap of `fold<f>_room<r>_mix<nnn>[_ov<n>]`; None where unknown."""
    found, overlap = _FOLD_AND_ROOM.match(name), _OVERLAP.search(name)
    if not found:
        return None, None, None
    return int(found[1]), int(found[2]), None if overlap is None else int(overlap[1])


def _csv_files(folder: Path, what: str) -> dict[str, Path]:
    """Files of a folder and of those in it by name, as the sets of 2022 to 2025 are laid out."""
    found = sorted(folder.rglob("*")) if folder.is_dir() else None
    paths = [path for path in found or [] if path.suffix.lower() == ".csv" and path.is_file()]
    files: dict[str, Path] = {}
    for path in paths:
        if not path.name.startswith(".") and files.setdefault(path.stem, path) != path:
            raise DataError(
                f"{path} and {files[path.stem]} have the same name. Expected: one of the {what} for"
                " each recording. Move one away."
            )
    if not files:
        received = "no such folder" if found is None else "no .csv file in it"
        raise DataError(
            f"{folder}: expected a folder of {what}, one .csv per recording. Received: {received}."
            " The order is predictions first, then metadata."
        )
    return files


def _check_files(
    estimates: Mapping[str, Path],
    references: Mapping[str, Path],
    estimate_dir: Path,
    places: Mapping[str, Place],
) -> None:
    if not references:
        known = sorted({place[0] for place in places.values() if place[0] is not None})
        raise DataError(
            "No metadata of the splits asked for. There are:"
            f" {', '.join(map(str, known)) or 'only names without a fold'}."
        )
    if extra := [path for name, path in estimates.items() if name not in references]:
        raise DataError(
            f"{estimate_dir} does not fit the metadata. Without metadata: {list_files(extra)}. Move"
            " them away or add their metadata."
        )
    if not estimates:
        raise DataError(
            f"{estimate_dir} has no prediction for any recording asked for. Expected: at least one"
            " of them. Predict them first."
        )


def _notes_on_missing(missing: Sequence[Path], ignore_missing: bool) -> list[str]:
    if not missing:
        return []
    done = "left out" if ignore_missing else "counted as silence"
    text = f"Without predictions, {done}: {list_files(missing)}."
    logger.warning("%s", text)
    return [text]
