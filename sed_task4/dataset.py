"""The clips of DCASE task 4 in the layouts of 2018 and 2019, and the weak and strong labels in their metadata."""

import io
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from common.errors import ConfigError, DataError
from common.files import is_file_name
from common.section import Section

if TYPE_CHECKING:  # pandas takes a second to import: settings are read without it
    import pandas as pd

logger = logging.getLogger(__name__)

STRONG_COLUMNS = ("filename", "onset", "offset", "event_label")
WEAK_COLUMNS = ("filename", "event_labels")
NAME_COLUMNS = ("filename",)
GROUP_COLUMN = "group"  # of any table: the source that a clip comes from
LABEL_SEPARATOR = ","  # between the labels of a weakly labelled clip
REMOVAL_LIST = "files_to_remove.csv"
_NAMES_SHOWN = 8  # of a list of files in an error

Layout = Literal["dcase2019", "dcase2018"]
Kind = Literal["weak", "strong", "unlabelled"]


class DatasetConfig(Section):
    """What the clips of a dataset are like; the defaults are those of DCASE 2019 task 4."""

    layout: Layout = Field("dcase2019", description="Folders and names of the metadata files, by the year.")
    classes: tuple[str, ...] = Field(
        (
            "Alarm_bell_ringing", "Blender", "Cat", "Dishes", "Dog",
            "Electric_shaver_toothbrush", "Frying", "Running_water", "Speech", "Vacuum_cleaner",
        ),
        description="Event classes, in the order of the network's outputs.",
    )  # fmt: skip
    sample_rate_hz: int = Field(44100, gt=0, description="Rate of the features; recordings of any rate are resampled.")
    clip_s: float = Field(10.0, gt=0, description="Length of a clip; shorter ones are padded, longer ones are cut.")
    max_clips: int | None = Field(None, gt=0, description="First clips of each subset alone, to try things; null: all.")
    skip_unreadable: bool = Field(False, description="Leave out clips that cannot be read, and list them.")

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError(f"classes are different names, at least one. Received: {list(value)}.")
        if any(LABEL_SEPARATOR in name or "\t" in name or name != name.strip() or not name for name in value):
            raise ValueError(
                f"names of classes hold no comma and no tab and begin and end without spaces. Received: {list(value)}."
            )
        return value

    @property
    def n_classes(self) -> int:
        """Number of event classes, K."""
        return len(self.classes)


@dataclass(frozen=True)
class Clip:
    """One clip, where it is and what is known of its content.

    Attributes:
        name: file name, with .wav.
        subset: the part of the dataset that it belongs to, e.g. "weak".
        audio_path: the sound file.
        tags: classes that occur somewhere in it; None: it has no weak labels.
        events: columns onset and offset in seconds and event_label, a row per event; without a row: nothing happens
            in it; None: it has no strong labels.
        group: the source it comes from, as the column group of its metadata says; None: there is no such column.
    """

    name: str
    subset: str
    audio_path: Path
    tags: tuple[str, ...] | None
    events: "pd.DataFrame | None" = field(compare=False)
    group: str | None = None


@dataclass(frozen=True)
class SubsetPlace:
    """Where a part of the dataset lies below the dataset folder, and which labels it has.

    Attributes:
        metadata: metadata file without suffix.
        audio: folder of the sound files.
        kind: the labels in its metadata.
        may_lack_labels: whether its metadata may be absent or hold names alone, as before results are published.
    """

    metadata: str
    audio: str
    kind: Kind
    may_lack_labels: bool = False


