"""Scores of clips with known ground truth, averages over folds, tables."""

import json

import numpy as np
import pytest
import soundfile
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from common.errors import DataError
from common.io.files import write_json
from sed_task4.labels import tags_of_events
from sed_task4.segmentation.clip_scorer import (
    ClipOutput,
    ClipTruth,
    SegmentationScorer,
    baseline_outputs,
    read_truth,
    true_activity,
)
from sed_task4.segmentation.dataset import DatasetConfig, Mixture, MixtureEvent
from sed_task4.segmentation.masks import class_masks
from sed_task4.segmentation.score import SCORES, ScoringConfig, average_folds, segmentation_report
from sed_task4.segmentation.separation import MaskFraming

CLASSES = ("Bark", "Knock", "Meow")
FRAMING = MaskFraming(512, 512, 256, sample_rate_hz=8000, n_mels=16, fmin_hz=50.0)
CLIP_S = 4.0


def make_truth(seed: int, *, sound: bool = True) -> ClipTruth:
    """Two events, of two of the three classes, in noise of their level."""
    rng = np.random.default_rng(seed)
    first, second = rng.permutation(3)[:2] if seed else (0, 1)
    events = np.array([[first, 0.5, 1.4], [second, 2.0, 3.1]])
    n_samples = round(CLIP_S * 8000)
    audio = np.zeros((n_samples, 2), np.float32)
    times = np.arange(n_samples) / 8000
    for k, onset_s, offset_s in events:
        tone = np.sin(2 * np.pi * (400 + 900 * k) * times)
        audio[:, 0] += tone * ((times >= onset_s) & (times < offset_s))
    audio[:, 1] = rng.normal(0, 0.3, n_samples)
    magnitude = [FRAMING.mel_magnitude(channel) for channel in audio.T]
    mask = (magnitude[0] > magnitude[1]).astype(np.float32)
    return ClipTruth(f"{seed:05d}.wav", events, mask, audio if sound else None)


def make_output(truth: ClipTruth, seed: int) -> ClipOutput:
    """The ground truth, blurred."""
    rng = np.random.default_rng([seed, 1])
    ideal = class_masks(truth.mask, true_activity(truth, 3, FRAMING))
    masks = np.clip(0.7 * ideal + rng.uniform(0, 0.4, ideal.shape), 0, 1).astype(np.float32)
    tags = tags_of_events(truth.events, 3)
    return ClipOutput(np.clip(0.5 * tags + rng.uniform(0, 0.6, 3), 0, 1), masks)


def fold_scores(seeds, output=make_output, **settings) -> dict[str, np.ndarray]:
    scorer = SegmentationScorer(CLASSES, FRAMING, CLIP_S, scoring=ScoringConfig(**settings))
    for seed in seeds:
        truth = make_truth(seed)
        scorer.update(truth, output(truth, seed))
    return scorer.class_scores()


@pytest.fixture(scope="module")
def scores():
    return fold_scores(range(8))


def test_tags_frames_and_masks_are_scored_as_by_scikit_learn(scores):
    truths = [make_truth(seed) for seed in range(8)]
    outputs = [make_output(truth, seed) for seed, truth in enumerate(truths)]
    activity = [true_activity(truth, 3, FRAMING) for truth in truths]
    gated = [each.frames * (each.clip > 0.1) for each in outputs]
    ideal = [
        class_masks(truth.mask, active) for truth, active in zip(truths, activity, strict=True)
    ]
    tags, masks = (
        np.stack([tags_of_events(each.events, 3) for each in truths]),
        [each.masks for each in outputs],
    )
    parts = {
        "tag": (tags, np.stack([each.clip for each in outputs]), 0.5),
        "sed": (np.concatenate(activity), np.concatenate(gated), 0.2),
        "mask": (np.concatenate(ideal).reshape(-1, 3), np.concatenate(masks).reshape(-1, 3), 0.5),
    }
    for name, (targets, values, threshold) in parts.items():
        assert np.allclose(scores[f"{name}_f"], f1_score(targets, values > threshold, average=None))
        assert np.allclose(
            scores[f"{name}_auc"], roc_auc_score(targets, values, average=None), atol=1e-4
        )
        assert np.allclose(
            scores[f"{name}_ap"], average_precision_score(targets, values, average=None), atol=2e-3
        )


def test_sounds_are_scored_within_true_events(scores):
    assert (scores["gain_db"] > 3).all()
    limited = fold_scores([0], separate_clips=0)
    assert "gain_db" not in limited
    assert np.isnan(fold_scores([0])["gain_db"][2])  # not in this clip


def test_baselines_have_the_expected_scores():
    truths = [make_truth(seed) for seed in range(8)]
    by_label = {}
    for label in baseline_outputs(truths[0], 3, FRAMING):
        scorer = SegmentationScorer(CLASSES, FRAMING, CLIP_S)
        for truth in truths:
            scorer.update(truth, baseline_outputs(truth, 3, FRAMING)[label])
        by_label[label] = average_folds([scorer.class_scores()], label).scores
    everywhere, tags, times, ideal = by_label.values()
    for part in ("tag", "sed", "mask"):
        assert everywhere[f"{part}_auc"] == 0.5
    for part in ("tag", "mask"):
        assert ideal[f"{part}_f"] == ideal[f"{part}_auc"] == 1
    assert max(abs(everywhere["gain_db"]), abs(tags["gain_db"])) < 1e-6
    assert times["gain_db"] > 3
    assert abs(times["event_gain_db"]) < 0.5 < ideal["event_gain_db"]
    assert times["event_f"] == 1
    assert (tags["tag_f"], tags["event_f"]) == (1, 0)
    assert everywhere["mask_f"] < times["mask_f"] < 1


