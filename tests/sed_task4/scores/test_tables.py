"""Sentences and counts beside the tables."""

from sed_task4.scores.tables import ScoreReport, ScoreRow

CLASSES = ("Cat", "Dog", "Dishes")


def report(scores, **by_class):
    row = ScoreRow("system", "cnn", scores, {name: list(of) for name, of in by_class.items()})
    return ScoreReport((row,), CLASSES, 7)


def test_tables_tell_the_numbers_of_clips_and_events():
    table = report({"map": 0.5}, n_events=(3.0, 0.0, 9.0)).tables()[0]
    assert table.rows[0][0] == "7 clips, 12 events"
    assert report({"map": 0.5}).tables()[0].rows[0][0] == "7 clips"


def test_a_best_f_below_event_f_is_explained():
    below = report({"best_f": 0.2, "event_macro_f": 0.3}).remarks()
    assert any("Best F, 20.0 %, lies below event F, 30.0 %" in each for each in below)
    above = report({"best_f": 0.4, "event_macro_f": 0.3}).remarks()
    assert not any("lies below" in each for each in above)


def test_a_psds_near_zero_beside_good_classes_names_the_lowest():
    told = report({"psds2": 0.01}, psds2=(0.9, 0.8, 0.0)).remarks()
    expected = "PSDS 2 is 0.010 although half of the classes have over 0.3"
    assert any(expected in each and "Lowest: Dishes 0.000, Dog 0.800" in each for each in told)
    poor = report({"psds2": 0.01}, psds2=(0.1, 0.2, 0.0)).remarks()
    assert not any("although" in each for each in poor)
