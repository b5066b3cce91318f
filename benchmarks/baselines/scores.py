"""Scores as they are computed today.

SELD: the official program of DCASE 2019, frame by frame, on dense arrays of labels. Events: the
baselines of DCASE task 4, which cut tables of pandas into files for sed_eval.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from common.metrics.detection import from_sed_eval
from common.metrics.sed_eval_scores import import_sed_eval

BLOCK_FRAMES = 50
N_AZIMUTHS, N_ELEVATIONS, STEP_DEG = 36, 9, 10
LOWEST_AZIMUTH_DEG, LOWEST_ELEVATION_DEG = -180, -40


@dataclass
class OfficialScorer:
    """Sums that the five scores are computed from.

    Attributes:
        true_positives, n_reference, n_estimate: of blocks of one second.
        substitutions, deletions, insertions: of blocks.
        distance_sum_deg: great-circle distances of matched pairs.
        n_directions: estimated directions.
        good_frames: frames with the right number of directions.
        n_frames: frames.
    """

    true_positives: float = 0
    n_reference: float = 0
    n_estimate: float = 0
    substitutions: float = 0
    deletions: float = 0
    insertions: float = 0
    distance_sum_deg: float = 0.0
    n_directions: int = 0
    good_frames: int = 0
    n_frames: int = 0

    def add_activity(self, reference: np.ndarray, estimate: np.ndarray) -> None:
        """Adds detections of a recording, (T, K) each; a block counts 49 of its 50 frames."""
        n_blocks = int(np.ceil(len(reference) / BLOCK_FRAMES))
        blocks = []
        for activity in (reference, estimate):
            block = np.zeros((n_blocks, activity.shape[1]))
            for number in range(n_blocks):
                first = number * BLOCK_FRAMES
                block[number] = np.max(activity[first : first + BLOCK_FRAMES - 1], axis=0)
            blocks.append(block)
        truth, guess = blocks
        self.true_positives += ((2 * truth - guess) == 1).sum()
        self.n_reference += truth.sum()
        self.n_estimate += guess.sum()
        misses = np.logical_and(truth == 1, guess == 0).sum(1)
        false_alarms = np.logical_and(truth == 0, guess == 1).sum(1)
        self.substitutions += np.minimum(misses, false_alarms).sum()
        self.deletions += np.maximum(0, misses - false_alarms).sum()
        self.insertions += np.maximum(0, false_alarms - misses).sum()

    def add_frame(self, reference_rad: np.ndarray, estimate_rad: np.ndarray) -> None:
        """Adds the directions of one frame, azimuth and elevation in radians, (R, 2) and (E, 2)."""
        self.n_frames += 1
        self.n_directions += len(estimate_rad)
        if len(reference_rad) == len(estimate_rad):
            self.good_frames += 1
        if len(reference_rad) and len(estimate_rad):
            self.distance_sum_deg += least_distance_deg(reference_rad, estimate_rad)

    def result(self) -> dict[str, float]:
        """The five scores of all recordings so far."""
        errors = self.substitutions + self.deletions + self.insertions
        er = float(errors / self.n_reference)
        f = float(2 * self.true_positives / (self.n_reference + self.n_estimate))
        doa_error_deg = self.distance_sum_deg / self.n_directions if self.n_directions else 0.0
        frame_recall = self.good_frames / self.n_frames
        seld_error = float(np.mean([er, 1 - f, doa_error_deg / 180, 1 - frame_recall]))
        return {
            "er": er,
            "f": f,
            "doa_error_deg": doa_error_deg,
            "frame_recall": frame_recall,
            "seld_error": seld_error,
        }


def least_distance_deg(reference_rad: np.ndarray, estimate_rad: np.ndarray) -> float:
    """Total distance of the pairs that the Hungarian method finds, in degrees."""
    pairs = np.array(
        [
            [first, second]
            for second in range(len(estimate_rad))
            for first in range(len(reference_rad))
        ]
    )
    costs = np.zeros((len(reference_rad), len(estimate_rad)))
    azimuth1, elevation1 = reference_rad[pairs[:, 0]].T
    azimuth2, elevation2 = estimate_rad[pairs[:, 1]].T
    cosine = np.sin(elevation1) * np.sin(elevation2) + np.cos(elevation1) * np.cos(
        elevation2
    ) * np.cos(np.abs(azimuth1 - azimuth2))
    costs[pairs[:, 0], pairs[:, 1]] = np.arccos(np.clip(cosine, -1, 1)) / np.pi * 180
    rows, columns = linear_sum_assignment(costs)
    return float(costs[rows, columns].sum())


def by_regression(recordings: Iterable[tuple[np.ndarray, ...]]) -> dict[str, float]:
    """Scores recordings in the regression form.

    Args:
        recordings: of each, true activity (T, K), true directions in radians (T, 2K), azimuths
            before elevations, and the same of the estimate.
    """
    scorer = OfficialScorer()
    for reference, reference_rad, estimate, estimate_rad in recordings:
        scorer.add_activity(reference, estimate)
        n_classes = reference.shape[1]
        for frame in range(len(reference)):
            directions = []
            for activity, doa in ((reference, reference_rad), (estimate, estimate_rad)):
                active = np.where(activity[frame] == 1)[0]
                directions.append(np.array((doa[frame, active], doa[frame, n_classes + active])).T)
            scorer.add_frame(*directions)
    return scorer.result()


def by_classification(
    recordings: Iterable[tuple[np.ndarray, np.ndarray]], n_frames: int, n_classes: int
) -> dict[str, float]:
    """Scores submissions, which are first converted to tensors of all classes and directions.

    Args:
        recordings: rows (n, 4) = frame, class, azimuth_deg, elevation_deg of reference and
            estimate.
        n_frames: label frames of each recording.
        n_classes: K.
    """
    scorer = OfficialScorer()
    for pair in recordings:
        reference, estimate = (
            classification_tensor(by_frame(rows), n_frames, n_classes) for rows in pair
        )
        scorer.add_activity(np.max(reference, axis=2), np.max(estimate, axis=2))
        for frame in range(n_frames):
            directions = [
                grid_angles_rad(np.where(tensor[frame] == 1)[1]) for tensor in (reference, estimate)
            ]
            scorer.add_frame(*directions)
    return scorer.result()


def by_frame(rows: np.ndarray) -> dict[int, list[list[float]]]:
    """The rows of each frame, as they come out of a submission file."""
    frames: dict[int, list[list[float]]] = {}
    for frame, *rest in rows.tolist():
        frames.setdefault(int(frame), []).append(rest)
    return frames


def classification_tensor(
    frames: dict[int, list[list[float]]], n_frames: int, n_classes: int
) -> np.ndarray:
    """Dense labels float64 (T, K, 324), one-hot over the grid's directions if active."""
    tensor = np.zeros((n_frames, n_classes, N_AZIMUTHS * N_ELEVATIONS))
    for frame, rows in frames.items():
        if frame >= n_frames:
            continue
        for number, azimuth_deg, elevation_deg in rows:
            azimuth = (
                min(max(int(azimuth_deg), LOWEST_AZIMUTH_DEG), LOWEST_AZIMUTH_DEG + 350)
                - LOWEST_AZIMUTH_DEG
            )
            elevation = (
                min(max(int(elevation_deg), LOWEST_ELEVATION_DEG), 40) - LOWEST_ELEVATION_DEG
            )
            tensor[
                frame, int(number), azimuth // STEP_DEG * N_ELEVATIONS + elevation // STEP_DEG
            ] = 1
    return tensor