def test_events_undefined_in_one_fold_count_zero_as_published():
    folds = [
        {
            "event_f": np.array([0.5, np.nan, 0.4]),
            "sed_f": np.array([0.5, np.nan, 0.4]),
            "n_clips": np.ones(3),
        }
    ] * 2
    folds[1] = {
        "event_f": np.array([0.7, 0.9, 0.6]),
        "sed_f": np.array([0.7, 0.9, 0.6]),
        "n_clips": np.ones(3),
    }
    row = average_folds(folds, "system")
    assert np.allclose(row.by_class["event_f"], [0.6, 0, 0.5])
    assert np.allclose(row.by_class["sed_f"], [0.6, 0.9, 0.5])
    assert np.isclose(row.scores["event_f"], 1.1 / 3)
    assert row.by_class["n_clips"] == [2, 2, 2]


def test_the_tables_show_systems_baselines_and_published_scores(scores, tmp_path):
    other = fold_scores(range(8, 12))
    report = segmentation_report(
        {"gwrp": [scores, other], "gmp": [scores]},
        {"chance": [scores]},
        CLASSES,
        12,
        published={"sed_f": 0.39},
    )
    titles = [table.title for table in report.tables()]
    assert titles[0] == "Tagging"
    assert titles[-1] == "Classes: gwrp"
    assert [row[0] for row in report.tables()[1].rows] == [
        "12 clips",
        "gwrp",
        "gmp",
        "chance",
        "published",
    ]
    assert report.score("sed_f") == pytest.approx(np.mean([scores["sed_f"], other["sed_f"]]))
    assert set(report.rows[0].scores) == set(SCORES)
    assert "39.0 %" in report.to_text()
    assert "| gmp |" in report.to_markdown()
    write_json(tmp_path / "scores.json", report.to_dict())
    stored = json.loads((tmp_path / "scores.json").read_text())
    assert stored["rows"][0]["classes"]["Bark"]["mask_f"] == pytest.approx(
        report.rows[0].by_class["mask_f"][0]
    )


def test_classes_that_do_not_occur_are_named():
    single = fold_scores([0])
    assert "No clip has Meow" in segmentation_report({"gwrp": [single]}, {}, CLASSES, 1).to_text()


def test_nothing_to_score_is_an_error():
    with pytest.raises(DataError, match="nothing to score"):
        segmentation_report({}, {}, CLASSES, 0)
    with pytest.raises(DataError, match="nothing to score"):
        average_folds([], "gwrp")
    with pytest.raises(DataError, match="nothing to score"):
        SegmentationScorer(CLASSES, FRAMING).class_scores()
    with pytest.raises(ValueError, match=r"Expected: some of tag_precision.*Received: \['f1'\]"):
        segmentation_report({}, {}, CLASSES, 0, published={"f1": 1.0})


def test_masks_of_other_frames_are_refused():
    truth = make_truth(0)
    output = ClipOutput(np.zeros(3), np.zeros((9, 16, 3)))
    with pytest.raises(
        ValueError, match=r"00000.wav: expected masks \(124, 16, 3\).*Received: \(9, 16, 3\)"
    ):
        SegmentationScorer(CLASSES, FRAMING).update(truth, output)


def test_the_ground_truth_is_read_from_two_channels(tmp_path):
    audio = make_truth(0).audio
    soundfile.write(tmp_path / "00000.wav", audio / np.abs(audio).max(), 8000, subtype="PCM_16")
    events = (MixtureEvent("a.wav", "Bark", 0.5, 1.4), MixtureEvent("b.wav", "Knock", 2.0, 3.1))
    dataset = DatasetConfig(
        classes=CLASSES, sample_rate_hz=8000, clip_s=CLIP_S, events_per_mixture=1
    )
    truth = read_truth(
        Mixture("00000.wav", 1, tmp_path / "00000.wav", "scene.wav", events), dataset, FRAMING
    )
    assert np.array_equal(truth.events, make_truth(0).events)
    assert truth.audio.shape == (32000, 2)
    assert truth.mask[17:40].max() == 1
    assert truth.mask[50:60].max() == 0  # between the events


def test_padding_of_short_clips_does_not_change_the_scores():
    results = []
    for clip_s in (CLIP_S, CLIP_S + 3.0):
        scorer = SegmentationScorer(CLASSES, FRAMING, clip_s)
        for seed in range(4):
            truth = make_truth(seed)
            output, missing = make_output(truth, seed), round((clip_s - CLIP_S) / FRAMING.hop_s)
            padded = np.pad(output.masks, ((0, missing), (0, 0), (0, 0)), constant_values=0.9)
            events = scorer.update(truth, ClipOutput(output.clip, padded))
            assert events[:, 2].max(initial=0.0) <= CLIP_S
        results.append(scorer.class_scores())
    for name, values in results[0].items():
        np.testing.assert_array_equal(results[1][name], values, err_msg=name)
