"""Measured room responses: read, checked, aligned to their direct sound, levelled and rotated.

A prepared response begins `LEAD_S` before its direct sound, so that an event begins at its labelled
onset, whatever delay was recorded. The direct sound has the amplitude 1 / distance of computed
rooms: files, which are often scaled to their peaks, need no common scale.

Rotation of first order is exact: it turns X, Y and Z, and W stays. It turns the whole room with the
source: where azimuths differ only, the room turns about its vertical axis; another elevation tilts
it, reflections of floor and ceiling included.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import fft

from common.audio.files import FULL_SCALE, read_with_rate, resample
from common.errors import DataError
from common.simulation.measured.sofa import read_sofa
from common.simulation.measured.table import MICROPHONES, ResponseRow
from common.simulation.moving import MovingResponses, hop_s
from common.simulation.receivers import Receiver, unit_vectors
from common.simulation.rooms import MOVING_S
from common.simulation.sound_bank import mapped_array, save_array
from common.simulation.trajectories import Trajectory, to_angles

N_CHANNELS = 4
LEAD_S = 0.001  # kept before the direct sound
DIRECT_S = 0.0025  # after its peak; later energy counts as reflections
ONSET_DB = -20.0  # below the largest sample, as in ISO 3382-1
UNKNOWN_DISTANCE_M = 1.0
_FADE_S = 0.01  # from the reflections that follow a moving source to those that do not
_BAND_HZ = (150.0, 3000.0)  # in which B-format microphones have true directions
_SILENT = 1e-5
_FULL = 1.0 - 2.0 / FULL_SCALE
_CLIPPED_RUN = 3  # samples at full scale in a row; a response scaled to its peak has one
Kind = Literal["foa", "mic"]
Direction = tuple[float, float]  # azimuth and elevation in degrees


@dataclass(frozen=True)
class MeasuredResponse:
    """A prepared response.

    Attributes:
        path: .npy file, float32 (channels, samples): W, Y, Z, X in SN3D; or the mean of the
            microphones in place of W, and the microphones.
        where: table and line, for errors.
        azimuth_deg: own direction.
        elevation_deg: own direction.
        distance_m: of the source; None: unknown, and the direct sound is as at 1 m.
        lead_samples: samples before the direct sound.
        label_deg: azimuth and elevation in annotations, where they are not its own; None: own.
    """

    path: Path
    where: str
    azimuth_deg: float
    elevation_deg: float
    distance_m: float | None
    lead_samples: int
    label_deg: Direction | None = None

    @property
    def direction_deg(self) -> Direction:
        """Own azimuth and elevation."""
        return self.azimuth_deg, self.elevation_deg

    @property
    def level_distance_m(self) -> float:
        """Distance that decides the level."""
        return UNKNOWN_DISTANCE_M if self.distance_m is None else self.distance_m


@dataclass(frozen=True)
class DirectSound:
    """Direct sound of an ambisonic response from 150 to 3000 Hz.

    Attributes:
        off_deg: angle between its active intensity and the given direction.
        dipoles_db: energy of Y, Z and X against that of W; 0 of a plane wave in SN3D.
    """

    off_deg: float
    dipoles_db: float


@dataclass(frozen=True)
class Preparation:
    """The responses of one file, and remarks for the log.

    Attributes:
        row: of the table.
        responses: one, or all of a SOFA file.
        rate_hz: sample rate of the file.
        directs: analysis of each ambisonic response; none of microphones.
    """

    row: ResponseRow
    responses: tuple[MeasuredResponse, ...]
    rate_hz: int
    directs: tuple[DirectSound, ...]


def prepare_responses(
    numbered: tuple[int, ResponseRow], kind: Kind, rate_hz: int, folder: Path
) -> Preparation:
    """Reads, checks and stores the responses of one row of the table.

    Args:
        numbered: number of the row, for the names of the prepared files, and the row.
        kind: foa: ambisonics of first order; mic: the microphones of the dataset.
        rate_hz: sample rate wanted; others are resampled.
        folder: for the prepared files.

    Raises:
        DataError: the file cannot be read, has not four channels, is silent or clipped, is of an
            unsupported SOFA convention, or of another convention than `kind` needs.
    """
    number, row = numbered
    if (kind == "mic") is not (row.convention == MICROPHONES):
        needed = "mic, the microphones themselves," if kind == "mic" else "acn or fuma"
        raise DataError(
            f"{row.where}: {row.path.name} has the convention {row.convention}. Expected: {needed}"
            f" for the format {kind}. Correct the column, or set `dataset.format` and"
            " `simulation.formats` to that of the responses."
        )
    read = read_sofa(row.path, row.where) if row.is_sofa else [_read_sound(row)]
    responses, directs = [], []
    for index, (audio, file_rate_hz, (azimuth_deg, elevation_deg), distance_m) in enumerate(read):
        _check(audio, row, kind)
        channels = _convert(audio, row, kind, file_rate_hz, rate_hz)
        path = folder / f"response{number}_{index}.npy"
        lead = round(LEAD_S * rate_hz)
        response = MeasuredResponse(path, row.where, azimuth_deg, elevation_deg, distance_m, lead)
        save_array(path, _levelled(channels, response, rate_hz))
        responses.append(response)
        if kind == "foa":
            directs.append(direct_sound(response, rate_hz))
    return Preparation(row, tuple(responses), file_rate_hz, tuple(directs))


def _read_sound(row: ResponseRow) -> tuple[np.ndarray, int, Direction, float | None]:
    audio, rate_hz = read_with_rate(row.path)
    if row.azimuth_deg is None or row.elevation_deg is None:  # refused by the table's reader
        raise DataError(f"{row.where}: {row.path.name} has no direction. Correct the row.")
    return audio, rate_hz, (row.azimuth_deg, row.elevation_deg), row.distance_m


def _check(audio: np.ndarray, row: ResponseRow, kind: Kind) -> None:
    """Refuses (samples, channels) that are no response of four channels, silent or clipped."""
    if audio.shape[1] != N_CHANNELS:
        what = "ambisonics of first order" if kind == "foa" else "the array's microphones"
        raise DataError(
            f"{row.where}: {row.path} has {audio.shape[1]} channel(s). Expected: {N_CHANNELS},"
            f" {what}. Export it again, or remove the row."
        )
    loudest = np.abs(audio).max(axis=0, initial=0.0)  # (channels,)
    # A source straight ahead has nothing in Y and Z, but none is without pressure.
    needed = loudest.max() if kind == "foa" else loudest.min()
    if needed < _SILENT:
        dead = "" if loudest.max() < _SILENT else f" in channel {int(loudest.argmin())}"
        raise DataError(
            f"{row.where}: {row.path} is silent{dead}. Expected: a room response. Export it again,"
            " or remove the row."
        )
    if row.is_sofa:  # numbers without a full scale
        return
    full = np.abs(audio) >= _FULL
    n_run = min(_CLIPPED_RUN, len(full))
    windows = np.lib.stride_tricks.sliding_window_view(full, n_run, axis=0)
    runs = np.argwhere(windows.all(axis=-1))  # (n, 2): sample and channel where one begins
    if len(runs):
        sample, channel = runs[0]
        raise DataError(
            f"{row.where}: {row.path} is clipped: {_CLIPPED_RUN} or more samples in a row are at"
            f" full scale, first at sample {sample} of channel {channel}. Expected: a response"
            " within full scale. Measure or export it again, or remove the row."
        )


def _convert(
    audio: np.ndarray, row: ResponseRow, kind: Kind, from_hz: int, to_hz: int
) -> np.ndarray:
    """Converts (samples, 4) to the channels of `MeasuredResponse.path`, float64 (C, samples)."""
    if kind == "foa":
        audio = to_acn_sn3d(audio, row.convention, row.normalisation)
    channels = resample(audio, from_hz, to_hz).T.astype(np.float64)
    if kind == "mic":
        channels = np.concatenate([channels.mean(axis=0, keepdims=True), channels])
    if np.abs(channels[0]).max() < _SILENT:
        what = "W is silent" if kind == "foa" else "the microphones cancel each other"
        raise DataError(
            f"{row.where}: {row.path} cannot be used: {what}. Expected: the pressure of a room"
            " response in the first channel. Correct the column convention, or the file."
        )
    return channels


def to_acn_sn3d(audio: np.ndarray, order: str, normalisation: str | None = None) -> np.ndarray:
    """Converts ambisonics of first order to W, Y, Z, X with the gains 1 of SN3D.

    Args:
        audio: float (samples, 4).
        order: acn: W, Y, Z, X; fuma: W, X, Y, Z.
        normalisation: sn3d; n3d: Y, Z and X are sqrt(3) as large; fuma: W is 1 / sqrt(2) as large;
            None: fuma for the order fuma, else sn3d.

    References:
        Malham, "Higher order Ambisonic systems", 2003 (FuMa); Nachbar et al., "ambiX: a suggested
        ambisonics format", Ambisonics Symposium, 2011 (ACN, SN3D).
    """
    normalisation = normalisation or ("fuma" if order == "fuma" else "sn3d")
    gains = {
        "sn3d": np.ones(4),
        "n3d": np.array([1, *3 * [1 / np.sqrt(3)]]),
        "fuma": np.array([np.sqrt(2), 1, 1, 1]),
    }
    places = [0, 2, 3, 1] if order == "fuma" else [0, 1, 2, 3]
    return np.asarray(audio, np.float64)[:, places] * gains[normalisation]


def find_direct(channels: np.ndarray, rate_hz: int) -> int:
    """Finds the peak of the direct sound in (channels, samples).

    It is the largest sample in the millisecond after the energy of all channels first comes within
    20 dB of its maximum.
    """
    energy = np.square(channels).sum(axis=0)  # (samples,)
    first = int(np.argmax(energy >= energy.max() * 10 ** (ONSET_DB / 10)))
    return first + int(np.argmax(energy[first : first + max(round(LEAD_S * rate_hz), 1)]))


def _levelled(channels: np.ndarray, response: MeasuredResponse, rate_hz: int) -> np.ndarray:
    """Cuts a response before its direct sound, and scales that to 1 / distance, float32."""
    lead = response.lead_samples
    start = find_direct(channels, rate_hz) - lead
    aligned = np.pad(channels, ((0, 0), (max(-start, 0), 0)))[:, max(start, 0) :]
    n_fade = lead // 2  # noise before the direct sound begins softly
    aligned[:, :n_fade] *= 0.5 - 0.5 * np.cos(np.pi * np.arange(n_fade) / max(n_fade, 1))
    direct = aligned[:, : lead + round(DIRECT_S * rate_hz)]
    energies = np.square(direct).sum(axis=1)
    # The mean of microphones, unlike W, has less of high frequencies than each of them.
    amplitude = np.sqrt(energies[0] if len(energies) == N_CHANNELS else energies[1:].mean())
    if amplitude < _SILENT * np.abs(channels).max():
        raise DataError(
            f"{response.where}: the direct sound is not in the first channel. Expected: the"
            " pressure, W, there. Correct the column convention, or the file."
        )
    return (aligned / (amplitude * response.level_distance_m)).astype(np.float32)


def direct_sound(response: MeasuredResponse, rate_hz: int) -> DirectSound:
    """Analyses the direct sound of a prepared response."""
    channels = mapped_array(response.path)
    direct = channels[:, : response.lead_samples + round(DIRECT_S * rate_hz)]
    frequencies_hz = fft.rfftfreq(rate_hz // 10, 1 / rate_hz)
    inside = (frequencies_hz >= _BAND_HZ[0]) & (frequencies_hz <= _BAND_HZ[1])
    w, y, z, x = fft.rfft(direct, rate_hz // 10)[:, inside].astype(np.complex128)
    intensity = np.real(np.conj(w) * np.stack([x, y, z])).sum(axis=1)
    cosine = intensity @ unit_vectors(*response.direction_deg)
    cosine /= max(float(np.linalg.norm(intensity)), 1e-30)
    energies = [np.sum(np.abs(each) ** 2) + 1e-30 for each in (np.stack([x, y, z]), w)]
    off_deg = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
    return DirectSound(float(off_deg), float(10 * np.log10(energies[0] / energies[1])))


def rotation_matrix(of: Direction, to: Direction) -> np.ndarray:
    """Rotation (3, 3) that takes one direction to another: about the vertical axis, and a tilt.

    Args:
        of: azimuth and elevation in degrees.
        to: azimuth and elevation in degrees.
    """
    turned_back, tilt = _about_z(-of[0]), _upwards(to[1]) @ _upwards(-of[1])
    return _about_z(to[0]) @ tilt @ turned_back


def _about_z(angle_deg: float) -> np.ndarray:
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def _upwards(angle_deg: float) -> np.ndarray:
    cos, sin = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return np.array([[cos, 0.0, -sin], [0.0, 1.0, 0.0], [sin, 0.0, cos]])


def rotate_first_order(channels: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Rotates W, Y, Z, X, (4, samples), by a matrix of x, y, z; W stays."""
    x, y, z = rotation @ channels[[3, 1, 2]]
    return np.stack([channels[0], y, z, x]).astype(channels.dtype)


