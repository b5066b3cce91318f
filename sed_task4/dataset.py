"""Clips of DCASE task 4 in the layouts of its years, and their weak, strong and soft labels."""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from common.audio.formats import FoundSounds, find_sounds, is_sound, list_sounds, shown, stem_of
from common.errors import DataError
from common.events.table import EVENT_COLUMNS
from common.io.files import is_file_name
from common.io.tables import header_of, number_hint, parse_table, read_text, to_number, to_numbers
from common.settings.classes import MappedClasses
from sed_task4.clips.embeddings import EmbeddingPlace, EmbeddingsConfig
from sed_task4.clips.layouts import SUFFIXES, Layout, SubsetPlace, subset_place
from sed_task4.clips.published import CHALLENGE_CLASSES, is_own, is_published
from sed_task4.clips.row_problems import refuse_row
from sed_task4.labels import joined_classes, with_aliases

if TYPE_CHECKING:  # pandas takes a second to import: settings are read without it
    import pandas as pd

logger = logging.getLogger(__name__)

STRONG_COLUMNS = EVENT_COLUMNS
SOFT_COLUMNS = (*STRONG_COLUMNS, "confidence")
WEAK_COLUMNS = ("filename", "event_labels")
NAME_COLUMNS = ("filename",)
GROUP_COLUMN = "group"  # of any table: the source of a clip
LABEL_SEPARATOR = ","  # between the labels of a weakly labelled clip
ALIASES = {"event_onset": "onset", "event_offset": "offset", "file": "filename"}  # of dcase_util
REMOVAL_LIST = "files_to_remove.csv"
_NAMES_SHOWN = 8  # of a list of files in an error

CERTAIN = 0.5  # soft labels above it count as events, as the scorer of 2024 has it


class DatasetConfig(MappedClasses):
    """Clips of a dataset; the defaults are those of DCASE 2019 task 4."""

    layout: Layout = Field("dcase2019", description="Folders and names of metadata files, by year.")
    classes: tuple[str, ...] = Field(
        CHALLENGE_CLASSES, description="Event classes, in the order of the network's outputs."
    )
    sample_rate_hz: int = Field(
        44100, gt=0, description="Sample rate of the features in Hz; recordings are resampled."
    )
    clip_s: float = Field(
        10.0, gt=0, description="Length in seconds; shorter clips are padded, longer ones cut."
    )
    max_clips: int | None = Field(
        None, gt=0, description="Maximum number of clips of each subset, for trials; null: all."
    )
    skip_unreadable: bool = Field(
        False, description="Leave out and list clips that are unreadable."
    )
    strict: bool = Field(
        True,
        description=(
            "Refuse events that end before they begin, or begin after the clip;"
            " false: read them as published annotations are, counted in the log."
        ),
    )
    empty_clips: Literal["kept", "dropped"] = Field(
        "kept",
        description=(
            "Strongly and softly labelled clips without events: kept, so that false alarms in them"
            " count; dropped, as in the baselines since May 2022."
        ),
    )
    merge_overlaps: bool | None = Field(
        None,
        description=(
            "Join overlapping events of one class, counted in the log;"
            " null: in the layouts of 2020 on, whose scorers need that."
        ),
    )

    embeddings: EmbeddingsConfig | None = Field(
        None, description="Frame embeddings of another model, stored with the features; null: none."
    )

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError(f"classes are different names, at least one. Received: {list(value)}.")
        if not all(name and name == name.strip() and not set(name) & {",", "\t"} for name in value):
            raise ValueError(
                f"names of classes have no comma, tab or outer spaces. Received: {list(value)}."
            )
        return value

    @property
    def n_classes(self) -> int:
        """Number of event classes, K."""
        return len(self.classes)

    @property
    def joins_overlaps(self) -> bool:
        """True if overlapping events of one class become one."""
        if self.merge_overlaps is None:
            return self.layout.startswith("desed")
        return self.merge_overlaps


