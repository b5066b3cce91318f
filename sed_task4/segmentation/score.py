"""Score tables of segmentation: tagging, sound event detection and separation, averaged over folds.

Baselines next to each system: all classes everywhere, true tags, true times, ideal binary mask.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
from pydantic import Field

from common.errors import DataError
from common.metrics.detection import nan_mean
from common.metrics.event_based import CollarConfig
from common.metrics.score_table import ScoreTable, published_scores
from sed_task4.decoding import DecodingConfig
from sed_task4.score import main as main  # event files are scored as those of task 4
from sed_task4.scores.tables import ScoreReport, ScoreRow, score_tables

# As published: frames averaged over the bands, of classes whose tag exceeds 0.1.
PUBLISHED_DECODING = DecodingConfig(
    decoder="kong2019",
    tag_threshold=0.1,
    high_threshold=0.2,
    low_threshold=0.1,
    smooth_frames=10,
    salt_frames=10,
)


def _columns(kind: str) -> dict[str, str]:
    """Headings of binary scores by name."""
    names = {"precision": "P", "recall": "R", "f": "F", "auc": "AUC", "ap": "mAP"}
    return {f"{kind}_{name}": heading for name, heading in names.items()}


_SOUNDS = {"si_sdr_db": "SI-SDR", "gain_db": "gain"}
TAG_COLUMNS = _columns("tag")
SED_COLUMNS = {**_columns("sed"), "event_f": "event F", "event_er": "ER"}
MASK_COLUMNS = {**_columns("mask"), **_SOUNDS, "event_gain_db": "gain in events"}
TABLES = {
    "Tagging": TAG_COLUMNS,
    "Sound event detection, frames (and events)": SED_COLUMNS,
    "Separation, masks against ideal binary masks (and sounds, dB)": MASK_COLUMNS,
}
CLASS_COLUMNS = {
    **{"n_clips": "clips", "tag_ap": "tag AP", "tag_f": "tag F", "sed_ap": "frame AP"},
    **{"sed_f": "frame F", "event_f": "event F", "mask_ap": "mask AP", "mask_f": "mask F"},
    **{**_SOUNDS, "event_gain_db": "in events"},
}
SCORES = (*TAG_COLUMNS, *SED_COLUMNS, *MASK_COLUMNS)
_EVENT_SCORES = ("event_f", "event_er")


class ScoringConfig(CollarConfig):
    """Scores of tags, frames, events, masks and separated sounds."""

    tag_threshold: float = Field(
        0.5, ge=0, le=1, description="A tag is present where its probability exceeds this."
    )
    frame_threshold: float = Field(
        0.2, ge=0, le=1, description="A class is active in a frame where it exceeds this."
    )
    mask_threshold: float = Field(0.5, ge=0, le=1, description="A mask is set where above this.")
    offset_share: float = Field(
        0.5, ge=0, le=1, description=CollarConfig.model_fields["offset_share"].description
    )
    separate_clips: int | None = Field(
        None,
        ge=0,
        description="Test clips of a fold that are separated and scored in dB; null: all.",
    )


class SegmentationReport(ScoreReport):
    """The tables of tagging, detection and separation, and their notes."""

    def tables(self) -> list[ScoreTable]:
        """Returns the tables of tagging, detection and separation, and of the classes."""
        return score_tables(self, TABLES, CLASS_COLUMNS)

    def remarks(self) -> list[str]:
        """Returns the sentences below the tables."""
        means = (
            "Means over the classes that occur; with several folds, averaged over these."
            " Frames: masks averaged over the bands, after clip tag gating."
            " Events: onset within the collar, offset within it or a share of the length; a"
            " class whose F is undefined in any fold counts 0."
        )
        sounds = (
            "SI-SDR of each sound of a clip, separated by its mask; gain: against the mixture,"
            " over the clip, and only within the sound's events."
        )
        return [means, sounds, *self.notes]


def average_folds(
    folds: Sequence[Mapping[str, np.ndarray]], label: str, *, group: str = "system"
) -> ScoreRow:
    """Averages the scores of folds, first over the folds and then over the classes.

    Args:
        folds: for each fold, one value per class (K,) by name, see
            `SegmentationScorer.class_scores`; the mean leaves out NaN (undefined). As published, a
            score of events is 0 if it is undefined in any fold.
        label: name of the row.
        group: "system" or "baseline".

    Raises:
        DataError: there is no fold.
    """
    if not folds:
        raise DataError("There is nothing to score: no test fold has clips with predictions.")
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
    known = {name: np.asarray(values) for name, values in by_class.items() if name in SCORES}
    scores = {name: nan_mean(values) for name, values in known.items()}
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
        systems: scores of each fold by label, see `average_folds`; the classes of the first one
            are shown.
        baselines: the same, without a network.
        classes: class names.
        n_clips: test clips of all folds.
        published: some of `SCORES`, in [0, 1] or dB.

    Raises:
        DataError: there is no system, or a fold is missing.
        ValueError: `published` has an unknown name.
    """
    known = published_scores(published, SCORES)
    if not systems:
        raise DataError("There is nothing to score. Expected: at least one system.")
    rows = [average_folds(folds, label) for label, folds in systems.items()]
    rows += [average_folds(folds, label, group="baseline") for label, folds in baselines.items()]
    rows += [ScoreRow("published", "published", known)] if known else []
    absent = [label for label, n in zip(classes, rows[0].by_class["n_clips"], strict=True) if not n]
    notes = [f"No clip has {', '.join(absent)}: their scores are undefined."] if absent else []
    return SegmentationReport(tuple(rows), tuple(classes), n_clips, tuple(notes))