LAYOUTS: Mapping[Layout, Mapping[str, SubsetPlace]] = {
    "dcase2019": {
        "weak": SubsetPlace("metadata/train/weak", "audio/train/weak", "weak"),
        "unlabel_in_domain": SubsetPlace(
            "metadata/train/unlabel_in_domain", "audio/train/unlabel_in_domain", "unlabelled"
        ),
        "synthetic": SubsetPlace("metadata/train/synthetic", "audio/train/synthetic", "strong"),
        "validation": SubsetPlace("metadata/validation/validation", "audio/validation", "strong"),
        "test_dcase2018": SubsetPlace("metadata/validation/test_dcase2018", "audio/validation", "strong"),
        "eval_dcase2018": SubsetPlace("metadata/validation/eval_dcase2018", "audio/validation", "strong"),
        "eval": SubsetPlace("metadata/eval/public", "audio/eval/public", "strong", may_lack_labels=True),
    },
    "dcase2018": {
        "weak": SubsetPlace("metadata/train/weak", "audio/train/weak", "weak"),
        "unlabel_in_domain": SubsetPlace(
            "metadata/train/unlabel_in_domain", "audio/train/unlabel_in_domain", "unlabelled"
        ),
        "unlabel_out_of_domain": SubsetPlace(
            "metadata/train/unlabel_out_of_domain", "audio/train/unlabel_out_of_domain", "unlabelled"
        ),
        "test": SubsetPlace("metadata/test/test", "audio/test", "strong"),
        "eval": SubsetPlace("metadata/eval/eval", "audio/eval", "strong", may_lack_labels=True),
    },
}
SUFFIXES: Mapping[Layout, tuple[str, str]] = {"dcase2019": (".tsv", ".csv"), "dcase2018": (".csv", ".tsv")}


def subset_place(layout: Layout, subset: str) -> SubsetPlace:
    """Says where a subset lies.

    Raises:
        ConfigError: the layout has no such subset.
    """
    if subset not in LAYOUTS[layout]:
        raise ConfigError(
            f"There is no subset {subset!r} in the layout {layout}. Expected: one of {', '.join(LAYOUTS[layout])}."
        )
    return LAYOUTS[layout][subset]


def find_root(dataset_dir: Path) -> Path:
    """Finds the folder with audio/ and metadata/: the given one, or dataset/ in it as the baselines have it.

    Raises:
        DataError: neither is there.
    """
    for root in (Path(dataset_dir), Path(dataset_dir) / "dataset"):
        if (root / "metadata").is_dir() or (root / "audio").is_dir():
            return root
    found = sorted(entry.name for entry in Path(dataset_dir).iterdir()) if Path(dataset_dir).is_dir() else None
    received = "no such folder" if found is None else (", ".join(found[:_NAMES_SHOWN]) or "an empty folder")
    raise DataError(
        f"There is no dataset in {dataset_dir}. Expected: folders metadata/ and audio/, there or in dataset/. "
        f"Received: {received}. Set `dataset_dir` to the unpacked dataset, or write one with "
        "`python simulate.py <task-id>`."
    )


def find_metadata(dataset_dir: Path, layout: Layout, subset: str) -> Path | None:
    """Finds the metadata file of a subset, .tsv or .csv (tab-separated both); None if there is none.

    Where both are there, 2019 reads .tsv and 2018 .csv.
    """
    stem = find_root(dataset_dir) / subset_place(layout, subset).metadata
    paths = (stem.with_name(stem.name + suffix) for suffix in SUFFIXES[layout])
    return next((path for path in paths if path.is_file()), None)


def find_clips(dataset_dir: Path, dataset: DatasetConfig, subset: str) -> tuple[list[Clip], list[str]]:
    """Finds the clips of a subset with their labels.

    Clips that a `files_to_remove.csv` lists (in the dataset folder, in metadata/ or beside the subset's metadata) are
    left out. Events are cut at the length of a clip.

    Args:
        dataset_dir: the dataset, its audio/ and metadata/ in it or in dataset/.
        dataset: layout, classes and length of a clip.
        subset: e.g. "weak", "validation", "test".

    Returns:
        The clips whose audio is there, in the order of the metadata; the names of those whose audio is not.

    Raises:
        ConfigError: the layout has no such subset.
        DataError: metadata are absent or cannot be used, or no audio is there at all.
    """
    place = subset_place(dataset.layout, subset)
    root = find_root(dataset_dir)
    audio_dir = root / place.audio
    metadata = find_metadata(dataset_dir, dataset.layout, subset)
    if metadata is not None:
        names, tags, events = _read_labels(metadata, place, dataset)
    else:
        names, tags, events = _audio_alone(audio_dir, root, place)
    groups = parse_groups(_read_text(metadata), str(metadata)) if metadata is not None else {}
    removed = _removed_names(root, metadata)
    wanted = [name for name in names if name not in removed]
    if len(wanted) < len(names):
        logger.info("%s: %d clips left out, as %s says.", subset, len(names) - len(wanted), REMOVAL_LIST)
    present = {path.name for path in audio_dir.iterdir()} if audio_dir.is_dir() else set()
    missing = [name for name in wanted if name not in present]
    if wanted and len(missing) == len(wanted):
        raise DataError(
            f"None of the {len(wanted)} clips that {metadata} lists is in {audio_dir}, such as {wanted[0]}. "
            "Download the audio, or set `dataset_dir` to where it is."
        )
    if missing:
        logger.warning("%s: %d of %d clips have no audio in %s.", subset, len(missing), len(wanted), audio_dir)
    lacking = set(missing)
    clips = [
        Clip(name, subset, audio_dir / name, tags.get(name), events.get(name), groups.get(name))
        for name in wanted
        if name not in lacking
    ]
    return clips, missing