@dataclass(frozen=True)
class Clip:
    """One clip: its file and its labels.

    Attributes:
        name: file name in the metadata; the file itself may have another suffix.
        subset: the part of the dataset that it belongs to, e.g. "weak".
        audio_path: the sound file.
        tags: classes that occur somewhere in it; None: it has no weak labels.
        events: columns onset and offset in seconds and event_label, a row per event, no row:
            silent; with a column confidence in (0, 1] if labels are soft; None: it has no labels
            of frames.
        group: its source, from the column group of its metadata; None: no such column.
        known: classes that its labels are about, others are unknown in it; None: all.
        embeddings: where those of another model are; None: not wanted.
    """

    name: str
    subset: str
    audio_path: Path
    tags: tuple[str, ...] | None
    events: "pd.DataFrame | None" = field(compare=False)
    group: str | None = None
    known: tuple[str, ...] | None = None
    embeddings: EmbeddingPlace | None = None

    @property
    def is_soft(self) -> bool:
        """True if its labels of frames have a confidence."""
        return self.events is not None and "confidence" in self.events


def find_root(dataset_dir: Path) -> Path:
    """Finds the folder with audio/ and metadata/: the given one, or dataset/ in it.

    Raises:
        DataError: neither is there.
    """
    for root in (Path(dataset_dir), Path(dataset_dir) / "dataset"):
        if (root / "metadata").is_dir() or (root / "audio").is_dir():
            return root
    received = "no such folder"
    if Path(dataset_dir).is_dir():
        found = sorted(entry.name for entry in Path(dataset_dir).iterdir())
        received = ", ".join(found[:_NAMES_SHOWN]) or "an empty folder"
    raise DataError(
        f"There is no dataset in {dataset_dir}. Expected: folders metadata/ and audio/, there or in"
        f" dataset/. Received: {received}. Set `dataset_dir` to the dataset, yours or unpacked (see"
        " docs/own-data.md), or write one with `python simulate.py <task-id>`."
    )


def find_metadata(dataset_dir: Path, layout: Layout, subset: str) -> Path | None:
    """Finds the metadata file of a subset, or None.

    The suffix is .tsv or .csv, each with any separator; of both 2018 reads .csv, later years .tsv.
    """
    stems = subset_place(layout, subset).metadata_stems(find_root(dataset_dir))
    paths = (stem.with_name(stem.name + suffix) for stem in stems for suffix in SUFFIXES[layout])
    return next((path for path in paths if path.is_file()), None)


def find_clips(
    dataset_dir: Path, dataset: DatasetConfig, subset: str, notes: list[str] | None = None
) -> tuple[list[Clip], list[str]]:
    """Finds the clips of a subset with their labels.

    Clips of a `files_to_remove.csv` (in the dataset folder, in metadata/ or next to the subset's
    metadata) are left out. Events are cut at the clip's length. A recording may have another suffix
    than its name in the metadata. Clips that are numbered anew in each subset are named after it.
    Windows of softly labelled recordings that no row names are clips without events.

    Args:
        dataset_dir: the dataset, its audio/ and metadata/ in it or in dataset/.
        dataset: layout, classes and length of a clip.
        subset: e.g. "weak", "validation", "test".
        notes: gets a sentence for each kind of change to the data, as the log does.

    Returns:
        The clips with audio, in the order of the metadata; the names of those without.

    Raises:
        ConfigError: the layout has no such subset.
        DataError: metadata are absent or cannot be used, or there is no audio at all.
    """
    place = subset_place(dataset.layout, subset)
    root = find_root(dataset_dir)
    folders = place.audio_folders(root, dataset.sample_rate_hz)
    audio_dir = next(filter(Path.is_dir, folders), root / place.audio)
    metadata = find_metadata(dataset_dir, dataset.layout, subset)
    if metadata is not None:
        names, tags, events = _read_labels(metadata, place, dataset, notes)
    else:
        own = is_own(dataset.classes)
        names, tags, events = _audio_alone(audio_dir, root, place, notes, own)
    groups = parse_groups(_read_text(metadata), str(metadata)) if metadata is not None else {}
    if place.kind in ("strong", "soft"):
        names = _with_empty(names, events, place, dataset, audio_dir, notes)
    listed_in = (root, root / "metadata", *([metadata.parent] if metadata else []))
    wanted = without_removed(names, removed_names(listed_in))
    if len(wanted) < len(names):
        left_out = f"{len(names) - len(wanted)} clips left out"
        logger.info("%s: %s, see %s.", subset, left_out, REMOVAL_LIST)
    sounds = _sounds_in(wanted, [audio_dir, *folders])
    missing = [name for name in wanted if name not in sounds.paths]
    if wanted and not sounds.paths:
        remedy = "Put it there" if is_own(dataset.classes) else "Download the audio"
        raise DataError(
            f"None of the {len(wanted)} clips that {metadata} lists is in {audio_dir}, such as"
            f" {wanted[0]}. {remedy}, or set `dataset_dir` to where it is."
        )
    if sounds.renamed:
        pairs = [f"{file} for {name}" for name, file in sounds.renamed.items()]
        what = f"{len(pairs)} recording(s) have another suffix than in the metadata"
        _note(notes, f"{subset}: {what}: {shown(pairs)}.")
    if missing:
        counts = f"{len(missing)} of {len(wanted)}"
        logger.warning("%s: %s clips have no audio in %s.", subset, counts, audio_dir)
    known = place.known_classes
    clips = [
        Clip(
            place.prefix + name,
            subset,
            path,
            tags.get(name),
            events.get(name),
            groups.get(name),
            None if known is None else tuple(each for each in dataset.classes if each in known),
        )
        for name, path in sounds.paths.items()
    ]
    return clips, missing