def grid_angles_rad(index: np.ndarray) -> np.ndarray:
    """Azimuth and elevation (n, 2) of directions of the grid, in radians."""
    azimuth_deg = LOWEST_AZIMUTH_DEG + index // N_ELEVATIONS * STEP_DEG
    elevation_deg = LOWEST_ELEVATION_DEG + index % N_ELEVATIONS * STEP_DEG
    return np.array((azimuth_deg, elevation_deg)).T * np.pi / 180


def events_by_pandas(
    reference: pd.DataFrame, estimate: pd.DataFrame, labels: Sequence[str], segment_s: float
) -> dict[str, dict[str, float]]:
    """Event- and segment-based scores as in the baselines of task 4: sed_eval, file by file.

    Args:
        reference: columns filename, event_label, onset, offset; a file without events has one row
            without a label.
        estimate: the same.
        labels: the classes.
        segment_s: length of a segment.

    Returns:
        f, er, macro_f and macro_er of "event" and "segment".
    """
    sed_eval = import_sed_eval()
    event_metric = sed_eval.sound_event.EventBasedMetrics(
        event_label_list=list(labels), t_collar=0.2, percentage_of_length=0.2
    )
    segment_metric = sed_eval.sound_event.SegmentBasedMetrics(
        event_label_list=list(labels), time_resolution=segment_s
    )
    for filename in reference["filename"].unique():
        lists = [events_of_file(table, filename) for table in (reference, estimate)]
        event_metric.evaluate(*lists)
        segment_metric.evaluate(*lists)
    return {
        "event": from_sed_eval(event_metric.results()),
        "segment": from_sed_eval(segment_metric.results()),
    }


def events_of_file(table: pd.DataFrame, filename: str) -> Any:
    """The events of one file as dcase_util's container; the whole table is searched for them."""
    from dcase_util.containers import MetaDataContainer

    rows = table[table["filename"] == filename].dropna(subset=["event_label"])
    return MetaDataContainer(rows.to_dict("records"))
