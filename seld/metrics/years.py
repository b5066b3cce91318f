"""Rules of the official scorers of DCASE 2020 to 2025, and of the corrected ones, in one table.

All of them pair estimates with true sources of the same class, frame by frame, at the least total
angle, and judge the pairs by a threshold. They differ in what they count (blocks of one second or
frames), in how several sources of one class count, in the price of a wrong direction, in the
frames that are scored, and in the scores.

References:
    Politis, Mesaros, Adavanne, Heittola, Virtanen, "Overview and evaluation of sound event
    localization and detection in DCASE 2019", IEEE/ACM Trans. Audio Speech Lang. Process. 29, 2021,
    arXiv:2009.02792. Krause, Politis, Mesaros, "Sound event detection and localization with
    distance estimation", EUSIPCO 2024, arXiv:2403.11827.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from common.errors import ConfigError

Average = Literal["macro", "micro", "occurring"]
BLOCK_SCORES = ("er", "f", "doa_error_deg", "recall", "seld_score")
FRAME_SCORES = (
    "er",
    "f",
    "doa_error_deg",
    "distance_error_m",
    "relative_distance_error",
    "recall",
    "seld_score",
)
STEREO_SCORES = (
    "f",
    "doa_error_deg",
    "distance_error_cm",
    "relative_distance_error",
    "onscreen_accuracy",
)


@dataclass(frozen=True)
class YearRules:
    """Rules of one scorer.

    Attributes:
        name: key of `YEARS`.
        corrected: name of the corrected scorer that stands beside it.
        unit: what is counted: blocks of one second, or frames.
        one_per_class: a class counts once in a block, however many sources it has; the distance is
            the mean over frames of the sum over its pairs, which same-class overlap inflates.
        source_tracks: true tracks are the numbers of the sources, and each counts once in a block;
            otherwise the n-th row of a class in each frame is its n-th track, and as many count as
            there are at once.
        angles: "arccos": spherical law of cosines; "offset": vectors normalised by the root of
            x^2 + y^2 + z^2 + 1e-10, so that equal directions are 8.1e-4 degrees apart; "exact";
            "folded": azimuths only, those of the back folded to the front.
        whole_length: frames up to the recording's length are scored; otherwise those before the
            last frame of the reference, which is lost, as are estimates after it. Blocks are scored
            whole in either case.
        n_frames: length in frames of a recording for which none is given; None: up to the last row.
        far_is: price of a direction beyond the threshold: a miss; a false alarm, that counts half
            in F; or a false alarm that counts fully.
        misaligned_is: price of a block where a class is in both, but never in the same frame: as
            many misses as sources are estimated; or misses of the true ones and false alarms.
        with_distance: distances are scored, and their thresholds obeyed.
        onscreen_required: a pair whose on-screen flags differ counts as far.
        angle_threshold_deg: largest error of a true positive, in degrees.
        distance_threshold_m: the same in metres.
        relative_threshold: the same, divided by the true distance.
        unmatched_deg: DOA error without any pair.
        recall_is_f: the localisation recall is an F-measure.
        exact_zero: undefined scores are undefined: of a class, F where it is neither true nor
            estimated, and recall where it is not true; they are no part of means. ER without
            reference is 0 or infinite, F of silence 1. Otherwise divisors have a tiny addend.
        per_metre: unit of distance of the relative error's divisor, which has a tiny addend.
        scores: names of the scores in the official order.
        seld_parts: scores whose mean is the SELD score; none: there is no such score.
        average: of the official scores.
    """

    name: str
    corrected: str
    unit: Literal["block", "frame"]
    one_per_class: bool = False
    source_tracks: bool = False
    angles: Literal["arccos", "offset", "exact", "folded"] = "arccos"
    whole_length: bool = False
    n_frames: int | None = None
    far_is: Literal["miss", "half", "full"] = "full"
    misaligned_is: Literal["estimated_misses", "both"] = "estimated_misses"
    with_distance: bool = False
    onscreen_required: bool = False
    angle_threshold_deg: float = 20.0
    distance_threshold_m: float = math.inf
    relative_threshold: float = math.inf
    unmatched_deg: float = 180.0
    recall_is_f: bool = False
    exact_zero: bool = False
    per_metre: float = 1.0
    scores: tuple[str, ...] = BLOCK_SCORES
    seld_parts: tuple[str, ...] = ("er", "f", "doa_error_deg", "recall")
    average: Average = "macro"


def _years() -> dict[str, YearRules]:
    of_2022 = YearRules("dcase2022", "corrected2022", "block")
    of_2021 = replace(
        of_2022, name="dcase2021", whole_length=True, n_frames=600, far_is="half", average="micro"
    )
    of_2020 = replace(
        of_2021, name="dcase2020", one_per_class=True, far_is="miss", recall_is_f=True
    )
    of_2024 = YearRules(
        "dcase2024",
        "corrected2024",
        "frame",
        angles="offset",
        with_distance=True,
        relative_threshold=1.0,
        unmatched_deg=math.nan,
        scores=FRAME_SCORES,
        seld_parts=("f", "doa_error_deg", "relative_distance_error"),
    )
    of_2025 = replace(
        of_2024,
        name="dcase2025",
        corrected="corrected2025",
        angles="folded",
        per_metre=100.0,
        scores=STEREO_SCORES,
        seld_parts=(),
    )
    fixed: dict[str, Any] = {
        "source_tracks": True,
        "whole_length": True,
        "misaligned_is": "both",
        "exact_zero": True,
        "unmatched_deg": math.nan,
    }
    known = [
        of_2020,
        of_2021,
        of_2022,
        replace(of_2022, name="dcase2023"),
        of_2024,
        replace(
            of_2024,
            name="dcase2024_no_distance",
            with_distance=False,
            scores=BLOCK_SCORES,
            seld_parts=of_2022.seld_parts,
        ),
        replace(of_2022, name="dcase2024_blocks", angles="offset"),
        of_2025,
        replace(of_2025, name="dcase2025_onscreen", onscreen_required=True),
        replace(of_2022, name="corrected2022", angles="exact", **fixed),
        replace(of_2024, name="corrected2024", angles="exact", **fixed),
        replace(of_2025, name="corrected2025", **fixed),
    ]
    return {rules.name: rules for rules in known}


YEARS = _years()


def year_rules(name: str | YearRules, **changes: Any) -> YearRules:
    """Returns the rules of a year by name, with some of them changed.

    Args:
        name: of `YEARS`, such as "dcase2024", or rules.
        changes: by attribute, e.g. `angle_threshold_deg=10.0`.

    Raises:
        ConfigError: there is no such scorer.
    """
    if isinstance(name, str):
        if name not in YEARS:
            raise ConfigError(
                f"Unknown scorer. Expected: one of {', '.join(YEARS)}. Received: {name!r}."
            )
        name = YEARS[name]
    return replace(name, **changes)