def _sounds_in(names: Sequence[str], folders: Sequence[Path]) -> FoundSounds:
    """Finds sound files in the first folder, and those that it lacks in the next ones."""
    paths: dict[str, Path] = {}
    renamed: dict[str, str] = {}
    for folder in dict.fromkeys(folders):
        found = find_sounds([name for name in names if name not in paths], folder)
        paths |= found.paths
        renamed |= found.renamed
    return FoundSounds({name: paths[name] for name in names if name in paths}, renamed)


def _with_empty(
    names: list[str],
    events: "dict[str, pd.DataFrame]",
    place: SubsetPlace,
    dataset: DatasetConfig,
    audio_dir: Path,
    notes: list[str] | None,
) -> list[str]:
    """Adds windows that no row names, or drops all clips without events, by the settings."""
    empty = [name for name in names if name in events and not len(events[name])]
    where = f"{audio_dir}, {place.metadata}"
    if dataset.empty_clips == "dropped":
        if empty:
            _note(notes, f"{where}: {len(empty)} clip(s) without events are dropped.", logging.INFO)
        left_out = frozenset(empty)
        return [name for name in names if name not in left_out]
    if place.kind != "soft" or not audio_dir.is_dir():
        return names
    listed = {stem_of(name) for name in names}
    added = [name for name in list_sounds(audio_dir)[0] if stem_of(name) not in listed]
    if added:
        text = f"{where}: {len(added)} window(s) that no row names are clips without events."
        _note(notes, text, logging.INFO)
        none = _no_events(SOFT_COLUMNS)
        events |= dict.fromkeys(added, none)
    return [*names, *added]


