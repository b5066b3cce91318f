"""Room responses in SOFA files (AES69), read by the package `sofar`.

Conventions of measured rooms with impulse responses (`Data.IR`) of one source at a time are read.
They say nothing about ambisonic channels: the table of responses does, as for other files.
"""

from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DataError
from common.runtime.optional import optional_module
from common.simulation.trajectories import to_angles

CONVENTIONS = ("SingleRoomSRIR", "SingleRoomDRIR", "GeneralFIR")
SofaResponse = tuple[np.ndarray, int, tuple[float, float], float | None]


def read_sofa(path: Path, where: str) -> list[SofaResponse]:
    """Reads all responses of a SOFA file.

    Args:
        path: the file.
        where: table and line, for errors.

    Returns:
        For each measurement: float64 (samples, receivers), sample rate in Hz, azimuth and elevation
        of the source in degrees as seen by the listener, and its distance in metres.

    Raises:
        ConfigError: the package `sofar` is not installed.
        DataError: no SOFA file, another convention, or positions that cannot be used.
    """
    sofar = optional_module("sofar", f"{path}", 'Install the extra `sofa`: pip install ".[sofa]".')
    try:
        data = sofar.read_sofa(str(path), verify=False, verbose=False)
    except Exception as error:  # of netCDF4 and sofar, of many kinds
        problem = " ".join(str(error).split())[:300]
        raise DataError(
            f"{where}: {path} cannot be read as SOFA ({type(error).__name__}: {problem}). Expected:"
            f" a file of the conventions {', '.join(CONVENTIONS)}. Convert it to WAV, or remove the"
            " row."
        ) from error
    convention = str(getattr(data, "GLOBAL_SOFAConventions", "none"))
    if convention not in CONVENTIONS:
        raise DataError(
            f"{where}: {path} has the SOFA convention {convention}. Expected:"
            f" {', '.join(CONVENTIONS)}, impulse responses of a room. Convert it to one of them or"
            " to WAV, or remove the row."
        )
    try:
        return _responses(data)
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"{where}: {path} is not a usable {convention} ({error}). Expected: Data.IR of"
            " measurements, receivers and samples, one Data.SamplingRate, and SourcePosition,"
            " ListenerPosition and ListenerView. Write the file again, or remove the row."
        ) from error


def _responses(data: Any) -> list[SofaResponse]:
    audio = np.atleast_3d(np.asarray(data.Data_IR, np.float64))  # (M, R, N)
    rates = np.unique(np.asarray(data.Data_SamplingRate, np.float64))
    if len(rates) != 1 or not 1000 <= rates[0] <= 1_000_000:
        raise ValueError(f"Data.SamplingRate is {rates.tolist()}")
    if not np.isfinite(audio).all():
        raise ValueError("Data.IR has values that are not finite")
    n = len(audio)
    azimuths, elevations, distances_m = _seen_by_listener(data, n)
    if not np.all(distances_m > 0):
        raise ValueError("SourcePosition is that of the listener")
    delays = np.broadcast_to(np.atleast_2d(np.asarray(data.Data_Delay, float)), audio.shape[:2])
    return [
        (_delayed(audio[m], delays[m]), round(rates[0]), direction, float(distances_m[m]))
        for m, direction in enumerate(zip(azimuths.tolist(), elevations.tolist(), strict=True))
    ]


def _delayed(channels: np.ndarray, delays: np.ndarray) -> np.ndarray:
    """Delays (R, N) by whole samples against the first receiver, (samples, R)."""
    shifts = np.rint(delays - delays.min()).astype(int)
    out = np.zeros((channels.shape[1] + int(shifts.max()), len(channels)))
    for number, (channel, shift) in enumerate(zip(channels, shifts, strict=True)):
        out[shift : shift + len(channel), number] = channel
    return out


def _seen_by_listener(data: Any, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Azimuth and elevation in degrees and distance in metres of each measurement, (n,)."""
    offsets = _cartesian(data, "SourcePosition", n) - _cartesian(data, "ListenerPosition", n)
    front, up = np.tile([1.0, 0.0, 0.0], (n, 1)), np.tile([0.0, 0.0, 1.0], (n, 1))
    if hasattr(data, "ListenerView"):  # optional in GeneralFIR, as is ListenerUp
        front = _cartesian(data, "ListenerView", n)
    if hasattr(data, "ListenerUp"):
        up = _cartesian(data, "ListenerUp", n, data.ListenerView_Type)
    left = np.cross(up, front)
    with np.errstate(all="ignore"):
        front = front / np.linalg.norm(front, axis=1, keepdims=True)
        left = left / np.linalg.norm(left, axis=1, keepdims=True)
    axes = np.stack([front, left, np.cross(front, left)], axis=1)  # (n, 3 axes, 3)
    if not np.isfinite(axes).all():
        raise ValueError("ListenerView and ListenerUp are parallel or zero")
    return to_angles(np.einsum("nak,nk->na", axes, offsets))


def _cartesian(data: Any, name: str, n: int, kind: str = "") -> np.ndarray:
    """Vectors (n, 3) of a position or view, from Cartesian or spherical coordinates."""
    values = np.broadcast_to(np.atleast_2d(np.asarray(getattr(data, name), float)), (n, 3))
    kind = kind or getattr(data, f"{name}_Type")
    if kind == "cartesian":
        return values
    if kind != "spherical":
        raise ValueError(f"{name} has coordinates of type {kind}")
    azimuth, elevation = np.deg2rad(values[:, 0]), np.deg2rad(values[:, 1])
    level = values[:, 2] * np.cos(elevation)
    height = values[:, 2] * np.sin(elevation)
    return np.stack([level * np.cos(azimuth), level * np.sin(azimuth), height], axis=1)
