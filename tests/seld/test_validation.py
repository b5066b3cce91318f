"""Names of validation scores are known without any recording."""

import pytest

from common.training.system import Stage
from seld.scores.scoring import scoring_of
from seld.validation import MAP_NAMES, score_names
from tests.runs import task_of


@pytest.mark.parametrize(
    ("task_id", "scorer", "names"),
    [
        ("demo", "dcase2019", ["er", "f", "frame_recall", "doa_error_deg", "seld_error"]),
        ("accdoa-demo", "dcase2021", ["er", "f", "localization_recall", "seld_error"]),
        ("accdoa-demo", "dcase2024", ["f", "doa_error_deg", "relative_distance_error"]),
    ],
)
def test_the_scores_of_a_scorer_have_names_before_training(task_id, scorer, names, tmp_path):
    scoring = scoring_of(task_of(task_id, tmp_path, scoring__scorer=scorer))
    found = score_names(scoring, Stage("seld", lambda shape: None, {}, {}, {}))
    assert {*names, *MAP_NAMES} <= {*found} and scoring.decisive()[0] in found


def test_a_stage_of_detection_has_no_scores_of_directions(tmp_path):
    scoring = scoring_of(task_of("demo", tmp_path))
    stage = Stage("sed", lambda shape: None, {}, {}, {}, outputs_used=("sed",))
    assert score_names(scoring, stage) == ["er", "f", "frame_recall", "sed_error", *MAP_NAMES]