def _no_events(columns: Sequence[str]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({name: [] for name in columns if name != "filename"})


def _note(notes: list[str] | None, text: str, level: int = logging.WARNING) -> None:
    """Logs a sentence and adds it to the notes, if any."""
    logger.log(level, "%s", text)
    if notes is not None:
        notes.append(text)


def _audio_alone(
    audio_dir: Path, root: Path, place: SubsetPlace, notes: list[str] | None, own: bool
) -> "Labels":
    """Lists the recordings of a subset that may lack metadata; `own`: no published classes."""
    if not (place.may_lack_labels or place.kind == "unlabelled") or not audio_dir.is_dir():
        remedy = "Unpack the dataset there, run `python simulate.py <task-id>`,"
        if own:
            columns = WEAK_COLUMNS if place.kind == "weak" else STRONG_COLUMNS
            remedy = (
                f"Write it, with the columns {', '.join(columns)} and the recordings in"
                f" {audio_dir}, name other subsets in `sets`, simulate scenes of isolated sounds"
                " with `python simulate.py <task-id>` (see docs/own-data.md),"
            )
            if place.kind == "unlabelled":
                remedy = f"Put unlabelled recordings into {audio_dir}, name none in `sets`,"
        raise DataError(
            f"There is no metadata file {root / place.metadata}.tsv or .csv. {remedy} or correct"
            " `dataset_dir`."
        )
    names, others = list_sounds(audio_dir)
    unusable = [name for name in names if not is_file_name(name)]
    if unusable:
        raise DataError(
            f"{audio_dir} holds {unusable[0]!r}. Expected: names in UTF-8, without tabs. Rename."
        )
    logger.info("%s has no metadata: its %d clips are used without labels.", audio_dir, len(names))
    if others:
        what = f"{len(others)} file(s) are left out, not of a sound format read here"
        _note(notes, f"{audio_dir}: {what}: {shown(others)}.")
    return names, {}, {}


Labels = tuple[list[str], dict[str, tuple[str, ...]], "dict[str, pd.DataFrame]"]


def _read_labels(
    path: Path, place: SubsetPlace, dataset: DatasetConfig, notes: list[str] | None
) -> Labels:
    """Reads names, tags by name and events by name of a subset."""
    text = _read_text(path)
    source, classes = str(path), dataset.labels
    if place.kind == "weak":
        tags = parse_weak(text, classes, source)
        if dataset.is_mapped:
            tags = {name: mapped_tags(given, dataset) for name, given in tags.items()}
        return list(tags), tags, {}
    has_only_names = header_of(text, NAME_COLUMNS) == NAME_COLUMNS
    if place.kind == "unlabelled" or (place.may_lack_labels and has_only_names):
        return parse_names(text, source), {}, {}
    if place.kind == "soft":
        table, names = parse_soft(text, classes, place, dataset.clip_s, source, notes)
        return names, {}, events_by_name(mapped_events(table, dataset, source, notes), names)
    strict = dataset.strict
    table, names = parse_events(text, classes, dataset.clip_s, source, strict=strict, notes=notes)
    table = mapped_events(table, dataset, source, notes)
    if dataset.joins_overlaps:
        table = merged_overlaps(table, source, notes)
    return names, {}, events_by_name(table, names)


def mapped_tags(labels: Sequence[str], dataset: DatasetConfig) -> tuple[str, ...]:
    """Classes of the dataset that annotated ones count as, each once."""
    counted = map(dataset.counted_as, labels)
    return tuple(dict.fromkeys(name for name in counted if name is not None))


def mapped_events(
    events: "pd.DataFrame",
    dataset: DatasetConfig,
    source: str = "the events",
    notes: list[str] | None = None,
) -> "pd.DataFrame":
    """Events with classes of the dataset in `event_label`; the log counts those left out."""
    if not dataset.is_mapped:
        return events
    counted = {label: dataset.counted_as(label) for label in dataset.labels}
    mapped = events.assign(event_label=events["event_label"].map(counted))
    kept = mapped["event_label"].notna()
    if not kept.all():
        text = f"{(~kept).sum()} event(s) of classes that `dataset.class_map` leaves out"
        _note(notes, f"{source}: {text}.")
    return mapped[kept]


def removed_names(folders: Iterable[Path]) -> set[str]:
    """Names of the clips in the `files_to_remove.csv` of some folders."""
    lists = sorted({folder / REMOVAL_LIST for folder in folders})
    return {name for path in lists if path.is_file() for name in read_names(path)}


def without_removed(names: Sequence[str], removed: Collection[str]) -> list[str]:
    """Leaves out the names that are to be removed, whatever their suffix."""
    known = set(names)
    stems = {stem_of(name) for name in removed if name not in known}
    return [name for name in names if name not in removed and stem_of(name) not in stems]


def read_strong(path: Path, dataset: DatasetConfig) -> "tuple[pd.DataFrame, list[str]]":
    """Reads strong labels as they are in the file, see `parse_strong`."""
    read = _read_text(Path(path))
    table, names = parse_strong(read, dataset.labels, str(path), strict=dataset.strict)
    return mapped_events(table, dataset, str(path)), names


def read_names(path: Path) -> list[str]:
    """Reads the deduplicated names of clips, the column `filename` of a file."""
    return parse_names(_read_text(Path(path)), str(path))


def parse_strong(
    text: str, classes: Sequence[str], source: str = "metadata", *, strict: bool = True
) -> "tuple[pd.DataFrame, list[str]]":
    """Reads the text of a strong metadata file, events as they are there.

    Args:
        text: columns filename, onset, offset, event_label in any order, others are ignored; see
            `common.io.tables` for separators and quotes. A row with only a name is a clip without
            events. Without a header the columns are those of sed_eval: filename, onset, offset,
            event_label, or with a scene label before the onset, or with more after the label.
        classes: the labels that may occur.
        source: origin of the text, for errors.
        strict: refuse events that end before they begin, or begin before the clip; published files,
            see `sed_task4.clips.published`, are read all the same.

    Returns:
        Events with the columns filename, onset, offset (float seconds) and event_label, indexed by
        line, and the deduplicated names of all clips, both in the order of the file.

    Raises:
        DataError: a row cannot be used; names the line.
    """
    table = _parse_table(text, STRONG_COLUMNS, source)
    names = list(dict.fromkeys(table["filename"].tolist()))
    filled = table[["onset", "offset", "event_label"]] != ""
    table = table[filled.any(axis=1)]
    complete = filled.loc[table.index].all(axis=1)
    _check(table, complete, source, "onset, offset and event_label, or none of them")
    numbers = {name: to_numbers(table[name].tolist()) for name in ("onset", "offset")}
    events = table.assign(**numbers)
    usable = events[["onset", "offset"]].notna().all(axis=1)
    _check(table, usable, source, _SECONDS, times=True)
    if strict:
        _check(table, events["onset"].ge(0) & events["offset"].ge(0), source, _SECONDS)
        if not is_published(events, names, classes):
            forward = events["onset"] <= events["offset"]
            _check(table, forward, source, "onset <= offset", remedy=_LENIENT)
    _check_labels(table["event_label"], classes, source)
    return events, names


_SECONDS = "onset and offset in seconds, not negative"
_LENIENT = (
    "Correct the row, or read the file as published ones are, with --set dataset.strict=false"
    " (--no-strict of `python -m sed_task4.score`)."
)


def parse_events(
    text: str,
    classes: Sequence[str],
    clip_s: float,
    source: str = "metadata",
    *,
    strict: bool = True,
    notes: list[str] | None = None,
) -> "tuple[pd.DataFrame, list[str]]":
    """Reads strong labels and cuts them to the clips, for training, runs and score commands.

    Args:
        text: see `parse_strong`, as `classes` and `source`.
        clip_s: length of a clip, seconds.
        strict: see `parse_strong` and `cut_events`.
        notes: gets what was cut, left out or odd, in one sentence; the log has the same.

    Returns:
        Events and names as `parse_strong`.

    Raises:
        DataError: a row cannot be used; names the line.
    """
    events, names = parse_strong(text, classes, source, strict=strict)
    published = is_published(events, names, classes)
    cut = cut_events(events, clip_s, source, strict=strict, published=published, notes=notes)
    return cut, names


def parse_soft(
    text: str,
    classes: Sequence[str],
    place: SubsetPlace,
    clip_s: float,
    source: str = "metadata",
    notes: list[str] | None = None,
) -> "tuple[pd.DataFrame, list[str]]":
    """Reads soft labels: strong ones with a confidence.

    Args:
        text: columns filename, onset, offset, event_label and confidence, see `parse_strong`.
        classes: the class list; rows of other classes of the dataset are left out and counted.
        place: classes of the dataset, and their aliases, which are added if they are in `classes`.
        clip_s: length of a clip, seconds.
        source: origin of the text, for errors.
        notes: gets what was left out or cut; the log has the same.

    Returns:
        Events with a column confidence, those with 0 left out, and names as `parse_strong`.

    Raises:
        DataError: a row cannot be used; names the line.
    """
    aliases = {label: alias for label, alias in (place.aliases or {}).items() if alias in classes}
    known = joined_classes(classes, place.classes or ())
    events, names = parse_strong(text, known, source)
    confidences = _parse_table(text, SOFT_COLUMNS, source)["confidence"].loc[events.index]
    events = events.assign(confidence=to_numbers(confidences.tolist()))
    good = events["confidence"].ge(0) & events["confidence"].le(1)
    _check(events.assign(confidence=confidences), good, source, "a confidence from 0 to 1")
    events = with_aliases(events[events["confidence"] > 0], aliases)
    of_classes = events["event_label"].isin(list(classes))
    if not of_classes.all():
        others = ", ".join(sorted(set(events["event_label"][~of_classes])))
        text = f"{(~of_classes).sum()} label(s) of classes that `dataset.classes` lacks"
        _note(notes, f"{source}: {text} are left out: {others}.")
    return cut_events(events[of_classes], clip_s, source, strict=False, notes=notes), names


def merged_overlaps(
    events: "pd.DataFrame", source: str = "the events", notes: list[str] | None = None
) -> "pd.DataFrame":
    """Joins events of one class in one clip that overlap; the log counts them and names the clips.

    Args:
        events: columns filename, onset, offset and event_label.
        source: origin of the events, for the log.
        notes: gets the line too.

    Returns:
        Events in the order of the first of those that were joined; all others as they were.
    """
    joined = _joined(events, touching=False)
    n_joined = len(events) - len(joined)
    if n_joined:
        counts = (events.groupby("filename").size() - joined.groupby("filename").size()).gt(0)
        clips = sorted(counts.index[counts])
        what = f"{n_joined} event(s) overlap others of their class and are joined with them"
        _note(notes, f"{source}: {what}, in {len(clips)} clip(s): {shown(clips)}.")
    return joined


def _joined(events: "pd.DataFrame", touching: bool) -> "pd.DataFrame":
    """Joins overlapping, and perhaps touching, events of a class in a clip."""
    import pandas as pd

    forward = events["offset"] >= events["onset"]  # others cover no time
    ordered = events[forward].sort_values("onset", kind="stable")
    keys = [ordered["filename"], ordered["event_label"]]
    ends = ordered.groupby(keys, sort=False)["offset"].cummax()
    before = ends.groupby(keys, sort=False).shift()
    apart = ordered["onset"].gt(before) if touching else ordered["onset"].ge(before)
    run = (apart | before.isna()).groupby(keys, sort=False).cumsum()
    runs = [*keys, run]
    offset = ordered.groupby(runs, sort=False)["offset"].transform("max")
    first = ~ordered.assign(run=run).duplicated(["filename", "event_label", "run"])
    kept = ordered.assign(offset=offset)[first]
    place = ordered.assign(place=ordered.index).groupby(runs, sort=False)["place"].transform("min")
    return pd.concat([kept.set_axis(place[first]), events[~forward]]).sort_index(kind="stable")


def certain_events(clip: Clip) -> "pd.DataFrame | None":
    """Events of a clip as they are scored: of soft labels, those above `CERTAIN`, joined in time.

    Returns:
        Columns onset, offset and event_label; None without labels of frames.
    """
    if clip.events is None or not clip.is_soft:
        return clip.events
    certain = clip.events[clip.events["confidence"] > CERTAIN].assign(filename=clip.name)
    columns = ["onset", "offset", "event_label"]
    return _joined(certain.reset_index(drop=True), touching=True)[columns].reset_index(drop=True)


def parse_weak(
    text: str, classes: Sequence[str], source: str = "metadata"
) -> dict[str, tuple[str, ...]]:
    """Reads the text of a weak metadata file.

    Args:
        text: columns filename and event_labels, the labels with commas between them; other columns
            are ignored. Several rows of a clip count together.
        classes: the labels that may occur.
        source: origin of the text, for errors.

    Returns:
        The deduplicated labels of each clip, in the order of the file.

    Raises:
        DataError: a row cannot be used; names the line.
    """
    table = _parse_table(text, WEAK_COLUMNS, source)
    labels = table["event_labels"].str.split(LABEL_SEPARATOR).explode().str.strip()
    labels = labels[labels != ""]
    _check_labels(labels, classes, source)
    tags: dict[str, list[str]] = {name: [] for name in table["filename"]}
    for name, label in zip(table["filename"].loc[labels.index], labels, strict=True):
        tags[name].append(label)
    return {name: tuple(dict.fromkeys(given)) for name, given in tags.items()}


def parse_names(text: str, source: str = "metadata") -> list[str]:
    """Reads deduplicated names of a table with a column `filename`, or of a list without header."""
    return list(dict.fromkeys(_parse_table(text, NAME_COLUMNS, source)["filename"]))


def parse_groups(text: str, source: str = "metadata") -> dict[str, str]:
    """Reads the source of each clip, the column `group` of any metadata file.

    Returns:
        The group of each clip; empty where there is no such column.

    Raises:
        DataError: a clip has no group, or two; names the line.
    """
    if GROUP_COLUMN not in header_of(text, ("filename", GROUP_COLUMN)):
        return {}
    table = _parse_table(text, ("filename", GROUP_COLUMN), source)
    _check(table, table[GROUP_COLUMN] != "", source, "a group, the source of the clip")
    first = table.drop_duplicates("filename").set_index("filename")[GROUP_COLUMN]
    agrees = table[GROUP_COLUMN] == table["filename"].map(first)
    _check(table, agrees, source, "one group for all rows of a clip")
    return {str(name): str(group) for name, group in first.items()}


def _read_text(path: Path) -> str:
    missing = f"There is no metadata file {path}. Unpack the dataset again."
    return read_text(path, missing, "Replace it by the dataset's.")


def _parse_table(text: str, columns: Sequence[str], source: str) -> "pd.DataFrame":
    """Reads some columns of a table as stripped text; the index is the line in the file."""
    import pandas as pd

    names = tuple(columns)
    headerless = {STRONG_COLUMNS: _event_list, NAME_COLUMNS: _name_list}.get(names)
    options: dict[str, Any] = {"headerless": headerless, "hint": _other_kind}
    read = parse_table(text, columns, source, pad=True, aliases=ALIASES, **options)
    lines = pd.Index(read.lines, dtype=int)
    table = pd.DataFrame(read.columns, index=lines, columns=list(columns), dtype=str)
    named = pd.Series(list(map(is_file_name, read.columns["filename"])), index=lines, dtype=bool)
    _check(table, named, source, "the name of a file without folders in the column filename")
    return table


def _event_list(fields: Sequence[str]) -> tuple[str, ...] | None:
    """Columns of a row of an event list without a header, as in sed_eval; None if it is none."""
    numeric = [to_number(field) is not None for field in fields]
    if len(fields) < 4 or not is_file_name(fields[0]) or numeric[0]:
        return None
    rest = ("",) * (len(fields) - 4)
    if numeric[1:4] == [True, True, False]:
        return (*STRONG_COLUMNS, *rest)
    if len(fields) > 4 and numeric[1:5] == [False, True, True, False]:
        return ("filename", "", *STRONG_COLUMNS[1:], *rest[1:])
    return None


def _name_list(fields: Sequence[str]) -> tuple[str, ...] | None:
    """Columns of a row of a list of recordings without a header; None if it is none."""
    return NAME_COLUMNS if fields and is_sound(fields[0]) and not any(fields[1:]) else None


def _other_kind(header: Sequence[str]) -> str | None:
    """Describes the labels of a header, if they are weak or strong."""
    if "event_labels" in header:
        return "These are weak labels (classes of clips), where strong ones (times) are expected."
    if "onset" in header:
        return "These are strong labels (times), where weak ones (classes of clips) are expected."
    return None


def _check(
    table: "pd.DataFrame",
    good: "pd.Series",
    source: str,
    expected: str,
    *,
    remedy: str = "Correct the row.",
    times: bool = False,
) -> None:
    """Refuses rows that are not good; `times`: hints at the format of their numbers."""
    for line in good.index[~good]:
        row = table.loc[line]
        received = ", ".join(f"{name} {str(value)[:80]!r}" for name, value in row.items())
        hint = number_hint(row["onset"], row["offset"]) if times else ""
        start = f"{source}, line {line}: expected {expected}."
        refuse_row(source, line, f"{start} Received: {received}.{hint} {remedy}")


def _check_labels(labels: "pd.Series", classes: Sequence[str], source: str) -> None:
    for line, name in labels[~labels.isin(list(classes))].items():
        whole = [part.strip() for part in name.split(LABEL_SEPARATOR)]
        remedy = "Correct the row, or add the class to `dataset.classes`."
        if len(whole) > 1 and set(whole) <= set(classes):
            remedy = "A row of strong labels has one class: write a row for each."
        elif set(name) & set("\"'") and name.strip("\"'") in classes:
            remedy = "Correct the quotes of the row: a field has them around it, both or none."
        problem = (
            f"{source}, line {line}: unknown class {name[:80]!r}. Expected: one of"
            f" {', '.join(classes)}. {remedy}"
        )
        refuse_row(source, int(str(line)), problem)


def cut_events(
    events: "pd.DataFrame",
    clip_s: float,
    source: str = "the events",
    *,
    strict: bool = True,
    published: bool = False,
    notes: list[str] | None = None,
) -> "pd.DataFrame":
    """Cuts events to the clips; one line of the log counts those cut, left out or odd.

    Args:
        events: from `parse_strong`.
        clip_s: length of a clip, seconds.
        source: origin of the events, for the log and errors.
        strict: refuse events that begin after the clip; else they are left out.
        published: True if the file is of a challenge: a few such events are left out in any case.
        notes: gets the line too.

    Returns:
        Events within [0, clip_s]. One that ends before it begins stays as it is: no frame is
        active, and it is scored as in sed_eval.

    Raises:
        DataError: an event begins at or after the end of the clip; names its line.
    """
    late = events["onset"] >= clip_s
    if late.any() and strict and not (published and late.mean() < _FEW):
        line, onset_s = events.index[late][0], events["onset"][late].iloc[0]
        raise DataError(
            f"{source}, line {line}: the event begins at {onset_s:g} s, at or after the end of the"
            f" clip, as do {late.sum()} of {len(events)} event(s). Expected: onset and offset in"
            f" seconds, onset below {clip_s:g} s. Write seconds (not milliseconds or samples), set"
            " `dataset.clip_s` (--clip-s) to the length of the clips, or leave such events out"
            " with --set dataset.strict=false (--no-strict)."
        )
    before = events["offset"].lt(0) | (events["onset"].lt(0) & events["offset"].le(0))
    late_end, early_onset = events["offset"] > clip_s, events["onset"] < 0
    backward = events["offset"] < events["onset"]
    counts = {
        f"end after the clip, cut at {clip_s:g} s": late_end & ~late,
        "begin after it, left out": late,
        "begin before it, cut at 0 s": early_onset & ~before,
        "lie before it, left out": before,
        "end before they begin, scored as in sed_eval, active in no frame": backward & ~late,
    }
    odd = [f"{chosen.sum()} event(s) {what}" for what, chosen in counts.items() if chosen.any()]
    if odd:
        _note(notes, f"{source}: {'; '.join(odd)}.", logging.INFO)
    kept = events[~late & ~before]
    onset, offset = kept["onset"].clip(lower=0), kept["offset"].clip(upper=clip_s)
    return kept.assign(onset=onset, offset=offset).reset_index(drop=True)


_FEW = 0.1  # share of events beyond the clips from which a published file is in other units


def events_by_name(events: "pd.DataFrame", names: Iterable[str]) -> "dict[str, pd.DataFrame]":
    """Splits the events of a set by clip; a clip without events gets a table without rows."""
    columns = [name for name in SOFT_COLUMNS[1:] if name in events]
    ordered = events.sort_values("filename", kind="stable")  # slices take half the time of groups
    owners, body = ordered["filename"].tolist(), ordered[columns]
    starts = [row for row, name in enumerate(owners) if row == 0 or name != owners[row - 1]]
    split = {
        str(owners[start]): body.iloc[start:stop].set_axis(range(stop - start))
        for start, stop in zip(starts, [*starts[1:], len(owners)][: len(starts)], strict=True)
    }
    empty = events.loc[events.index[:0], columns]
    return {name: split.get(name, empty) for name in names}


def check_disjoint(training: Iterable[str], validation: Iterable[str]) -> None:
    """Refuses clips that are both in the training and in the validation data.

    Raises:
        DataError: names them.
    """
    shared = sorted(set(training) & set(validation))
    if shared:
        more = f" and {len(shared) - _NAMES_SHOWN} more" if len(shared) > _NAMES_SHOWN else ""
        raise DataError(
            f"{len(shared)} clip(s) are in the training and in the validation data:"
            f" {', '.join(shared[:_NAMES_SHOWN])}{more}. Remove them from one of the two."
        )


def warn_absent_classes(clips: Iterable[Clip], classes: Sequence[str], where: str) -> list[str]:
    """Logs and returns the classes of which no labelled clip has a positive example.

    Args:
        clips: unlabelled ones do not count.
        classes: the class list; those that no labelled clip's annotators listened for do not count.
        where: use of the clips, e.g. "training".
    """
    labelled = [clip for clip in clips if clip.tags is not None or clip.events is not None]
    seen = {label for clip in labelled for label in labels_of(clip)}
    wanted = {name for clip in labelled for name in (classes if clip.known is None else clip.known)}
    absent = [name for name in classes if name in wanted and name not in seen]
    if labelled and absent:
        logger.warning(
            f"No clip of the {where} data has an event of {', '.join(absent)}: these classes cannot"
            " be learned or scored there."
        )
    return absent if labelled else []


def labels_of(clip: Clip) -> Collection[str]:
    """Lists the classes of a clip, from its weak or else its strong labels."""
    if clip.tags is not None:
        return clip.tags
    return tuple(dict.fromkeys(clip.events["event_label"])) if clip.events is not None else ()
