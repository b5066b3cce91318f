"""Azimuths of any convention share one circle: grid, scorer, labels, outputs, figures."""

import numpy as np
import pytest
import tensorflow as tf

from common.data.augmentation import transform_angles
from common.display.spectrogram import Spectrogram
from common.errors import DataError
from seld.augmentation import audio_tables, foa_transforms
from seld.averages import average_outputs
from seld.dataset import DatasetConfig, parse_events
from seld.figures import azimuth_limits, recording_figure
from seld.geometry import AngleGrid, snapped_deg
from seld.labels import rows_on_circle, rows_to_classification
from seld.metrics.dcase2019 import DEFINITIONS
from seld.score import ScoredRecording, score_report
from seld.submission import as_submitted
from seld.systems import seldnet, two_stage

HEADER = "sound_event_recording,start_time,end_time,ele,azi,dist\n"
ROUND = [
    (0, 350, 10),
    (-180, 180, 10),
    (0, 360, 10),
    (10, 360, 10),
    (-180, 175, 5),
    (0, 345, 15),
    (-90, 260, 10),
]
PARTIAL = [(-90, 90, 10), (0, 90, 10), (-30, 120, 5), (100, 200, 10), (-10, 10, 2)]


def dataset_of(low: float, high: float, step: float, **changes) -> DatasetConfig:
    ranges = {
        "azimuth_range_deg": (low, high),
        "angle_step_deg": step,
        "elevation_range_deg": (-2 * step, 2 * step),
    }
    return DatasetConfig(**{"classes": ("a",), "recording_s": 1.0, **ranges, **changes})


def angle_between(one: float, other: float) -> float:
    return abs((one - other + 180.0) % 360.0 - 180.0)


@pytest.mark.parametrize(("low", "high", "step"), [*ROUND, *PARTIAL, (-180, 170, 10)])
@pytest.mark.parametrize("turn", [-720.0, -360.0, 0.0, 360.0])
@pytest.mark.parametrize("noise", [-3e-7, 0.0, 3e-7])
def test_a_direction_of_the_grid_is_found_in_every_convention(low, high, step, turn, noise):
    grid = dataset_of(low, high, step).grid
    if grid.is_published and turn:
        pytest.skip("clipped as published")
    azimuth, elevation = grid.angles_of(np.arange(grid.size))
    np.testing.assert_array_equal(
        grid.nearest_below(azimuth + turn + noise, elevation + noise), np.arange(grid.size)
    )
    assert (
        len({round(float(each) % 360.0, 6) for each in azimuth}) == grid.n_azimuths
    )  # no direction is there twice


@pytest.mark.parametrize(("low", "high", "step"), PARTIAL)
def test_outside_a_partial_range_the_nearer_end_counts(low, high, step):
    grid = dataset_of(low, high, step).grid
    for azimuth in np.arange(-360.0, 360.0, 7.0):
        if low <= azimuth % 360.0 <= high or low <= azimuth % 360.0 - 360.0 <= high:
            continue
        found = grid.angles_of(grid.nearest_below([azimuth], [0.0]))[0][0]
        assert angle_between(found, azimuth) == min(
            angle_between(low, azimuth), angle_between(high, azimuth)
        )


def test_on_the_published_grid_the_published_scorer_clips():
    grid = AngleGrid()
    assert grid.is_published and not AngleGrid(elevation_range_deg=(-90, 90)).is_published
    assert grid.angles_of(grid.nearest_below([200, -190, 180], [0, 0, 0]))[0].tolist() == [
        170,
        -180,
        170,
    ]
    assert (
        rows_on_circle(np.array([[0, 0, 200.0, 0]]), grid)[0, 2] == 200.0
    )  # written as the regression gives it


def exact_outputs(
    azimuth_deg: float, elevation_deg: float, doa_output: str, frames: int
) -> dict[str, np.ndarray]:
    azimuth, elevation = np.radians(azimuth_deg), np.radians(elevation_deg)
    level = np.cos(elevation)
    doa = {
        "xyz": [level * np.cos(azimuth), level * np.sin(azimuth), np.sin(elevation)],
        "polar": [azimuth, elevation_deg * np.pi / 50.0],
        "two_stage": [azimuth, elevation],
    }[doa_output]
    return {"sed": np.ones((frames, 1)), "doa": np.tile(np.float32(doa), (frames, 1))}


@pytest.mark.parametrize(("low", "high", "step"), [*ROUND, *PARTIAL, (-180, 170, 10)])
@pytest.mark.parametrize("doa_output", ["xyz", "polar", "two_stage"])
def test_an_exact_output_has_no_error_under_both_scorers(low, high, step, doa_output):
    dataset = dataset_of(low, high, step)
    grid, n_frames = dataset.grid, dataset.n_frames
    network = two_stage.NetworkConfig(round_to_deg=None) if doa_output == "two_stage" else None
    decode = two_stage.decode if network else seldnet.decode
    network = network or seldnet.NetworkConfig(doa_output=doa_output)
    for index in range(0, grid.size, 7):
        azimuth, elevation = (float(each[0]) for each in grid.angles_of(np.array([index])))
        events = parse_events(f"{HEADER}a,0,1,{elevation},{azimuth},1\n", dataset)
        outputs = exact_outputs(azimuth, elevation, doa_output, n_frames)
        rows = decode(outputs, network=network, threshold=0.5, n_frames=n_frames, hop_ratio=1.0)
        submitted = as_submitted(rows_on_circle(rows, grid))
        for estimate in (rows, submitted):
            report = score_report(
                [ScoredRecording("r", 1, 0, 1, events, estimate, n_frames)], dataset
            )
            for definition in DEFINITIONS:
                assert report.score(definition, "doa_error_deg") == pytest.approx(0.0, abs=1e-4), (
                    azimuth,
                    elevation,
                )
                assert report.score(definition, "frame_recall") == 1.0


