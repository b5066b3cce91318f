from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import soundfile

from common.display.spectrogram import Spectrogram
from common.features.settings import feature_shape
from seld.dataset import DatasetConfig, Events
from seld.features import FeatureConfig
from seld.figures import (
    LEARNING_PANELS,
    channel_titles,
    class_colours,
    classes_figure,
    dataset_figures,
    directions_figure,
    features_figure,
    learning_panels,
    main,
    overlap_shares,
    recording_figure,
    runs,
    spectrogram_of,
)
from seld.metrics.years import YEARS
from seld.recordings.rows import make_rows
from seld.scores.scoring import LocationScoring

DATASET = DatasetConfig(classes=("cough", "door", "phone"), recording_s=2.0)
HEADER = "sound_event_recording,start_time,end_time,ele,azi,dist\n"
ROWS = np.array(
    [[0, 1, 30, 10], [1, 1, 30, 10], [1, 2, -60, -20], [3, 1, 40, 10]], dtype=np.float64
)


def events(*rows: tuple) -> Events:
    return Events.from_array(np.array(rows, np.float64).reshape(-1, 6))


def labels_of(figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


def test_frames_in_a_row_are_one_run():
    assert runs(ROWS[::-1]) == [(1, 0, 2), (1, 3, 4), (2, 1, 2)]
    assert runs(np.zeros((0, 4))) == []


def test_a_class_twice_in_a_frame_is_one_run():
    assert runs(np.array([[0, 1, 0, 0], [0, 1, 90, 0], [1, 1, 90, 0]])) == [(1, 0, 2)]


@pytest.mark.parametrize("n_classes", [1, 11, 20, 41])
def test_every_class_has_a_colour_of_its_own(n_classes):
    assert len(np.unique(class_colours(n_classes), axis=0)) == n_classes


def test_a_recording_shows_reference_and_estimate_side_by_side():
    figure = recording_figure(
        Spectrogram(np.zeros((100, 8)), 2), ROWS, ROWS[:2], DATASET.classes, 0.02, "name"
    )
    assert labels_of(figure) == [
        "Spectrogram, first channel",
        *("Reference: events", "Reference: azimuth", "Reference: elevation"),
        *("Estimate: events", "Estimate: azimuth", "Estimate: elevation"),
    ]
    assert figure.get_suptitle() == "name"
    # what appears
    assert [text.get_text() for text in figure.legends[0].texts] == ["door", "phone"]


@pytest.mark.parametrize(
    "letters, reference", [(3, None), (11, ROWS[:0]), (24, None), (24, ROWS[:0])]
)
def test_the_names_of_all_classes_fit_below_the_axes(reference, letters):
    classes = tuple(f"{k:02d}".ljust(letters, "w") for k in range(14))
    rows = np.array([[0, k, 0, 0] for k in range(14)])
    figure = recording_figure(
        Spectrogram(np.zeros((9, 8)), 0.18), reference, rows, classes, 0.02, "name"
    )
    figure.canvas.draw()
    legend, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert legend.x0 >= whole.x0 and legend.x1 <= whole.x1


def test_events_stand_where_they_sound():
    figure = recording_figure(
        Spectrogram(np.zeros((100, 8)), 2), ROWS, ROWS[:0], DATASET.classes, 0.02, "name"
    )
    reference = next(
        axes for axes in figure.axes if axes.get_title(loc="left") == "Reference: events"
    )
    bars = sorted((round(bar.get_x(), 9), round(bar.get_width(), 9)) for bar in reference.patches)
    assert bars == [(0.0, 0.04), (0.02, 0.02), (0.06, 0.02)]
    assert [tick.get_text() for tick in reference.get_yticklabels()] == list(DATASET.classes)


def test_angles_beyond_the_usual_range_are_shown_too():
    wild = np.array([[0, 0, 250.0, 75.0]])
    figure = recording_figure(
        Spectrogram(np.zeros((100, 8)), 2), None, wild, DATASET.classes, 0.02, "name"
    )
    limits = {axes.get_title(loc="left"): axes.get_ylim() for axes in figure.axes}
    assert limits["Estimate: azimuth"][1] > 250
    assert limits["Estimate: elevation"][1] > 75


def test_a_recording_without_labels_shows_only_the_estimate():
    figure = recording_figure(
        Spectrogram(np.zeros((100, 8)), 2), None, ROWS[:0], DATASET.classes, 0.02, "name"
    )
    assert not [label for label in labels_of(figure) if "Reference" in label]


def test_a_silent_recording_can_be_drawn():
    figure = recording_figure(
        Spectrogram(np.full((100, 8), -np.inf), 2), None, ROWS[:0], DATASET.classes, 0.02, "name"
    )
    figure.canvas.draw()


def test_sources_of_one_class_have_marks_of_their_own_and_a_panel_of_distances():
    rows = make_rows(
        np.array([0, 0, 1, 1]), np.array([1, 1, 1, 1]), np.array([0, 90, 91, 1]), source=3.0,
        distance_m=np.array([1.0, 2.0, 2.5, 1.0]),
    )  # fmt: skip
    figure = recording_figure(
        Spectrogram(np.zeros((100, 8)), 2), None, rows, DATASET.classes, 0.1, "name",
        quantities=("azimuth", "distance"),
    )  # fmt: skip
    assert labels_of(figure)[1:] == ["Estimate: events", "Estimate: azimuth", "Estimate: distance"]
    events, distances = (
        next(axes for axes in figure.axes if axes.get_title(loc="left") == f"Estimate: {name}")
        for name in ("events", "distance")
    )
    assert sorted(round(bar.get_y(), 3) for bar in events.patches) == [0.676, 1.026]
    drawn = [np.asarray(marks.get_offsets())[:, 1].tolist() for marks in distances.collections]
    assert drawn == [[1.0, 1.0], [2.0, 2.5]]
    assert [text.get_text() for text in figure.legends[0].texts] == ["door", "source 2 of a class"]


def test_overlaps_of_one_and_two_classes_differ():
    two_of_one = events((0, 0.0, 1.0, 0, 0, 1), (0, 0.5, 1.5, 90, 0, 1))
    two_of_two = events((1, 0.0, 1.0, 0, 0, 1), (2, 0.5, 1.5, 90, 0, 1))
    shares, active, doubled = overlap_shares([two_of_one, two_of_two], DATASET)
    # 2 s: 0.5 s of silence, 1 s of one, 0.5 s of two
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25])
    np.testing.assert_array_equal(active, [75, 50, 50])
    np.testing.assert_array_equal(doubled, [25, 0, 0])


