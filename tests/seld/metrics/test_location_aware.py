"""Scorers of 2020 to 2025: against plain loops, by hand, and where nothing is there."""

import math

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from benchmarks.baselines.location_scores import BlockScorer, FrameScorer
from common.errors import ConfigError
from seld.metrics.location_aware import LocationScorer, LocationScores
from seld.metrics.location_counts import MOST_OVERLAP
from seld.metrics.matching import angle_deg, assign, directions_of, folded_azimuth
from seld.metrics.years import YEARS, year_rules
from seld.recordings.rows import AZIMUTH, CLASS, DISTANCE, FRAME, SOURCE, make_rows, no_rows

K = 5


def random_rows(rng: np.random.Generator, n_frames: int) -> np.ndarray:
    """Moving sources, several of one class at once, with gaps; some frames are crowded."""
    parts = [no_rows()]
    for source in range(8):
        start = int(rng.integers(0, n_frames))
        frames = np.arange(start, min(start + int(rng.integers(1, 40)), n_frames))
        azimuth = (rng.integers(-180, 180) + np.arange(len(frames)) * rng.integers(-2, 3)) % 360
        part = make_rows(
            frames,
            np.full(len(frames), rng.integers(0, K - 1)),  # the last class never occurs
            azimuth - 180.0,
            float(rng.integers(-45, 45)),
            source=source % 3,
            distance_m=rng.integers(50, 400) / 100,
            onscreen=float(rng.integers(0, 2)),
        )
        parts.append(part)
    rows = np.concatenate(parts)
    return rows[np.argsort(rows[:, FRAME], kind="stable")]


