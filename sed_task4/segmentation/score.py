"""Score tables of segmentation: tagging, sound event detection and separation, averaged over folds.

Beside each system stand answers that need no network: everything everywhere, the true tags, the
true times, the ideal binary mask.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from pydantic import Field

from common.errors import DataError
from common.metrics.detection import nan_mean
from common.metrics.event_based import CollarConfig
from sed_task4.decoding import DecodingConfig
from sed_task4.score import ScoreReport, ScoreRow, format_score

# As published: frames averaged over the bands, of classes whose tag exceeds 0.1.
PUBLISHED_DECODING = DecodingConfig(
    decoder="kong2019",
    tag_threshold=0.1,
    high_threshold=0.2,
    low_threshold=0.1,
    smooth_frames=10,
    salt_frames=10,
)
TAG_COLUMNS = {
    "tag_precision": "P",
    "tag_recall": "R",
    "tag_f": "F",
    "tag_auc": "AUC",
    "tag_ap": "mAP",
}
SED_COLUMNS = {
    "sed_precision": "P",
    "sed_recall": "R",
    "sed_f": "F",
    "sed_auc": "AUC",
    "sed_ap": "mAP",
    "event_f": "event F",
    "event_er": "ER",
}
MASK_COLUMNS = {
    "mask_precision": "P",
    "mask_recall": "R",
    "mask_f": "F",
    "mask_auc": "AUC",
    "mask_ap": "mAP",
    "si_sdr_db": "SI-SDR",
    "gain_db": "gain",
    "event_gain_db": "gain in events",
}
TABLES = {
    "Tagging": TAG_COLUMNS,
    "Sound event detection, frames (and events)": SED_COLUMNS,
    "Separation, masks against ideal binary masks (and sounds, dB)": MASK_COLUMNS,
}
CLASS_COLUMNS = {
    "n_clips": "clips",
    "tag_ap": "tag AP",
    "tag_f": "tag F",
    "sed_ap": "frame AP",
    "sed_f": "frame F",
    "event_f": "event F",
    "mask_ap": "mask AP",
    "mask_f": "mask F",
    "si_sdr_db": "SI-SDR",
    "gain_db": "gain",
    "event_gain_db": "in events",
}
SCORES = (*TAG_COLUMNS, *SED_COLUMNS, *MASK_COLUMNS)
_EVENT_SCORES = ("event_f", "event_er")


class ScoringConfig(CollarConfig):
    """How tags, frames, events, masks and separated sounds are scored."""

    tag_threshold: float = Field(
        0.5, ge=0, le=1, description="Exceeded where a tag counts as given."
    )
    frame_threshold: float = Field(
        0.2, ge=0, le=1, description="Exceeded where a class counts as active in a frame."
    )
    mask_threshold: float = Field(
        0.5, ge=0, le=1, description="Exceeded where a mask counts as set."
    )
    offset_share: float = Field(
        0.5, ge=0, le=1, description=CollarConfig.model_fields["offset_share"].description
    )
    separate_clips: int | None = Field(
        None,
        ge=0,
        description="So many test clips of a fold are separated and scored in dB; null: all.",
    )


class SegmentationReport(ScoreReport):
    """The tables of tagging, sound event detection and separation, and what must be said about
    them."""

    def tables(self) -> list[tuple[str, list[list[str]]]]:
        """Returns the tables as (title, rows of cells), headings first; columns without any number
        are left out."""
        tables = []
        for title, columns in TABLES.items():
            shown = [name for name in columns if any(name in row.scores for row in self.rows)]
            known = [row for row in self.rows if any(name in row.scores for name in shown)]
            rows = [
                [row.label, *(format_cell(name, row.scores.get(name)) for name in shown)]
                for row in known
            ]
            if shown:
                tables.append(
                    (title, [[f"{self.n_clips} clips", *(columns[name] for name in shown)], *rows])
                )
        first = self.rows[0]
        shown = [name for name in CLASS_COLUMNS if name in first.by_class]
        if shown:
            rows = [
                [label, *(format_cell(name, first.by_class[name][k]) for name in shown)]
                for k, label in enumerate(self.classes)
            ]
            tables.append(
                (f"Classes: {first.label}", [["", *(CLASS_COLUMNS[name] for name in shown)], *rows])
            )
        return tables

    def remarks(self) -> list[str]:
        """Returns the sentences below the tables."""
        return [
            (
                "Means over the classes that occur; with several folds, averaged over these."
                " Frames: masks averaged over the bands, where the tag lets the class through."
                " Events: onset within the collar, offset within it or a share of the length; a"
                " class whose F is undefined in any fold counts 0."
            ),
            (
                "SI-SDR of each sound of a clip, separated by its mask; gain: against the mixture,"
                " over the clip and within the sound's events alone."
            ),
            *self.notes,
        ]


def format_cell(name: str, value: float | None) -> str:
    """Writes a score for print: decibels with one decimal, the others as
    `sed_task4.score.format_score`."""
    if value is not None and name.endswith("_db") and np.isfinite(value):
        return f"{value:.1f}"
    return format_score(name, value)


def average_folds(
    folds: Sequence[Mapping[str, np.ndarray]], label: str, *, group: str = "system"
) -> ScoreRow:
    """Averages the scores of folds, first over the folds and then over the classes.

    Args:
        folds: for each fold, one value per class (K,) by name, see
            `SegmentationScorer.class_scores`; NaN where it is undefined, which is left out of the
            mean. A score of events is 0 where it is undefined in any fold, as published.
        label: what the line is about.
        group: "system" or "baseline".

    Raises:
        DataError: there is no fold.
    """
    if not folds:
        raise DataError(
            "There is nothing to score. Check that the test folds have clips and that they were"
            " predicted."
        )
    by_class: dict[str, Sequence[float]] = {}
    for name in folds[0]:
        values = np.stack([np.asarray(fold[name], np.float64) for fold in folds])  # (folds, K)
        if name == "n_clips":
            mean = values.sum(axis=0)
        elif name in _EVENT_SCORES:
            mean = np.nan_to_num(values.mean(axis=0))
        else:
            mean = np.array([nan_mean(column) for column in values.T])
        by_class[name] = cast(Sequence[float], mean.tolist())
    scores = {
        name: nan_mean(np.asarray(values)) for name, values in by_class.items() if name in SCORES
    }
    return ScoreRow(group, label, scores, by_class)


def segmentation_report(
    systems: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    baselines: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    classes: Sequence[str],
    n_clips: int,
    *,
    published: Mapping[str, float] | None = None,
) -> SegmentationReport:
    """Makes the tables of a run.

    Args:
        systems: by label, the scores of each fold, see `average_folds`; the classes of the first
            one are shown.
        baselines: the same, of answers without a network.
        classes: class names.
        n_clips: test clips of all folds.
        published: some of `SCORES`, in [0, 1] or dB.

    Raises:
        DataError: there is no system, or a fold is missing.
        ValueError: `published` has an unknown name.
    """
    unknown = sorted(set(published or {}) - set(SCORES))
    if unknown:
        raise ValueError(
            f"Unknown published score. Expected: some of {', '.join(SCORES)}. Received: {unknown}."
        )
    if not systems:
        raise DataError("There is nothing to score. Expected: at least one system.")
    rows = [average_folds(folds, label) for label, folds in systems.items()]
    rows += [average_folds(folds, label, group="baseline") for label, folds in baselines.items()]
    rows += [ScoreRow("published", "published", dict(published))] if published else []
    absent = [label for label, n in zip(classes, rows[0].by_class["n_clips"], strict=True) if not n]
    notes = [f"No clip has {', '.join(absent)}: their scores are undefined."] if absent else []
    return SegmentationReport(tuple(rows), tuple(classes), n_clips, tuple(notes))