def _audio_alone(audio_dir: Path, root: Path, place: SubsetPlace) -> "Labels":
    """Lists the recordings of a subset without metadata, where that may be."""
    if not (place.may_lack_labels or place.kind == "unlabelled") or not audio_dir.is_dir():
        raise DataError(
            f"There is no metadata file {root / place.metadata}.tsv or .csv. Unpack the dataset there, write one with "
            "`python simulate.py <task-id>`, or set `dataset_dir` to where it is."
        )
    names = sorted(path.name for path in audio_dir.iterdir() if path.suffix.lower() == ".wav" and path.name[0] != ".")
    unusable = [name for name in names if not is_file_name(name)]
    if unusable:
        raise DataError(f"{audio_dir} holds {unusable[0]!r}. Expected: names of text in UTF-8, without tabs. Rename.")
    logger.info("%s has no metadata: its %d clips are used without labels.", audio_dir, len(names))
    return names, {}, {}


Labels = tuple[list[str], dict[str, tuple[str, ...]], "dict[str, pd.DataFrame]"]


def _read_labels(path: Path, place: SubsetPlace, dataset: DatasetConfig) -> Labels:
    """Reads names, tags by name and events by name of a subset."""
    text = _read_text(path)
    if place.kind == "weak":
        tags = parse_weak(text, dataset.classes, str(path))
        return list(tags), tags, {}
    has_names_alone = tuple(text.split("\n", 1)[0].split()) == NAME_COLUMNS
    if place.kind == "unlabelled" or (place.may_lack_labels and has_names_alone):
        return parse_names(text, str(path)), {}, {}
    table, names = parse_strong(text, dataset.classes, str(path))
    return names, {}, events_by_name(cut_events(table, dataset.clip_s, str(path)), names)


def _removed_names(root: Path, metadata: Path | None) -> set[str]:
    folders = {root, root / "metadata", *([metadata.parent] if metadata else [])}
    lists = sorted(folder / REMOVAL_LIST for folder in folders if (folder / REMOVAL_LIST).is_file())
    return {name for path in lists for name in read_names(path)}


def read_strong(path: Path, dataset: DatasetConfig) -> "tuple[pd.DataFrame, list[str]]":
    """Reads strong labels as they stand in the file, see `parse_strong`."""
    return parse_strong(_read_text(Path(path)), dataset.classes, str(path))


def read_weak(path: Path, dataset: DatasetConfig) -> dict[str, tuple[str, ...]]:
    """Reads weak labels, see `parse_weak`."""
    return parse_weak(_read_text(Path(path)), dataset.classes, str(path))


def read_names(path: Path) -> list[str]:
    """Reads the names of clips, each once, from a file with a column `filename`; others are ignored."""
    return parse_names(_read_text(Path(path)), str(path))


def parse_strong(text: str, classes: Sequence[str], source: str = "metadata") -> "tuple[pd.DataFrame, list[str]]":
    """Reads the text of a strong metadata file.

    Args:
        text: tab-separated columns filename, onset, offset, event_label in any order, others are ignored. A row with
            a name alone is a clip without events.
        classes: the labels that may occur.
        source: what errors name as origin.

    Returns:
        Events with the columns filename, onset, offset (float seconds) and event_label in the order of the file, and
        the names of all clips in the order in which they first appear.

    Raises:
        DataError: a row cannot be used; names the line.
    """
    import pandas as pd

    table = _parse_table(text, STRONG_COLUMNS, source)
    names = list(dict.fromkeys(table["filename"]))
    filled = table[["onset", "offset", "event_label"]] != ""
    table = table[filled.any(axis=1)]
    _check(table, filled.loc[table.index].all(axis=1), source, "onset, offset and event_label, or none of them")
    times = table[["onset", "offset"]].apply(pd.to_numeric, errors="coerce")
    usable = times.ge(0).all(axis=1) & times.lt(float("inf")).all(axis=1)
    _check(table, usable, source, "onset and offset in seconds, not negative")
    _check(table, times["onset"] <= times["offset"], source, "onset <= offset")
    _check_labels(table["event_label"], classes, source)
    events = table.assign(onset=times["onset"].astype(float), offset=times["offset"].astype(float))
    return events.reset_index(drop=True), names


