"""Recordings from and to sound files; errors give the reason and a remedy."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from common.audio.containers.find import layout_of, layout_of_mpeg
from common.audio.containers.layout import Part, Piece, Pieces, check_kinds, damaged, truncated
from common.errors import DataError
from common.io.files import atomic_path
from common.io.notes import Note, note

FULL_SCALE = 32768.0  # of 16-bit samples
# A damaged header can have 1 Hz, and resampling would exhaust the memory.
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1000, 1_000_000
_BLOCK_S = 5.0
CUT_TO_FULL_SCALE = "its decoder exceeds full scale, as for lossy formats: clipped, as by a player"
_UNTOLD = "its format has no length: read to the end of the file, it may be truncated"
_LOSSY = ("VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
_MAX_CHANNELS = 64  # more are samples, in a transposed array
# Headers without a length, or whose length is not checked here.
_WITHOUT_LENGTH = ("PAF", "PVF", "IRCAM", "MAT4", "MAT5", "MPC2K", "XI", "SDS", "SD2", "RAW")


def read_audio(
    path: Path, sample_rate_hz: int | None = None, channels: int | None = None
) -> np.ndarray:
    """Reads a recording whole.

    Args:
        path: a sound file; integers are divided by their full scale (16 bit: 32768); decoders of
            lossy formats are clipped to full scale.
        sample_rate_hz: rate the recording must have; None: any.
        channels: number of channels it must have; None: any.

    Returns:
        float32 (samples, channels) in [-1, 1].

    Raises:
        DataError: no such file, not a sound file, truncated, empty, another rate or number of
            channels, values that are not finite or lie outside [-1, 1].
    """
    return read_with_rate(path, sample_rate_hz, channels)[0]


class EmptyRecordingError(DataError):
    """A valid sound file without a sample."""


class AudioHeader(NamedTuple):
    """Rate, channels and length of a sound file."""

    sample_rate_hz: int
    channels: int
    samples: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples / self.sample_rate_hz


def read_header(path: Path) -> AudioHeader:
    """Reads sample rate, channels and length of a sound file without decoding it.

    Raises:
        DataError: no such file, not a sound file, truncated or empty.
    """
    with opened(path) as sound:
        check_format(sound)
        sound.note_oddities()
        return AudioHeader(sound.rate_hz, sound.channels, sound.samples)


def read_mono(path: Path, sample_rate_hz: int) -> np.ndarray:
    """Reads a recording of any rate and number of channels as one channel of one rate.

    Args:
        path: a sound file.
        sample_rate_hz: rate wanted.

    Returns:
        float32 (samples, 1), the mean of the channels; resampling may exceed [-1, 1] by a little.

    Raises:
        DataError: see `read_audio`.
    """
    audio, rate_hz = read_with_rate(path)
    is_mono = audio.shape[1] == 1  # whose mean is slow
    mono = audio if is_mono else audio.mean(axis=1, keepdims=True)
    return resample(mono, rate_hz, sample_rate_hz)


def resample(audio: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Changes the sample rate with soxr, band-limited, without delay.

    Args:
        audio: float (S, C).
        from_hz: its rate.
        to_hz: the rate wanted.

    Returns:
        float32 (S', C), S' = S * to_hz / from_hz, rounded; the mean, if that rounds to 0.
    """
    audio = np.asarray(audio, np.float32)
    if from_hz == to_hz:
        return audio
    import soxr  # here: only recordings of another rate need it

    resampled = soxr.resample(audio, from_hz, to_hz, quality="HQ")
    return resampled if len(resampled) or not len(audio) else audio.mean(axis=0, keepdims=True)


def fit_length(audio: np.ndarray, samples: int) -> np.ndarray:
    """Cuts (S, C) to `samples`, or pads it with zeros at the end."""
    missing = samples - len(audio)
    return np.pad(audio, ((0, missing), (0, 0))) if missing > 0 else audio[:samples]


