"""Layouts of the published datasets of DCASE task 3, 2019 to 2025, and of listed own recordings.

A layout is where the files of a dataset lie, how they are named and how their metadata is written;
the reader of datasets and the simulator follow the same table.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from common.errors import DataError
from seld.recording_list import LIST_NAME, Attributes

LayoutName = Literal[
    "tau2019", "tau2020", "tau2021", "starss2022", "starss2023", "starss2024", "stereo2025", "list"
]
SETS = ("dev", "eval")
EVALUATION_SPLIT = 0  # split of a recording of the evaluation set whose name has none

TAU2019_CLASSES = (
    "knock", "drawer", "clearthroat", "phone", "keysDrop", "speech", "keyboard", "pageturn",
    "cough", "doorslam", "laughter",
)  # fmt: skip
NIGENS2020_CLASSES = (
    "alarm", "baby", "crash", "dog", "engine", "female_scream", "female_speech", "fire",
    "footsteps", "knock", "male_scream", "male_speech", "phone", "piano",
)  # fmt: skip
# Engine and fire became interferers, sounds without a label.
NIGENS2021_INTERFERERS = ("engine", "fire")
NIGENS2021_CLASSES = tuple(
    name for name in NIGENS2020_CLASSES if name not in NIGENS2021_INTERFERERS
)
STARSS_CLASSES = (
    "female_speech", "male_speech", "clapping", "telephone", "laughter", "domestic_sounds",
    "footsteps", "door", "music", "musical_instrument", "water_tap", "bell", "knock",
)  # fmt: skip


class Splits(NamedTuple):
    """Splits of one fold of cross-validation.

    Attributes:
        train: numbers of the training splits.
        validate_on: splits that choose the model.
        test: splits that are scored.
    """

    train: tuple[int, ...]
    validate_on: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Folders, names and facts of one published dataset.

    Attributes:
        name: of the layout in the settings.
        title: name of the real dataset.
        classes: event classes in the order of their numbers.
        folds: splits of the development set as published.
        metadata_format: format of its metadata files, see `seld.recordings.csv_formats`; None:
            events with onset and offset, see `seld.dataset`.
        submission_format: format of the files that its scorer reads; None: see
            `seld.submission`.
        formats: audio formats; each has folders such as `foa_dev`.
        sample_rate_hz: sample rate.
        label_hop_s: hop length of the labels in seconds; those of 2019 are onsets and offsets.
        recording_s: length of every recording; None: any.
        subfolders: by split, folder below `foa_dev` and `metadata_dev`; none: files lie flat.
        sites: last parts of the subfolders' names, one for each place of recording; none: without.
        interferers: kinds of sounds from a direction that have no label.
        n_published: number of published recordings by split, where it is known.
        evaluation_subfolder: folder below `foa_eval` and `metadata_eval`; empty: files lie flat.
        name_template: name of a development recording from split, room, number and overlap.
        evaluation_template: name of an evaluation recording from its number.
        name_pattern: regular expression of development names, with groups split, room, overlap.
    """

    name: LayoutName
    title: str
    classes: tuple[str, ...]
    folds: tuple[Splits, ...]
    metadata_format: str | None
    submission_format: str | None
    formats: tuple[str, ...] = ("foa", "mic")
    sample_rate_hz: int = 24000
    label_hop_s: float = 0.1
    recording_s: float | None = 60.0
    subfolders: Mapping[int, str] = field(default_factory=dict)
    sites: tuple[str, ...] = ()
    interferers: tuple[str, ...] = ()
    n_published: Mapping[int, int] = field(default_factory=dict)
    evaluation_subfolder: str = ""
    name_template: str = "fold{split}_room{room}_mix{number:03d}"
    evaluation_template: str = "mix{number:03d}"
    name_pattern: str = (
        r"fold(?P<split>[0-9]+)_room(?P<room>[0-9]+)(?:_mix[0-9]+)?(?:_ov(?P<overlap>[0-9]+))?"
        r"(?:_.*)?"
    )

    @property
    def splits(self) -> tuple[int, ...]:
        """Numbers of all splits of the development set."""
        parts = (part for fold in self.folds for part in fold)
        return tuple(sorted({split for part in parts for split in part}))

    @property
    def has_distance(self) -> bool:
        """True if the metadata has the distance of each source."""
        return self.name not in ("tau2020", "tau2021", "starss2022")

    @property
    def has_subfolders(self) -> bool:
        """True if recordings lie in folders such as foa_dev/dev-train."""
        return bool(self.subfolders)

    @property
    def is_framewise(self) -> bool:
        """True if the metadata has a row for each source and label frame, not for each event."""
        return self.metadata_format is not None

    def file_folder(self, kind: str, set_name: str, split: int, site: int = 0) -> Path:
        """Folder of a recording's file below the dataset, e.g. foa_dev/dev-train-sony.

        Args:
            kind: an audio format, or "metadata".
            set_name: dev or eval.
            split: number of the split.
            site: number of the place of recording, an index into `sites`, wrapped around.
        """
        folder = Path(f"{kind}_{set_name}")
        if set_name == "eval":
            return folder / self.evaluation_subfolder
        if split not in self.subfolders:
            return folder
        ends = [self.sites[site % len(self.sites)]] if self._has_sites(split) else []
        return folder / "-".join([self.subfolders[split], *ends])

    def _has_sites(self, split: int) -> bool:
        return bool(self.sites) and not self.subfolders[split].endswith("synth")

    def file_folders(
        self, kind: str, set_name: str, splits: Iterable[int] | None = None
    ) -> list[Path]:
        """Lists the folders of a kind of files below the dataset; splits None: of all."""
        sites = range(max(len(self.sites), 1))
        wanted = self.splits if splits is None else set(splits) & set(self.splits)
        every = [
            self.file_folder(kind, set_name, split, site) for split in wanted for site in sites
        ]
        return sorted(set(every))

    def recording_name(self, split: int, room: int, number: int, overlap: int) -> str:
        """Name of a development recording, without suffix."""
        return self.name_template.format(split=split, room=room, number=number, overlap=overlap)

    def evaluation_name(self, number: int) -> str:
        """Name of an evaluation recording, without suffix."""
        return self.evaluation_template.format(number=number)

    @cached_property
    def _name(self) -> re.Pattern[str]:
        return re.compile(self.name_pattern)

    def parse_name(self, name: str, set_name: str = "dev") -> Attributes:
        """Reads split, room and overlap from a recording's name.

        Args:
            name: file name without suffix.
            set_name: "dev"; "eval": a name without them, such as mix001, is of split 0.

        Raises:
            DataError: a development recording's name lacks split or room.
        """
        match = self._name.fullmatch(name)
        if match:
            overlap = match["overlap"]
            return Attributes(
                int(match["split"]), int(match["room"]), None if overlap is None else int(overlap)
            )
        if set_name == "eval":
            split = re.match(r"(?:split|fold)([0-9]+)_", name)
            return Attributes(int(split[1]) if split else EVALUATION_SPLIT, None, None)
        form = re.sub(r"\{[^}]*\}", "<number>", self.name_template)
        example = self.recording_name(1, 0, 11, 2)
        raise DataError(
            f"The name of the development recording {name!r} has not split and room. Expected:"
            f" {form}, e.g. {example}, in the layout {self.name}. Rename the file and its"
            " counterpart in the metadata folder, move it out of the dataset, set `dataset.layout`"
            f" to that of the recordings, or list all of them in {LIST_NAME}."
        )