def test_counts_of_classes_are_written_at_their_bars():
    recordings = [events((0, 0, 1, 0, 0, 1), (2, 0, 1, 0, 0, 1)), events((2, 0, 1, 0, 0, 1))]
    figure = classes_figure(recordings, DATASET.classes)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "0", "2"]


def test_each_room_has_its_histograms():
    recordings = {
        "a": events((0, 0, 1, -180, -40, 1)),
        "b": events((1, 0, 1, 170, 40, 1)),
        "c": events(),
    }
    figure = directions_figure(recordings, {"a": 1, "b": 2, "c": None}, DATASET)
    assert labels_of(figure) == [
        "room 1: 1 recordings",
        "room 2: 1 recordings",
        "room unknown: 1 recordings",
    ]
    first_azimuths = [bar.get_height() for bar in figure.axes[0].patches]
    assert (first_azimuths[0], sum(first_azimuths)) == (1, 1)
    assert [bar.get_height() for bar in figure.axes[2].patches][-1] == 1


def test_a_dataset_without_any_event_can_be_drawn():
    for figure in dataset_figures({"a": events()}, {"a": 1}, DATASET).values():
        figure.canvas.draw()


def test_a_tone_appears_at_its_frequency_and_level(tmp_path):
    tone = 0.5 * np.sin(2 * np.pi * 3000 * np.arange(48000) / 48000)
    soundfile.write(tmp_path / "tone.wav", np.tile(tone[:, None], 4), 48000, subtype="FLOAT")
    spectrogram_db = spectrogram_of(tmp_path / "tone.wav", DATASET)
    assert spectrogram_db.shape == (50, 1025)
    assert abs(spectrogram_db[25].argmax() - 3000 / 48000 * 2048) <= 1
    # A windowed sine of amplitude a peaks at a / 2 x the sum of the window, 960: 47.6 dB.
    np.testing.assert_allclose(spectrogram_db[25].max(), 20 * np.log10(0.25 * 960), atol=0.5)


@pytest.fixture
def recording(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, (48000, 4))
    soundfile.write(tmp_path / "split1_ir2_ov1_1.wav", noise, 48000)
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "split1_ir2_ov1_1.csv").write_text(HEADER + "knock,0.1,0.5,10,-30,1\n")
    (tmp_path / "estimate.csv").write_text("5,0,-30,10\n6,0,-29,11\n")
    return tmp_path