def read_with_rate(
    path: Path, sample_rate_hz: int | None = None, channels: int | None = None
) -> tuple[np.ndarray, int]:
    """Reads a recording like `read_audio`; returns also its sample rate."""
    with opened(path) as sound:
        check_format(sound, sample_rate_hz, channels)
        blocks = list(sound.blocks(at_once=True))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks), sound.rate_hz


class OpenSound:
    """A sound file of known layout; all readers get their samples from here.

    Args:
        path: the file.
        parts: consecutive recordings in it, see `common.audio.containers.layout`.
        notes: remarks on oddities of the file.

    Attributes:
        rate_hz: its sample rate.
        channels: their number.
        samples: its length, all parts together.
        container: libsndfile's name of the format.
        is_lossy: true if its decoder may exceed full scale.
    """

    def __init__(self, path: Path, parts: Sequence[Part], notes: Sequence[Note]) -> None:
        self.path, self._notes = path, notes
        self._pieces: list[tuple[Piece, ...]] = []
        self._lengths: list[int] = []
        self._file: soundfile.SoundFile | None = None  # of the only part
        kinds = set()
        for part in parts:
            file, pieces = self._open_part(part)
            kinds.add((file.samplerate, file.channels, file.subtype in _LOSSY))
            self._pieces.append(pieces)
            samples = None if part.otherwise else part.samples
            self._lengths.append(file.frames if samples is None else samples)
            container = file.format
            if len(parts) == 1:
                self._file = file
                if file.format in _WITHOUT_LENGTH:
                    self._notes = (*notes, Note(path, _UNTOLD))
            else:
                file.close()
        check_kinds(path, {kind[:2] for kind in kinds})
        self.rate_hz, self.channels, self.is_lossy = max(kinds)
        self.samples, self.container = sum(self._lengths), container

    def blocks(self, at_once: bool = False) -> Iterator[np.ndarray]:
        """Yields the samples, and adds notes on oddities.

        Args:
            at_once: larger blocks, for callers that keep all of them. Lossy files are always
                decoded in the same blocks, since the last bit of some depends on that.

        Yields:
            float32 (S, C) in [-1, 1], none of them empty.

        Raises:
            DataError: fewer samples than there should be, or values that are not finite or lie
                outside [-1, 1].
        """
        before = n_cut = 0
        block_samples = round(_BLOCK_S * self.rate_hz) if self.is_lossy or not at_once else None
        for block in self._decoded(block_samples):
            audio, cut = self._checked(block, before)
            before, n_cut = before + len(block), n_cut + cut
            yield audio
        self.note_oddities()
        if n_cut:
            note(Note(self.path, CUT_TO_FULL_SCALE, n_cut, "values"))

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def note_oddities(self) -> None:
        """Adds notes on oddities of the file without reading it."""
        for remark in self._notes:
            note(remark)

    def _open_part(self, part: Part) -> tuple[soundfile.SoundFile, tuple[Piece, ...]]:
        """Opens a part with the pieces for which its decoder finds the right length."""
        file, pieces = self._open(part.pieces), part.pieces
        if part.samples is not None and file.frames != part.samples and part.otherwise:
            file.close()
            file, pieces = self._open(part.otherwise), part.otherwise
        elif part.samples is not None and file.frames < part.samples:
            raise damaged(self.path, f"Expected: {part.samples} samples. Received: {file.frames}.")
        if (part.check_end or file.format in _WITHOUT_LENGTH) and file.frames:
            file.seek(file.frames - 1)
            if not len(file.read(1)):
                raise truncated(self.path, f"{file.frames} samples", "fewer")
            file.seek(0)
        return file, pieces

    def _open(self, pieces: Sequence[Piece]) -> soundfile.SoundFile:
        is_whole = tuple(pieces) == ((0, self.path.stat().st_size),)
        return soundfile.SoundFile(self.path if is_whole else Pieces(self.path, pieces))

    def _decoded(self, block_samples: int | None) -> Iterator[np.ndarray]:
        """Yields decoded blocks (S, C), int16 or float32, and checks their total length."""
        for pieces, promised in zip(self._pieces, self._lengths, strict=True):
            file, received = self._file or self._open(pieces), 0
            # The same numbers, but numpy converts 16 bits in a third of the time.
            dtype = "int16" if file.subtype == "PCM_16" else "float32"
            try:
                while received < promised:
                    wanted = min(block_samples or promised, promised - received)
                    block = file.read(wanted, dtype=dtype, always_2d=True)
                    if not len(block):
                        break
                    received += len(block)
                    yield block
            except (MemoryError, ValueError):  # too little memory for the length in the header
                raise truncated(self.path, f"{promised} samples", "fewer") from None
            finally:
                file.close()
            if received != promised:
                raise truncated(self.path, f"{promised} samples", str(received))

    def _checked(self, block: np.ndarray, before: int) -> tuple[np.ndarray, int]:
        """Samples as float32, and the number of those that were clipped."""
        if block.dtype == np.int16:
            return from_int16(block), 0
        n_cut = 0
        if self.is_lossy and np.isfinite(_peak(block)):  # others are refused below
            n_cut = int(np.count_nonzero(np.abs(block) > 1))
            block = np.clip(block, -1.0, 1.0) if n_cut else block
        check_values(self.path, block, before)
        return block, n_cut