def received(
    response: MeasuredResponse, receiver: Receiver, to: Direction | None = None
) -> np.ndarray:
    """Returns the channels of a receiver, float32 (channels, samples).

    Args:
        response: measured with microphones for a receiver of the format mic alone, else ambisonic.
        receiver: channels and normalisation.
        to: azimuth and elevation in degrees to which the room is turned; None: not at all.
    """
    channels = np.asarray(mapped_array(response.path))
    return channels if receiver.n_microphones else _turned(channels, response, receiver, to)


def _turned(
    channels: np.ndarray, response: MeasuredResponse, receiver: Receiver, to: Direction | None
) -> np.ndarray:
    """Turns W, Y, Z, X in SN3D, or a part of them, and gives them the gains of a receiver."""
    if to is not None:
        channels = rotate_first_order(channels, rotation_matrix(response.direction_deg, to))
    gain = np.float32(np.sqrt(3.0) if receiver.norm == "n3d" else 1.0)
    channels = np.concatenate([channels[:1], gain * channels[1:]])
    return channels[: receiver.n_channels]


def received_along(
    response: MeasuredResponse,
    trajectory: Trajectory,
    duration_s: float,
    receiver: Receiver,
    rate_hz: int,
) -> MovingResponses:
    """Turns the first 50 ms of a response along a path of constant distance.

    Later reverberation is that of the middle of the path, as in computed rooms.

    Args:
        response: ambisonic.
        trajectory: path of the source, an arc.
        duration_s: length of the sound.
        receiver: channels and normalisation.
        rate_hz: sample rate.
    """
    hop = max(round(hop_s(trajectory) * rate_hz), 1)
    n_points = int(np.ceil(duration_s * rate_hz / hop)) + 1
    times_s = np.append(np.arange(n_points) * hop / rate_hz, duration_s / 2)
    azimuths, elevations, _ = to_angles(trajectory.positions_m(times_s))
    *points, middle = zip(azimuths.tolist(), elevations.tolist(), strict=True)
    channels = np.asarray(mapped_array(response.path))
    end, n_fade = response.lead_samples + round(MOVING_S * rate_hz), round(_FADE_S * rate_hz)
    fade = np.clip((end - np.arange(channels.shape[1])) / n_fade, 0, 1).astype(np.float32)
    first = channels[:, :end] * fade[:end]
    early = np.stack([_turned(first, response, receiver, point) for point in points])
    late = _turned(channels * (1 - fade), response, receiver, middle)
    return MovingResponses(trajectory, rate_hz, hop, early, late)
