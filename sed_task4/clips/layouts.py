"""Layouts of the datasets of DCASE task 4, 2018 to 2024: folders, metadata files, kinds of labels.

2019 to 2024 is DESED: recordings of AudioSet (weakly labelled, unlabelled, validation and public
evaluation; strongly labelled since 2022) and synthetic soundscapes, which are numbered anew in each
subset. 2024 adds MAESTRO Real, softly labelled, in windows of ten seconds, every second for
training and every five for testing; its classes are its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import ConfigError
from sed_task4.clips.published import CHALLENGE_CLASSES
from sed_task4.labels import MAESTRO_TO_DESED

Layout = Literal["dcase2019", "dcase2018", "desed2020", "desed2021", "desed2024"]
Kind = Literal["weak", "strong", "soft", "unlabelled"]

MAESTRO_CLASSES = (
    "cutlery and dishes",
    "furniture dragging",
    "people talking",
    "children voices",
    "coffee machine",
    "footsteps",
    "large_vehicle",
    "car",
    "brakes_squeaking",
    "cash register beeping",
    "announcement",
    "shopping cart",
    "metro leaving",
    "metro approaching",
    "door opens/closes",
    "wind_blowing",
    "birds_singing",
)
# Those with enough confident labels, which the challenge scores.
MAESTRO_EVALUATED = (
    "cutlery and dishes",
    "people talking",
    "children voices",
    "footsteps",
    "large_vehicle",
    "car",
    "brakes_squeaking",
    "metro leaving",
    "metro approaching",
    "wind_blowing",
    "birds_singing",
)
_RESAMPLED, RESAMPLED_HZ = "_16k", 16000  # folders that the published code resamples into


@dataclass(frozen=True)
class SubsetPlace:
    """Place of a subset below the dataset folder, and its kind of labels.

    Attributes:
        metadata: metadata file without suffix.
        audio: folder of the sound files.
        kind: the labels in its metadata.
        may_lack_labels: True if its metadata may be absent or hold only names, as before results
            are published.
        other_audio: further folders that the sound files may be in.
        also_below: a folder that metadata and audio may also be in, as published.
        prefix: begins the names of its clips, whose files are numbered as those of other subsets.
        classes: classes that its annotators listened for; None: all.
        aliases: other names of some classes, under which their events count once more.
    """

    metadata: str
    audio: str
    kind: Kind
    may_lack_labels: bool = False
    other_audio: tuple[str, ...] = ()
    also_below: str = ""
    prefix: str = ""
    classes: tuple[str, ...] | None = None
    aliases: Mapping[str, str] | None = None

    @property
    def known_classes(self) -> tuple[str, ...] | None:
        """Classes whose labels are known, those of aliases included; None: all."""
        if self.classes is None:
            return None
        return tuple(dict.fromkeys([*self.classes, *(self.aliases or {}).values()]))

    def metadata_stems(self, root: Path) -> list[Path]:
        """Places of the metadata file, without suffix, below the folder of audio/."""
        return [base / self.metadata for base in self._bases(root)]

    def audio_folders(self, root: Path, sample_rate_hz: int) -> list[Path]:
        """Places of the sound files, best first: at 16 kHz, folders that hold resampled ones.

        Args:
            root: folder of audio/ and metadata/.
            sample_rate_hz: of the features.
        """
        own = [base / name for base in self._bases(root) for name in self._names]
        resampled = [path.with_name(path.name + _RESAMPLED) for path in own]
        return [*resampled, *own] if sample_rate_hz <= RESAMPLED_HZ else [*own, *resampled]

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.audio, *self.other_audio)

    def _bases(self, root: Path) -> list[Path]:
        return [root, *([root / self.also_below] if self.also_below else [])]


_PLACES = {"weak": SubsetPlace("metadata/train/weak", "audio/train/weak", "weak")} | {
    name: SubsetPlace(f"metadata/train/{name}", f"audio/train/{name}", "unlabelled")
    for name in ("unlabel_in_domain", "unlabel_out_of_domain")
}
_EVALUATION = SubsetPlace("metadata/eval/public", "audio/eval/public", "strong", True)


def _synthetic(split: str, name: str, also_below: str = "") -> SubsetPlace:
    """Synthetic soundscapes of 2020 on."""
    return SubsetPlace(
        f"metadata/{split}/{name}/soundscapes",
        f"audio/{split}/{name}/soundscapes",
        "strong",
        also_below=also_below,
        prefix=f"{name}-",
    )


def _maestro(name: str, aliases: Mapping[str, str] | None = None) -> SubsetPlace:
    """Windows of MAESTRO Real."""
    place = f"metadata/{name}", f"audio/{name}"
    return SubsetPlace(*place, "soft", classes=MAESTRO_CLASSES, aliases=aliases)


_VALIDATION = SubsetPlace(
    "metadata/validation/validation",
    "audio/validation/validation",
    "strong",
    other_audio=("audio/validation",),
)
_DESED_2021 = {
    "weak": _PLACES["weak"],
    "unlabel_in_domain": _PLACES["unlabel_in_domain"],
    "synthetic21_train": _synthetic("train", "synthetic21_train", "dcase_synth"),
    "audioset_strong": SubsetPlace(
        "metadata/train/audioset_strong", "audio/train/strong_label_real", "strong"
    ),
    "synthetic21_validation": _synthetic("validation", "synthetic21_validation", "dcase_synth"),
    "validation": _VALIDATION,
    "eval": _EVALUATION,
}


def _of_desed(place: SubsetPlace) -> SubsetPlace:
    """The place, of clips that are labelled with the classes of DESED alone."""
    return SubsetPlace(**(vars(place) | {"classes": CHALLENGE_CLASSES}))


LAYOUTS: Mapping[Layout, Mapping[str, SubsetPlace]] = {
    "dcase2019": {
        "weak": _PLACES["weak"],
        "unlabel_in_domain": _PLACES["unlabel_in_domain"],
        "synthetic": SubsetPlace("metadata/train/synthetic", "audio/train/synthetic", "strong"),
        **{
            name: SubsetPlace(f"metadata/validation/{name}", "audio/validation", "strong")
            for name in ("validation", "test_dcase2018", "eval_dcase2018")
        },
        "eval": _EVALUATION,
    },
    "dcase2018": {
        **_PLACES,
        "test": SubsetPlace("metadata/test/test", "audio/test", "strong"),
        "eval": SubsetPlace("metadata/eval/eval", "audio/eval", "strong", True),
    },
    "desed2020": {
        "weak": _PLACES["weak"],
        "unlabel_in_domain": _PLACES["unlabel_in_domain"],
        "synthetic20": _synthetic("train", "synthetic20"),
        "validation": _VALIDATION,
        "eval": _EVALUATION,
    },
    "desed2021": _DESED_2021,
    "desed2024": {
        **{name: _of_desed(place) for name, place in _DESED_2021.items()},
        "maestro_real_train": _maestro("maestro_real_train", MAESTRO_TO_DESED),
        "maestro_real_validation": _maestro("maestro_real_validation"),
    },
}
SUFFIXES: Mapping[Layout, tuple[str, str]] = {
    "dcase2018": (".csv", ".tsv"),
    **dict.fromkeys(("dcase2019", "desed2020", "desed2021", "desed2024"), (".tsv", ".csv")),
}


def subset_place(layout: Layout, subset: str) -> SubsetPlace:
    """Place of a subset in a layout.

    Raises:
        ConfigError: the layout has no such subset.
    """
    if subset not in LAYOUTS[layout]:
        known = ", ".join(LAYOUTS[layout])
        raise ConfigError(
            f"There is no subset {subset!r} in the layout {layout}. Expected: {known}."
        )
    return LAYOUTS[layout][subset]


def has_soft_labels(layout: Layout) -> bool:
    """True if a subset of a layout has soft labels, so that those of frames are not whole."""
    return any(place.kind == "soft" for place in LAYOUTS[layout].values())


def has_windows(layout: Layout, subset: str) -> bool:
    """True if the clips of a subset are windows of longer recordings, softly labelled."""
    return subset_place(layout, subset).kind == "soft"


def masks_classes(layout: Layout) -> bool:
    """True if subsets of a layout have classes of their own; others are unknown in their clips."""
    return any(place.classes is not None for place in LAYOUTS[layout].values())


def evaluated_classes(layout: Layout, classes: Sequence[str]) -> tuple[list[int], list[int]]:
    """Numbers of the classes that are evaluated on clips, and on windows of recordings.

    Data sets of a layout that have classes of their own are evaluated apart: those of DESED on its
    clips, and those of MAESTRO Real with enough confident labels on its recordings.

    Args:
        layout: of the dataset.
        classes: all classes; without classes of data sets, all of them are evaluated on clips.
    """
    if not has_soft_labels(layout):
        return list(range(len(classes))), []
    known = {
        name
        for place in LAYOUTS[layout].values()
        for name in (() if place.kind == "soft" else place.known_classes or classes)
    }
    of_clips, of_windows = (
        [number for number, name in enumerate(classes) if name in names]
        for names in (known, MAESTRO_EVALUATED)
    )
    return of_clips, of_windows