@contextmanager
def opened(path: Path) -> Iterator[OpenSound]:
    """Opens a complete sound file; errors while it is read become a DataError, too."""
    path = Path(path)
    try:
        layout = layout_of(path)
        sound = OpenSound(path, layout.parts, layout.notes)
        if not layout.is_known and sound.container == "MP3":
            sound.close()
            layout = layout_of_mpeg(path)
            sound = OpenSound(path, layout.parts, layout.notes)
    except OSError as error:
        raise DataError(
            f"Cannot read {path}: {error.strerror or error}. Expected: a WAV file. Check"
            " `dataset_dir` and the permissions."
        ) from error
    except soundfile.LibsndfileError as error:
        raise _unreadable(path, error) from error
    try:
        yield sound
    except soundfile.LibsndfileError as error:
        raise _unreadable(path, error) from error
    finally:
        sound.close()


def _unreadable(path: Path, error: soundfile.LibsndfileError) -> DataError:
    return DataError(
        f"Not a readable sound file: {path} ({error.error_string.rstrip('.')}). Expected: a WAV"
        " file. Copy or download the recording again, or remove it from the dataset."
    )


def write_wav(path: Path, audio: np.ndarray, sample_rate_hz: int, subtype: str = "PCM_16") -> None:
    """Writes (samples, channels) in [-1, 1] as WAV, complete or not at all.

    Raises:
        DataError: the disk is full or the folder cannot be written to.
    """
    with atomic_path(Path(path)) as temporary:
        try:
            soundfile.write(temporary, audio, sample_rate_hz, subtype=subtype, format="WAV")
        except soundfile.LibsndfileError as error:
            raise DataError(
                f"Cannot write {path}: {error.error_string} Check the disk and its permissions."
            ) from error


def from_int16(samples: np.ndarray) -> np.ndarray:
    """16-bit samples as `read_audio` returns them: float32, divided by 32768."""
    scale = np.float32(1 / FULL_SCALE)  # a power of two: nothing is rounded
    return np.multiply(samples, scale, dtype=np.float32)