_STARSS_FOLDERS: Mapping[int, str] = {
    1: "dev-train-synth",
    2: "dev-train-synth",
    3: "dev-train",
    4: "dev-test",
}
_SITES = ("tau", "sony")
# Folds 1 and 2 are the synthetic recordings published beside the real ones.
_STARSS_FOLDS = (Splits((1, 2, 3), (4,), (4,)),)


def _starss(year: int, name: LayoutName, real: int) -> Layout:
    return Layout(
        name,
        f"Sony-TAu Realistic Spatial Soundscapes {real} (STARSS{real % 100}), DCASE {year}",
        STARSS_CLASSES,
        _STARSS_FOLDS,
        metadata_format=f"metadata{year}",
        submission_format=f"submission{year}",
        recording_s=None,
        n_published={3: 67, 4: 54} if real == 2022 else {},
        subfolders=_STARSS_FOLDERS,
        sites=_SITES,
    )


_LAYOUTS = (
    Layout(
        "tau2019",
        "TAU Spatial Sound Events 2019",
        TAU2019_CLASSES,
        (
            Splits((3, 4), (2,), (1,)),
            Splits((4, 1), (3,), (2,)),
            Splits((1, 2), (4,), (3,)),
            Splits((2, 3), (1,), (4,)),
        ),
        metadata_format=None,
        submission_format=None,
        sample_rate_hz=48000,
        label_hop_s=0.02,
        n_published=dict.fromkeys((1, 2, 3, 4, EVALUATION_SPLIT), 100),
        name_template="split{split}_ir{room}_ov{overlap}_{number}",
        evaluation_template="split0_{number}",
        name_pattern=(r"split(?P<split>[0-9]+)_ir(?P<room>[0-9]+)_ov(?P<overlap>[0-9]+)(?:_.*)?"),
    ),
    Layout(
        "tau2020",
        "TAU-NIGENS Spatial Sound Events 2020",
        NIGENS2020_CLASSES,
        (Splits((3, 4, 5, 6), (2,), (1,)),),
        metadata_format="metadata2020",
        submission_format="submission2020",
        n_published={**dict.fromkeys((1, 2, 3, 4, 5, 6), 100), EVALUATION_SPLIT: 200},
        name_template="fold{split}_room{room}_mix{number:03d}_ov{overlap}",
    ),
    Layout(
        "tau2021",
        "TAU-NIGENS Spatial Sound Events 2021",
        NIGENS2021_CLASSES,
        (Splits((1, 2, 3, 4), (5,), (6,)),),
        metadata_format="metadata2021",
        submission_format="submission2021",
        n_published={**dict.fromkeys((1, 2, 3, 4, 5, 6), 100), EVALUATION_SPLIT: 200},
        subfolders={**dict.fromkeys((1, 2, 3, 4), "dev-train"), 5: "dev-val", 6: "dev-test"},
        interferers=NIGENS2021_INTERFERERS,
        evaluation_subfolder="eval-test",
    ),
    _starss(2022, "starss2022", 2022),
    _starss(2023, "starss2023", 2023),
    _starss(2024, "starss2024", 2023),
    Layout(
        "stereo2025",
        "Stereo SELD dataset of DCASE 2025",
        STARSS_CLASSES,
        (Splits((1, 3), (4,), (4,)),),
        metadata_format="stereo2025",
        submission_format="stereo2025",
        formats=("stereo",),
        recording_s=5.0,
        subfolders={1: "dev-train-synth", 3: "dev-train", 4: "dev-test"},
        sites=_SITES,
    ),
)
LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in _LAYOUTS}
# Own recordings in a `recordings.csv`, whose sources may move: classes and folds are the task's.
LISTED = Layout(
    "list",
    f"own recordings in {LIST_NAME}",
    classes=(),
    folds=(),
    metadata_format="metadata2024",
    submission_format="submission2024",
    formats=("foa", "mic", "stereo"),
    recording_s=None,
)


def layout_named(name: str) -> Layout:
    """Returns a published layout, or that of listed recordings, by its name."""
    return LISTED if name == LISTED.name else LAYOUTS[name]
