"""Files of room responses for tests: exact ambisonic pulses, and tables that list them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 24000
HEADER = "file,azimuth,elevation,distance,place,convention,normalisation"


def pulse_response(
    waves: Sequence[tuple[int, float, float, float]], n_samples: int = 2400
) -> np.ndarray:
    """Makes W, Y, Z, X in SN3D of plane waves, float64 (samples, 4).

    Args:
        waves: sample, amplitude, azimuth and elevation in degrees of each.
        n_samples: length.
    """
    response = np.zeros((n_samples, 4))
    for sample, amplitude, azimuth_deg, elevation_deg in waves:
        azimuth, elevation = np.deg2rad([azimuth_deg, elevation_deg])
        level = np.cos(elevation)
        response[sample] += amplitude * np.array(
            [1.0, np.sin(azimuth) * level, np.sin(elevation), np.cos(azimuth) * level]
        )
    return response


def as_n3d(sn3d: np.ndarray) -> np.ndarray:
    """W, Y, Z, X of SN3D in N3D."""
    return sn3d * [1, np.sqrt(3), np.sqrt(3), np.sqrt(3)]


def as_fuma(sn3d: np.ndarray) -> np.ndarray:
    """W, Y, Z, X of SN3D as W, X, Y, Z of Furse and Malham."""
    w, y, z, x = sn3d.T
    return np.stack([w / np.sqrt(2), x, y, z], axis=1)


def write_responses(
    folder: Path, files: dict[str, np.ndarray], rows: Sequence[str], rate_hz: int = RATE_HZ
) -> Path:
    """Writes float WAV files (samples, channels) and the table of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, audio in files.items():
        soundfile.write(folder / name, audio, rate_hz, subtype="FLOAT")
    (folder / "metadata.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return folder


def anechoic_folder(folder: Path, directions: Sequence[tuple[float, float]]) -> Path:
    """Writes pulses without a room, each at its direction and in a place of its own."""
    files = {
        f"r{number}.wav": pulse_response([(100 + 37 * number, 0.4, *direction)])
        for number, direction in enumerate(directions)
    }
    rows = [
        f"r{number}.wav,{azimuth},{elevation},2,place{number},,"
        for number, (azimuth, elevation) in enumerate(directions)
    ]
    return write_responses(folder, files, rows)


def angle_deg(vector: np.ndarray, azimuth_deg: float, elevation_deg: float) -> float:
    """Angle between a vector (x, y, z) and a direction, degrees."""
    azimuth, elevation = np.deg2rad([azimuth_deg, elevation_deg])
    level = np.cos(elevation)
    unit = [np.cos(azimuth) * level, np.sin(azimuth) * level, np.sin(elevation)]
    vector = np.asarray(vector, np.float64)
    cosine = np.dot(vector, unit) / np.linalg.norm(vector)
    return float(np.rad2deg(np.arccos(np.clip(cosine, -1, 1))))