def noisy(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Estimate of a mediocre system, with repeated and confused rows."""
    rows = np.repeat(rows, rng.choice([0, 1, 1, 1, 2], len(rows)), axis=0)
    rows[:, AZIMUTH] += rng.normal(0, 12, len(rows))
    rows[:, DISTANCE] *= rng.uniform(0.4, 2.3, len(rows))
    rows[:, SOURCE] = 0
    confused = rng.random(len(rows)) < 0.1
    rows[confused, CLASS] = rng.integers(0, K, confused.sum())
    return rows


def recordings(seed: int, number: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    references = [random_rows(rng, int(rng.integers(30, 90))) for _ in range(number)]
    return [(reference, noisy(reference, rng)) for reference in references]


def score(name: str, pairs, n_frames=None, average=None, **changes) -> LocationScores:
    scorer = LocationScorer(year_rules(name, **changes), K)
    for pair in pairs:
        scorer.update(*pair, n_frames)
    return scorer.result(average)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("year", [2020, 2021, 2022, 2023])
@pytest.mark.parametrize("average", ["macro", "micro"])
def test_block_scores_equal_plain_loops(year, seed, average):
    pairs, plain = recordings(seed), BlockScorer(year, K)
    for pair in pairs:
        plain.update(*pair, 87)
    found = score(f"dcase{year}", pairs, 87, average).values()
    np.testing.assert_allclose(found, plain.result(average == "micro"), rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("year", [2024, 2025])
@pytest.mark.parametrize("average", ["macro", "micro"])
def test_frame_scores_equal_plain_loops(year, seed, average):
    pairs, plain = recordings(seed), FrameScorer(year, K)
    for pair in pairs:
        plain.update(*pair)
    expected, found = plain.result(average == "micro"), score(f"dcase{year}", pairs, None, average)
    for name in set(found.rules.scores) & set(expected):
        assert getattr(found, name) == pytest.approx(expected[name], rel=1e-9, nan_ok=True), name


@pytest.mark.parametrize("shape", [(1, 3), (3, 1), (2, 2), (3, 4), (4, 2), (6, 7)])
def test_assignment_equals_that_of_scipy_with_ties_too(shape):
    rng = np.random.default_rng(0)
    costs = np.concatenate(
        [rng.random((30, *shape)), rng.integers(0, 3, (30, *shape)).astype(float)]
    )
    rows, columns = assign(costs)
    for number, cost in enumerate(costs):
        expected = set(zip(*(each.tolist() for each in linear_sum_assignment(cost)), strict=True))
        pairs = zip(rows[number].tolist(), columns[number].tolist(), strict=True)
        assert set(pairs) == expected


@pytest.mark.parametrize("angles", ["arccos", "offset", "exact"])
def test_kinds_of_angles_agree(angles):
    rng = np.random.default_rng(1)
    rows = make_rows(
        np.zeros(40), np.zeros(40), rng.uniform(-180, 180, 40), rng.uniform(-90, 90, 40)
    )
    unit = directions_of(rows, "exact")
    expected = np.degrees(np.arccos(np.clip(unit[:20] @ unit[20:].T, -1, 1)))
    directions = directions_of(rows, angles)
    found = angle_deg(directions[:20, None], directions[None, 20:], angles)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_azimuths_of_the_back_are_folded_to_the_front():
    given = np.array([0.0, 90.0, 100.0, 180.0, -180.0, -100.0, -90.0, 270.0, 350.0])
    assert folded_azimuth(given).tolist() == [0, 90, 80, 0, 0, -80, -90, -90, -10]


def steady(frames, klass=0, azimuth_deg=0.0, source=0, distance_m=1.0, onscreen=1.0) -> np.ndarray:
    frames = np.asarray(list(frames))
    rows = make_rows(frames, np.full(len(frames), klass), np.full(len(frames), azimuth_deg))
    rows[:, SOURCE], rows[:, DISTANCE], rows[:, -1] = source, distance_m, onscreen
    return rows


def both(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts)


def test_the_last_reference_frame_is_lost_except_in_the_corrected_scorer():
    reference = steady([0, 1, 2])
    estimate = steady([0, 1])
    assert score("dcase2024", [(reference, estimate)], None, "micro").recall == 1.0
    found = score("corrected2024", [(reference, estimate)], None, "micro")
    assert found.recall == pytest.approx(2 / 3)


def test_estimates_after_the_reference_count_in_the_corrected_scorer_only():
    pair = steady(range(5)), both(steady(range(4)), steady(range(5, 20), 1))
    assert score("dcase2024", [pair], 30).er == 0.0
    assert score("corrected2024", [pair], 30).er == pytest.approx((1 + 15) / 5)
    # Only what lies within the recording counts.
    assert score("corrected2024", [pair], 10).er == pytest.approx((1 + 5) / 5)
    assert score("corrected2022", [pair], 10).er == 1.0
    assert score("corrected2022", [pair], 5).er == 0.0  # the block is longer than the recording


def test_a_block_without_common_frames_misses_the_true_sources_if_corrected():
    reference = both(steady(range(3)), steady(range(20, 22), 1))
    estimate = both(steady(range(5, 8)), steady(range(5, 8), 0, 90.0), steady(range(20, 22), 1))
    published = score("dcase2022", [(reference, estimate)], None, "micro")
    assert published.f == pytest.approx(1 / (1 + 0.5 * 2))  # two misses, as many as are estimated
    found = score("corrected2022", [(reference, estimate)], 30, "micro")
    assert found.f == pytest.approx(1 / (1 + 0.5 * (1 + 2)))


def test_corrected_tracks_are_source_numbers():
    # Two sources change their order in the file half-way.
    first = both(steady([0, 1], 0, -60.0, 1), steady([0, 1], 0, 60.0, 2))
    second = both(steady([2, 3], 0, 60.0, 2), steady([2, 3], 0, -60.0, 1))
    reference = both(first[[0, 2]], first[[1, 3]], second[[0, 2]], second[[1, 3]])
    estimate = reference.copy()
    estimate[:, SOURCE] = 0
    estimate[estimate[:, AZIMUTH] == 60.0, AZIMUTH] = 90.0
    published = score("dcase2022", [(both(reference, steady([9])), estimate)], None, "micro")
    assert published.doa_error_deg == pytest.approx(15.0)  # both tracks are half of each source
    corrected = score("corrected2022", [(reference, estimate)], 10, "micro")
    assert corrected.doa_error_deg == pytest.approx(15.0) and corrected.f == pytest.approx(0.5)
    assert published.f == pytest.approx(1.0)


@pytest.mark.parametrize(("year", "f"), [(2020, 0.5), (2021, 1 / 1.5), (2022, 0.5)])
def test_a_wrong_direction_has_the_price_of_its_year(year, f):
    reference = both(steady(range(10)), steady(range(10), 1))
    estimate = both(steady(range(10)), steady(range(10), 1, 90.0))
    found = score(f"dcase{year}", [(both(reference, steady([10])), estimate)], 10, "micro").f
    assert found == pytest.approx(f)


def test_distances_and_flags_judge_pairs_where_required():
    reference = both(steady(range(11)))
    far = steady(range(10), distance_m=2.5)
    hidden = steady(range(10), onscreen=0.0)
    assert score("dcase2024", [(reference, far)], None, "micro").f == 0.0
    assert score("dcase2024_no_distance", [(reference, far)], None, "micro").f == 1.0
    assert score("dcase2024", [(reference, far)], relative_threshold=2.0, average="micro").f == 1.0
    tight = {"relative_threshold": 2.0, "distance_threshold_m": 1.0}
    assert score("dcase2024", [(reference, far)], None, "micro", **tight).f == 0.0
    assert score("dcase2025", [(reference, hidden)], None, "micro").f == 1.0
    found = score("dcase2025_onscreen", [(reference, hidden)], None, "micro")
    assert (found.f, found.onscreen_accuracy) == (0.0, 0.0)


def test_twice_the_true_distance_is_within_the_threshold():
    distances = np.arange(101, 400) / 100
    reference = both(*(steady([n], distance_m=d) for n, d in enumerate(distances)), steady([999]))
    estimate = reference[:-1].copy()
    estimate[:, DISTANCE] *= 2
    for name in ("dcase2024", "dcase2025"):
        assert score(name, [(reference, estimate)], None, "micro").f == pytest.approx(1.0)


def test_unknown_distances_are_left_out():
    reference = both(steady(range(5)), steady(range(5, 11), distance_m=math.nan))
    found = score("dcase2024", [(reference, steady(range(10), distance_m=1.5))], None, "micro")
    assert found.f == 1.0 and found.relative_distance_error == pytest.approx(0.5)
    found = score("dcase2024", [(reference, steady(range(10), distance_m=math.nan))], None, "micro")
    assert math.isnan(found.distance_error_m)


SILENCE, SOUND = no_rows(), steady(range(21))


@pytest.mark.parametrize("name", YEARS)
@pytest.mark.parametrize("average", ["macro", "micro", "occurring"])
def test_silence_is_defined_for_every_scorer(name, average):
    none = score(name, [(SILENCE, SILENCE)], 20, average)
    missed = score(name, [(SOUND, SILENCE)], 21, average)
    invented = score(name, [(SILENCE, SOUND)], 21, average)
    assert (none.er, missed.er, missed.f) == (0.0, 1.0, 0.0)
    assert none.f == (1.0 if none.rules.exact_zero else 0.0) or average == "occurring"
    assert invented.f == 0.0 or average == "occurring"
    if none.rules.exact_zero:
        assert invented.er == math.inf
    elif none.rules.whole_length:
        assert invented.er > 1e10
    else:  # no frame is scored
        assert invented.er == 0.0


@pytest.mark.parametrize("name", YEARS)
def test_no_recording_and_no_frame_are_defined(name):
    scorer = LocationScorer(name, K)
    assert scorer.result().er == 0.0 and scorer.result().n_recordings == 0
    scorer.update(SILENCE, SILENCE, 0)
    assert scorer.result().er == 0.0


@pytest.mark.parametrize("name", YEARS)
def test_a_perfect_estimate_has_no_errors(name):
    rng = np.random.default_rng(5)
    reference = random_rows(rng, 60)
    found = score(name, [(reference, reference)], 60, "micro")
    assert (found.er, found.f) == (0.0, pytest.approx(1.0))
    assert found.doa_error_deg < 1e-3


@pytest.mark.parametrize("name", YEARS)
def test_scores_do_not_depend_on_how_recordings_are_joined(name):
    pairs = recordings(7, 4)
    whole, parts = LocationScorer(name, K), [LocationScorer(name, K) for _ in range(2)]
    for number, pair in enumerate(pairs):
        whole.update(*pair)
        parts[number // 2].update(*pair)
    joined = parts[0].merge(parts[1])
    np.testing.assert_array_equal(joined.result().values(), whole.result().values())
    some = whole.result(members=[1, 3]).values()
    np.testing.assert_allclose(some, score(name, [pairs[1], pairs[3]]).values(), rtol=1e-12)
    assert len(joined) == whole.result().n_recordings == 4


def test_rows_may_be_changed_after_an_update():
    reference, estimate = steady(range(11)), steady(range(10))
    scorer = LocationScorer("dcase2024", K)
    scorer.update(reference, estimate)
    estimate[:, AZIMUTH] = reference[:, FRAME] = 99.0
    assert scorer.result("micro").f == pytest.approx(1.0)


def test_numbers_of_sources_at_once_add_up_to_all():
    scorer = LocationScorer("dcase2024", K)
    for pair in recordings(8):
        scorer.update(*pair)
    parts = [scorer.result(overlap=number) for number in range(MOST_OVERLAP + 1)]
    total = sum(part.n_reference for part in parts)
    assert total.tolist() == scorer.result().n_reference.tolist()
    assert parts[0].n_reference.sum() == 0


def test_sources_of_one_class_at_once_are_counted_by_themselves():
    twice = both(steady(range(10)), steady(range(10), azimuth_deg=90, source=1))
    once = steady(range(10, 30))
    reference, estimate = both(twice, once), steady(range(30))
    scorer = LocationScorer("dcase2024", K)
    scorer.update(reference, estimate)
    of_one_class = scorer.result("micro", of_one_class=True)
    assert of_one_class.n_reference.sum() == 20
    assert of_one_class.recall == pytest.approx(0.5)
    assert scorer.result("micro", overlap=1, of_one_class=True).n_reference.sum() == 0
    assert scorer.result("micro", overlap=2).n_reference.sum() == 20
    assert scorer.result("micro").n_reference.sum() == 39  # the last frame is lost


def test_macro_means_have_all_classes_or_those_that_occur():
    pair = both(steady(range(10)), steady([10])), steady(range(10))
    assert score("dcase2024", [pair], None, "macro").f == pytest.approx(1 / K)
    assert score("dcase2024", [pair], None, "occurring").f == pytest.approx(1.0)


def test_lengths_of_vectors_matter_by_less_than_two_thousandths_of_a_degree():
    reference, estimate = steady(range(11)), steady(range(10))
    scorer = LocationScorer(year_rules("dcase2022", angles="offset"), K)
    vectors = np.tile([0.5, 0.0, 0.0], (10, 1))
    scorer.update(reference, estimate, estimate_vectors=vectors)
    lengths = np.sqrt([1 + 1e-10, 0.25 + 1e-10])
    expected = np.degrees(np.arccos(1 / lengths[0] * 0.5 / lengths[1]))
    assert scorer.result("micro").doa_error_deg == pytest.approx(expected, rel=1e-6)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ConfigError, match=r"one of dcase2020, .*Received: 'dcase2019'"):
        LocationScorer("dcase2019")
    scorer = LocationScorer("dcase2024", K)
    with pytest.raises(ValueError, match="classes below 5"):
        scorer.update(steady([0], K), SILENCE)
    with pytest.raises(ValueError, match="same rules and classes"):
        scorer.merge(LocationScorer("dcase2024", K + 1))


def test_plain_values_have_every_score_and_class():
    plain = score("dcase2025", recordings(9)).to_dict()
    assert plain["rules"]["name"] == "dcase2025" and len(plain["by_class"]["f"]) == K