def test_one_direction_in_two_conventions_counts_once_in_a_frame():
    rows = np.array([[0, 0, 180.0, 0.0], [0, 0, -180.0, 0.0], [0, 0, 540.0, 0.0]])
    assert len(rows_to_classification(rows, 1, dataset_of(-180, 180, 10).grid)) == 1


@pytest.mark.parametrize(
    ("limits", "azimuth", "remedy"),
    [
        ((-180, 170), "270", "-90 degrees is the same direction"),
        ((-180, 170), "180", "-180 degrees is the same direction"),
        ((0, 350), "-10", "350 degrees is the same direction"),
        (
            (-90, 90),
            "135",
            (
                r"set `dataset.azimuth_range_deg` to the range of your labels, e\.g\. \[0,"
                r" 360\]"
            ),
        ),
        ((0, 90), "-45", r"e\.g\. \[-180, 180\]"),
    ],
)
def test_a_label_outside_the_range_is_refused_with_a_remedy(limits, azimuth, remedy):
    dataset = DatasetConfig(classes=("a",), azimuth_range_deg=limits)
    with pytest.raises(DataError, match=f"line 2: azi is outside the dataset's range.*{remedy}"):
        parse_events(f"{HEADER}a,0,1,0,{azimuth},1\n", dataset)


def test_the_ends_of_a_whole_circle_are_one_label():
    for low, high in ((-180, 180), (0, 360)):
        dataset = DatasetConfig(classes=("a",), azimuth_range_deg=(low, high))
        text = f"{HEADER}a,0,1,0,{high},1\na,0,1,0,{low},1\na,0,1,0,{low - 1e-7},1\n"
        assert parse_events(text, dataset).azimuth_deg.tolist() == [low] * 3


def test_elevations_beyond_the_poles_are_refused_at_load():
    with pytest.raises(ValueError, match=r"elevation_range_deg.*-90 to 90"):
        DatasetConfig(elevation_range_deg=(-100, 40))


@pytest.mark.parametrize(("low", "high"), [(-180, 170), (0, 350), (-90, 90), (0, 90)])
def test_rotated_labels_stay_on_the_circle_of_the_labels(low, high):
    grid = dataset_of(low, high, 10).grid
    transforms = foa_transforms(audio_tables, grid.lowest_azimuth_deg)
    azimuth = np.arange(low, high + 1, 10, dtype=np.float32)[None, :, None]  # (B, T, K)
    batch = {"azimuth_deg": azimuth, "activity": np.ones_like(azimuth)}
    for row in range(len(transforms)):
        turned = transform_angles(
            {key: tf.constant(each) for key, each in batch.items()}, transforms, [row]
        )
        found = np.asarray(turned["azimuth_deg"])
        np.testing.assert_array_equal(found, grid.on_circle(found))
        same = transforms.apply_to_angles("azimuth_deg", azimuth, azimuth > -999, row)
        np.testing.assert_array_equal(found, same)
    unturned = transform_angles(
        {key: tf.constant(each) for key, each in batch.items()}, transforms, [0]
    )
    np.testing.assert_array_equal(unturned["azimuth_deg"], azimuth)  # as validation sees them


def test_folds_with_the_same_direction_modulo_360_agree():
    answers = [
        {"sed": np.ones((1, 1)), "doa": np.radians([[angle, 10.0]])}
        for angle in (-10.0, 350.0, 710.0)
    ]
    mean = np.degrees(average_outputs(answers)["doa"])
    np.testing.assert_allclose(mean, [[-10.0, 10.0]], atol=1e-9)
    assert AngleGrid((0, 350)).on_circle(mean[0, 0]) == pytest.approx(350.0)


def test_angles_with_rounding_errors_keep_their_degree():
    rows = np.array([[0, 0, 19.9999999, -29.9999999], [1, 0, 19.9, -29.9]])
    assert as_submitted(rows)[:, 2:].tolist() == [[20, -30], [19, -29]]
    assert snapped_deg(np.array([179.9999, -180.0000001])).tolist() == [179.9999, -180.0]


@pytest.mark.parametrize(
    ("low", "high", "shown"), [(0, 350, (0, 360)), (-180, 170, (-180, 180)), (0, 90, (-135, 225))]
)
def test_figures_show_the_circle_of_the_dataset(low, high, shown):
    grid = dataset_of(low, high, 10).grid
    assert azimuth_limits(grid) == shown
    rows = np.array([[2 * n, 0, angle, 0.0] for n, angle in enumerate((-90, 270, 200, 20))])
    figure = recording_figure(
        Spectrogram(np.zeros((100, 8)), 2.0), None, rows, ("a",), 0.02, "r", grid=grid
    )
    axes = next(each for each in figure.axes if each.get_title(loc="left") == "Estimate: azimuth")
    drawn = np.asarray(axes.collections[0].get_offsets())[:, 1]
    np.testing.assert_array_equal(drawn, grid.on_circle(rows[:, 2]))
    assert (
        axes.get_ylim()[0] <= drawn.min()
        and drawn.max() <= axes.get_ylim()[1]
        and drawn[0] == drawn[1]
    )
