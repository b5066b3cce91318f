"""Names of validation scores are known from the kinds of labels alone."""

import warnings

import pytest

from sed_task4.decoding import DecodingConfig
from sed_task4.scores.systems import ScoringConfig
from sed_task4.validation import ClipScorer, score_names

STRONG, WEAK = {"event_macro_f", "segment_200ms_micro_er"}, {"weak_macro_f"}


def names(*kinds: str, use=None, **scoring) -> list[str]:
    config = ScoringConfig(**scoring)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return score_names(lambda: ClipScorer(3, DecodingConfig(), 0.1, 1.0, config), kinds, use)


@pytest.mark.parametrize(
    ("kinds", "expected", "missing"),
    [
        (["weak"], {"map", "auc", *WEAK}, STRONG),
        (["strong"], {"map", "auc", *STRONG}, WEAK),
        (["soft"], {"maestro_pauc"}, {"map", *STRONG, *WEAK}),
        (["strong", "weak"], {"weak_and_event_f", *STRONG, *WEAK}, {"intersection_macro_f"}),
        (["unlabelled"], set(), {"map"}),
    ],
)
def test_labels_decide_on_the_scores(kinds, expected, missing):
    found = set(names(*kinds))
    assert expected <= found and not missing & found


def test_the_intersection_f_is_named_where_it_is_scored():
    found = names("strong", "weak", intersection_f=True)
    assert {"intersection_macro_f", "weak_and_intersection_f"} <= set(found)
    sums = {"weak_intersection_and_maestro_best_f", "weak_intersection_and_maestro_pauc"}
    assert sums <= set(names("strong", "weak", "soft", intersection_f=True))


@pytest.mark.parametrize(("use", "other"), [("student", "teacher"), ("teacher", "student")])
def test_the_other_network_has_its_name_before_its_scores(use, other):
    found, alone = names("strong", use=use), names("strong")
    assert {*alone, *(f"{other}_{name}" for name in alone)} == set(found)
