"""Targets and decoding of multi-ACCDOA as they are made today: frame by frame, in Python.

Written anew from the description of the baselines of 2022 to 2024: rows become lists of events by
frame, whose groups of one class are written one by one; outputs are read class by class, each pair
of tracks compared by a function of its own.
"""

import numpy as np

N_TRACKS, N_SLOTS = 3, 6
FIRST_SLOT = {1: 0, 2: 1, 3: 3}  # of a class with so many sources: A0 | B0, B1 | C0, C1, C2
PAIRS = ((0, 1), (1, 2), (2, 0))
Source = list[float]  # class, x, y, z


def events_by_frame(rows: np.ndarray) -> dict[int, list[Source]]:
    """Sources with unit vectors by frame, from rows (n, 7), see `seld.recordings.rows`."""
    frames: dict[int, list[Source]] = {}
    for frame, klass, azimuth_deg, elevation_deg, *_ in rows.tolist():
        azimuth, elevation = azimuth_deg * np.pi / 180, elevation_deg * np.pi / 180
        x, y = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
        frames.setdefault(int(frame), []).append([int(klass), x, y, np.sin(elevation)])
    return frames


def targets(rows: np.ndarray, n_frames: int, n_classes: int) -> np.ndarray:
    """Targets of a recording, float32 (n_frames, 6, 4, K); the fourth source of a class is lost."""
    activity = np.zeros((n_frames, N_SLOTS, n_classes))
    x, y, z = (np.zeros((n_frames, N_SLOTS, n_classes)) for _ in range(3))
    for frame, events in events_by_frame(rows).items():
        if frame >= n_frames:
            continue
        events.sort(key=lambda event: event[0])
        group: list[Source] = []
        for number, event in enumerate(events):
            group.append(event)
            if number + 1 < len(events) and events[number + 1][0] == event[0]:
                continue
            group = group[:N_TRACKS]
            klass, first = int(event[0]), FIRST_SLOT[len(group)]
            for slot, source in enumerate(group, first):
                activity[frame, slot, klass] = 1
                x[frame, slot, klass], y[frame, slot, klass], z[frame, slot, klass] = source[1:]
            group = []
    return np.stack([activity, x, y, z], axis=2).astype(np.float32)


def angle_between_deg(first: np.ndarray, second: np.ndarray) -> float:
    """Angle between two vectors (3,)."""
    units = []
    for vector in (first, second):
        units.append(vector / np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2 + 1e-10))
    cosine = units[0][0] * units[1][0] + units[0][1] * units[1][1] + units[0][2] * units[1][2]
    return np.arccos(np.clip(cosine, -1, 1)) * 180 / np.pi


def are_one(
    active: np.ndarray, tracks: np.ndarray, pair: tuple[int, int], unify_deg: float
) -> bool:
    """True if both tracks of a pair, of (3,) and (3, 3), are active and closer than `unify_deg`."""
    first, second = pair
    if not (active[first] and active[second]):
        return False
    return angle_between_deg(tracks[first], tracks[second]) < unify_deg


def decode(outputs: np.ndarray, unify_deg: float) -> dict[int, list[Source]]:
    """Sources by output frame, from outputs (T, 3, 3, K); joined tracks follow single ones."""
    x, y, z = outputs[:, :, 0], outputs[:, :, 1], outputs[:, :, 2]  # (T, 3, K) each
    on = np.sqrt(x**2 + y**2 + z**2) > 0.5
    found: dict[int, list[Source]] = {}
    for frame in range(len(outputs)):
        for klass in range(outputs.shape[-1]):
            active, tracks = on[frame, :, klass], outputs[frame, :, :, klass]
            joined = [pair for pair in PAIRS if are_one(active, tracks, pair, unify_deg)]
            # two of the pairs hold all three tracks
            members = set().union(*joined) if joined else set()
            for track in range(N_TRACKS):
                if active[track] and track not in members:
                    found.setdefault(frame, []).append([klass, *tracks[track]])
            if len(joined) == 1:
                first, second = joined[0]
                mean = (tracks[first] + tracks[second]) / 2
            elif joined:
                mean = (tracks[0] + tracks[1] + tracks[2]) / 3
            if joined:
                found.setdefault(frame, []).append([klass, *mean])
    return found