def test_the_command_draws_a_recording(recording):
    files = {
        "--reference": recording / "metadata" / "split1_ir2_ov1_1.csv",
        "--estimate": recording / "estimate.csv",
        "--out": recording / "new" / "figure.png",
    }
    options = [str(part) for pair in files.items() for part in pair]
    assert main(["recording", str(recording / "split1_ir2_ov1_1.wav"), *options]) == 0
    image = matplotlib.image.imread(recording / "new" / "figure.png")
    assert image.shape[0] > 500
    assert image[..., :3].std() > 0.05  # not blank
    assert [path.name for path in (recording / "new").iterdir()] == ["figure.png"]


def test_the_command_draws_a_dataset(recording):
    assert main(["dataset", str(recording / "metadata"), "--out", str(recording / "figures")]) == 0
    names = sorted(path.name for path in (recording / "figures").iterdir())
    assert names == ["classes.png", "directions.png", "overlap.png"]


def test_the_command_names_the_error_and_writes_nothing(recording, capsys):
    (recording / "estimate.csv").write_text("5,0,-30\n")
    arguments = [
        "recording",
        str(recording / "split1_ir2_ov1_1.wav"),
        "--out",
        str(recording / "figure.png"),
    ]
    assert main([*arguments, "--estimate", str(recording / "estimate.csv")]) == 2
    assert "estimate.csv, line 1" in capsys.readouterr().err
    assert main([*arguments, "--estimate", str(recording / "nothing.csv")]) == 2
    assert "nothing.csv" in capsys.readouterr().err
    assert main(["dataset", str(recording / "figures"), "--out", str(recording)]) == 2
    assert "No metadata in" in capsys.readouterr().err
    assert not (recording / "figure.png").exists()


def test_the_best_epoch_is_marked_on_the_score_that_decides():
    for monitor in ("val_sed_error", "val_seld_error"):
        panels = learning_panels(monitor)
        assert [panel.best for panel in panels] == [None, monitor, None, None]
        assert monitor in {curve.name for curve in panels[1].curves}
    assert learning_panels("val_f", "max")[1].highest


def test_every_score_of_the_years_has_a_learning_curve():
    names = {curve.name for panel in LEARNING_PANELS for curve in panel.curves}
    for scorer, rules in YEARS.items():
        task = SimpleNamespace(scoring=SimpleNamespace(scorer=scorer, intervals=False))
        scores = SimpleNamespace(**dict.fromkeys(rules.scores, 0.5))
        logged = LocationScoring(task).logged(scores, False)
        assert {f"val_{name}" for name in logged} <= names


def test_learning_panels_show_losses_and_all_five_scores():
    names = {curve.name for panel in LEARNING_PANELS for curve in panel.curves}
    scores = {f"val_{name}" for name in ("er", "f", "doa_error_deg", "frame_recall", "seld_error")}
    losses = {
        f"{prefix}{name}" for prefix in ("", "val_") for name in ("loss", "sed_loss", "doa_loss")
    }
    assert scores | losses <= names


@pytest.mark.parametrize(
    ("features", "dataset", "expected"),
    [
        (
            {"kind": "logmel_gcc"},
            {"format": "mic", "channels": 3},
            ["level"] * 3 + ["GCC-PHAT"] * 3,
        ),
        ({"kind": "logmel"}, {"format": "foa"}, ["level"] * 4),
        ({"kind": "logmel_intensity"}, {"format": "foa"}, ["level"] * 4 + ["intensity"] * 3),
        ({"kind": "magnitude_phase"}, {"format": "mic"}, ["magnitude"] * 4 + ["phase"] * 4),
    ],
)
def test_every_feature_channel_has_an_image_with_its_name(features, dataset, expected):
    config, data = FeatureConfig(**features), DatasetConfig(**dataset)
    titles = channel_titles(config, data)
    assert len(titles) == feature_shape(config, 48000, data.channels)[1]
    assert all(word in title for word, title in zip(expected, titles, strict=True))
    values = np.random.default_rng(0).normal(size=(50, 8, len(titles)))
    figure = features_figure(values, titles, 0.02, "name")
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.images] == titles
    assert figure.axes[0].images[0].get_extent() == [0.0, 1.0, 0.0, 8]


def test_a_spectrogram_may_have_another_hop_than_the_rows():
    figure = recording_figure(
        Spectrogram(np.zeros((200, 8)), 2), None, ROWS, DATASET.classes, 0.02, "n"
    )
    assert figure.axes[0].images[0].get_extent()[1] == 2.0
