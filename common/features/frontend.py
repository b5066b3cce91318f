"""Audio as a model with a frontend takes it: 16-bit samples, from which it computes its features
itself.

A record then holds `audio`, int16 (T + context, hop, C): the samples of all frames in pieces of one
hop, so that frames t to t + n are the pieces t to t + n + context, whatever the length of the
transform. Edges are reflected as `common.features.spectral` reflects them. Features of a minute of four
channels take 49 MB or 23 MB, its audio 23 MB or 15 MB.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.audio.files import to_int16
from common.features.spectral import Window

AUDIO = "audio"  # name of the array in a record, in place of the features
Kind = Literal[
    "magnitude_phase",
    "logmel_intensity",
    "logmel",
    "logmel_gcc",
    "log_magnitude_mel",
    "ln_mel_density",
]


@dataclass(frozen=True)
class Frontend:
    """Which features a model computes of its audio, in numbers of samples.

    Attributes:
        kind: of the features, see `common.features.spectral`; ln_mel_density is the logarithm of
            `density_magnitude` in mel bands plus 1e-8, of whole windows alone.
        channels: of the audio.
        sample_rate_hz: of the audio.
        window: its shape.
        window_samples: its length.
        n_fft: length of the transform.
        hop_samples: distance of frames.
        n_mels: mel bands; without meaning for magnitude_phase, as are both edges.
        fmin_hz: lower edge of the lowest band.
        fmax_hz: upper edge of the highest band; None: half the sample rate.
        gcc_n_fft: length of the transform, and of its Hann window, for the correlations of
            logmel_gcc.
        interleaved_channels: see `common.features.spectral.interleave_channels`.
    """

    kind: Kind
    channels: int
    sample_rate_hz: int
    window: Window
    window_samples: int
    n_fft: int
    hop_samples: int
    n_mels: int = 64
    fmin_hz: float = 0.0
    fmax_hz: float | None = None
    gcc_n_fft: int = 2048
    interleaved_channels: bool = False

    @property
    def is_centred(self) -> bool:
        """Whether frame t is centred on sample t * hop; otherwise it begins there."""
        return self.kind != "ln_mel_density"

    @property
    def longest(self) -> int:
        """Samples that a frame depends on."""
        return max(self.n_fft, self.gcc_n_fft) if self.kind == "logmel_gcc" else self.n_fft

    @property
    def context_frames(self) -> int:
        """Pieces of one hop that T frames need beyond T."""
        return max(0, -(-self.longest // self.hop_samples) - 1)

    @property
    def bands_channels(self) -> tuple[int, int]:
        """Bands and channels of the features, (F, C)."""
        n = self.channels
        if self.kind == "magnitude_phase":
            return self.n_fft // 2, 2 * n
        return self.n_mels, {"logmel_intensity": 7, "logmel_gcc": n * (n + 1) // 2}.get(
            self.kind, n
        )

    def pieces(self, audio: np.ndarray, n_frames: int) -> np.ndarray:
        """Cuts a recording into the pieces that its frames are computed of.

        Args:
            audio: float (S, C) in [-1, 1].
            n_frames: frames of its features, T.

        Returns:
            int16 (T + context_frames, hop_samples, C); beyond the reflected edges digital silence.
        """
        half = self.longest // 2 if self.is_centred else 0
        needed = (n_frames + self.context_frames) * self.hop_samples
        samples = np.pad(to_int16(audio), ((half, half), (0, 0)), mode="reflect")[:needed]
        filled = np.pad(samples, ((0, needed - len(samples)), (0, 0)))
        return filled.reshape(-1, self.hop_samples, audio.shape[1])


def context_frames(frontend: Frontend | None) -> int:
    """Pieces of audio that a sequence needs beyond its frames; 0 where the model takes features."""
    return 0 if frontend is None else frontend.context_frames