def parse_weak(text: str, classes: Sequence[str], source: str = "metadata") -> dict[str, tuple[str, ...]]:
    """Reads the text of a weak metadata file.

    Args:
        text: tab-separated columns filename and event_labels, the labels with commas between them; other columns are
            ignored. Several rows of a clip count together.
        classes: the labels that may occur.
        source: what errors name as origin.

    Returns:
        The labels of each clip, each once, in the order of the file.

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
    """Reads the names of clips, each once, from tab-separated text with a column `filename`."""
    return list(dict.fromkeys(_parse_table(text, NAME_COLUMNS, source)["filename"]))


def parse_groups(text: str, source: str = "metadata") -> dict[str, str]:
    """Reads the source that each clip comes from, the column `group` of any metadata file.

    Returns:
        The group of each clip; empty where there is no such column.

    Raises:
        DataError: a clip has no group, or two; names the line.
    """
    header = [name.strip() for name in text.split("\n", 1)[0].split("\t")]
    if GROUP_COLUMN not in header:
        return {}
    table = _parse_table(text, ("filename", GROUP_COLUMN), source)
    expected = "a group, the source of the clip, in each row; one of its own where a clip stands alone"
    _check(table, table[GROUP_COLUMN] != "", source, expected)
    first = table.drop_duplicates("filename").set_index("filename")[GROUP_COLUMN]
    agrees = table[GROUP_COLUMN] == table["filename"].map(first)
    _check(table, agrees, source, "one group for all rows of a clip")
    return {str(name): str(group) for name, group in first.items()}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(f"There is no metadata file {path}. Unpack the dataset again.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read as text ({type(error).__name__}: {error}). Replace it by the dataset's."
        ) from error


def _parse_table(text: str, columns: Sequence[str], source: str) -> "pd.DataFrame":
    """Reads some columns of a tab-separated table as stripped text; the index is the line in the file."""
    import pandas as pd

    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")  # splitlines also ends lines at rarer characters
    header = [name.strip() for name in lines[0].split("\t")]
    _check_header(header, columns, source)
    too_long = [number for number, line in enumerate(lines, start=1) if line.count("\t") >= len(header)]
    if too_long:
        raise DataError(
            f"{source}, line {too_long[0]}: more fields than the header has columns. Expected: {len(header)}. "
            f"Received: {lines[too_long[0] - 1][:200]!r}. Correct the row."
        )
    body = io.StringIO("\n".join(lines[1:]))
    table = pd.read_csv(
        body, sep="\t", header=None, names=header, dtype=str, keep_default_na=False, skip_blank_lines=False,
        quoting=3, index_col=False,
    ) if len(lines) > 1 else pd.DataFrame({name: pd.Series([], dtype=str) for name in header})  # fmt: skip
    table = table[list(columns)].fillna("").apply(lambda column: column.str.strip())
    table.index += 2
    table = table[(table != "").any(axis=1)]
    named = table["filename"].map(is_file_name).astype(bool)
    _check(table, named, source, "the name of a file without folders in the column filename")
    return table


def _check_header(header: Sequence[str], columns: Sequence[str], source: str) -> None:
    missing = [column for column in columns if column not in header]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if not missing and not repeated:
        return
    if not missing:
        raise DataError(
            f"{source}, line 1: column(s) {', '.join(repeated)[:200]} twice. Remove all but one of each."
        )
    hint = "Put the header back as the first line; columns are separated by tabs."
    if "onset" in missing and "event_labels" in header:
        hint = "These are weak labels (which classes occur) where strong ones (when they occur) are expected."
    if "event_labels" in missing and "onset" in header:
        hint = "These are strong labels (rows of events) where weak ones (a row per clip) are expected."
    raise DataError(
        f"{source}, line 1: missing column(s) {', '.join(missing)}. Expected: {', '.join(columns)}. "
        f"Received: {', '.join(header)[:200]}. {hint}"
    )


def _check(table: "pd.DataFrame", good: "pd.Series", source: str, expected: str) -> None:
    """Refuses the first row that is not good."""
    if not good.all():
        line = good.index[~good][0]
        received = ", ".join(f"{name} {value!r}" for name, value in table.loc[line].items())
        raise DataError(f"{source}, line {line}: expected {expected}. Received: {received}. Correct the row.")


def _check_labels(labels: "pd.Series", classes: Sequence[str], source: str) -> None:
    unknown = labels[~labels.isin(list(classes))]
    if len(unknown):
        raise DataError(
            f"{source}, line {unknown.index[0]}: unknown class {unknown.iloc[0]!r}. Expected: one of "
            f"{', '.join(classes)}. Correct the row, or add the class to `dataset.classes`."
        )


def cut_events(events: "pd.DataFrame", clip_s: float, source: str = "the events") -> "pd.DataFrame":
    """Cuts events at the end of the clips and drops those that begin there or later; the log counts both."""
    late = events["onset"] >= clip_s
    long = (events["offset"] > clip_s) & ~late
    if late.any() or long.any():
        logger.info(
            "%s: %d event(s) end after the clip, cut at %g s; %d begin after it, left out.",
            source, long.sum(), clip_s, late.sum(),
        )  # fmt: skip
    kept = events[~late]
    return kept.assign(offset=kept["offset"].clip(upper=clip_s)).reset_index(drop=True)


def events_by_name(events: "pd.DataFrame", names: Iterable[str]) -> "dict[str, pd.DataFrame]":
    """Splits the events of a set by clip; a clip without events gets a table without rows."""
    columns = ["onset", "offset", "event_label"]
    split = {str(name): group[columns].reset_index(drop=True) for name, group in events.groupby("filename", sort=False)}
    empty = events.loc[events.index[:0], columns]
    return {name: split.get(name, empty) for name in names}


def events_of_clips(clips: Iterable[Clip]) -> "tuple[pd.DataFrame, list[str]]":
    """Joins the events of strongly labelled clips: the table with the column filename, and the names of all of them."""
    import pandas as pd

    labelled = [(clip.name, clip.events) for clip in clips if clip.events is not None]
    parts = [events.assign(filename=name) for name, events in labelled if len(events)]
    columns = {"filename": str, "onset": float, "offset": float, "event_label": str}
    empty = pd.DataFrame({column: pd.Series([], dtype=kind) for column, kind in columns.items()})
    table = pd.concat(parts, ignore_index=True) if parts else empty
    return table[list(STRONG_COLUMNS)], [name for name, _ in labelled]


def check_disjoint(training: Iterable[str], validation: Iterable[str]) -> None:
    """Refuses names of clips that are in training and validation data both.

    Raises:
        DataError: names them.
    """
    shared = sorted(set(training) & set(validation))
    if shared:
        more = f" and {len(shared) - _NAMES_SHOWN} more" if len(shared) > _NAMES_SHOWN else ""
        raise DataError(
            f"{len(shared)} clip(s) are in the training and in the validation data: "
            f"{', '.join(shared[:_NAMES_SHOWN])}{more}. Scores would be too good. Remove them from one of the two."
        )


def warn_absent_classes(clips: Iterable[Clip], classes: Sequence[str], where: str) -> list[str]:
    """Names in the log, and returns, the classes of which no labelled clip has a positive example.

    Args:
        clips: those without any labels do not count.
        classes: the class list.
        where: what the clips are used for, e.g. "training".
    """
    labelled = [clip for clip in clips if clip.tags is not None or clip.events is not None]
    seen = {label for clip in labelled for label in labels_of(clip)}
    absent = [name for name in classes if name not in seen]
    if labelled and absent:
        logger.warning(
            "No clip of the %s data has an event of %s: these classes cannot be learned or scored there.",
            where, ", ".join(absent),
        )  # fmt: skip
    return absent if labelled else []


def labels_of(clip: Clip) -> Collection[str]:
    """Lists the classes that occur in a clip, from its weak or else its strong labels; none if it has neither."""
    if clip.tags is not None:
        return clip.tags
    return tuple(dict.fromkeys(clip.events["event_label"])) if clip.events is not None else ()