def to_int16(audio: np.ndarray) -> np.ndarray:
    """Rounds float samples in [-1, 1] to 16 bits; exact for samples of a 16-bit file."""
    scaled = np.rint(audio * np.float32(FULL_SCALE))
    return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def as_samples(audio: Any, channels: int | None, before: int = 0) -> np.ndarray:
    """Converts an array to the form of audio that readers return.

    Args:
        audio: (S, C), or (S,) for one channel: floats in [-1, 1], or integers of 8 (unsigned), 16
            or 32 bits, which are divided by their full scale.
        channels: their number; None: any.
        before: number of samples before these, for messages.

    Returns:
        float32 (S, C) in [-1, 1].

    Raises:
        DataError: another shape or type, or values that are not finite or lie outside [-1, 1].
    """
    try:
        array = np.asarray(audio)
    except ValueError as error:  # lists of different lengths
        text = "Wrong shape of audio. Expected: (samples, channels)."
        raise DataError(f"{text} Received: {error}") from None
    shaped = array[:, None] if array.ndim == 1 else array
    if shaped.ndim != 2 or (channels is not None and shaped.shape[1] != channels):
        or_flat = " or (samples,)" if channels in (1, None) else ""
        remedy = " Turn it: audio.T." if shaped.ndim == 2 and shaped.shape[0] == channels else ""
        raise DataError(
            f"Wrong shape of audio. Expected: (samples, {channels or 'channels'}){or_flat}."
            f" Received: {array.shape}.{remedy}"
        )
    if not 0 < shaped.shape[1] <= _MAX_CHANNELS:
        raise DataError(
            f"Wrong shape of audio. Expected: (samples, channels), at most {_MAX_CHANNELS}"
            f" channels. Received: {array.shape}. Turn it, if channels come first: audio.T."
        )
    kind = shaped.dtype.newbyteorder("=")
    if kind.kind == "f":
        values = shaped.astype(np.float64 if shaped.dtype.itemsize > 4 else np.float32)
        if len(values):
            check_values("the array", values, before)
        return values.astype(np.float32)
    if kind == np.int16:
        return from_int16(shaped)
    if kind == np.int32:
        return (shaped / 2**31).astype(np.float32)
    if kind == np.uint8:
        return ((shaped.astype(np.float32) - 128) / 128).astype(np.float32)
    raise DataError(
        "Wrong type of audio. Expected: floats in [-1, 1], int16, int32 or uint8. Received:"
        f" {shaped.dtype}. Divide it by its full scale."
    )


def check_format(
    sound: OpenSound, sample_rate_hz: int | None = None, channels: int | None = None
) -> None:
    """Raises DataError for a wrong rate or number of channels (None: any), or no sample."""
    if channels is not None and sound.channels != channels:
        raise DataError(
            f"Wrong number of channels in {sound.path}. Expected: {channels}. Received:"
            f" {sound.channels}. Use the recordings of the array that the settings name, or change"
            " `dataset.channels`."
        )
    if sample_rate_hz is not None and sound.rate_hz != sample_rate_hz:
        raise DataError(
            f"Wrong sample rate in {sound.path}. Expected: {sample_rate_hz} Hz. Received:"
            f" {sound.rate_hz} Hz. Resample the recording, or change `dataset.sample_rate_hz`."
        )
    if not LOWEST_RATE_HZ <= sound.rate_hz <= HIGHEST_RATE_HZ:
        raise DataError(
            f"No sample rate of sound in {sound.path}. Expected: {LOWEST_RATE_HZ} to"
            f" {HIGHEST_RATE_HZ} Hz. Received: {sound.rate_hz} Hz. The header is damaged: copy or"
            " download the recording again."
        )
    if sound.samples == 0:
        raise EmptyRecordingError(
            f"Empty recording: {sound.path}. Expected: at least one sample. Received: 0 samples. "
            "Copy or download the recording again, or remove it from the dataset."
        )


def _peak(audio: np.ndarray) -> float:
    return max(float(audio.max()), -float(audio.min()))  # NaN and infinity reach the peak


def check_values(path: Path | str, audio: np.ndarray, before: int = 0) -> None:
    """Raises DataError unless all values of float (S, C) are finite and in [-1, 1]."""
    peak = _peak(audio)
    if not np.isfinite(peak):
        sample, channel = np.argwhere(~np.isfinite(audio))[0]
        raise DataError(
            f"Value that is not finite in {path}, sample {before + sample}, channel {channel}. "
            f"Expected: numbers in [-1, 1]. Received: {audio[sample, channel]}. "
            "Write the recording again without it, or remove it from the dataset."
        )
    if peak > 1:
        sample, channel = np.argwhere(np.abs(audio) > 1)[0]
        raise DataError(
            f"Value outside [-1, 1] in {path}, sample {before + sample}, channel {channel}. "
            f"Received: {audio[sample, channel]}, peak {peak:.6g}. "
            "Divide all recordings by one common factor and write them again."
        )
