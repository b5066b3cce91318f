"""Audio for models with a frontend: 16-bit samples, from which they compute their features.

A record then holds `audio`, int16 (T + context, hop, C): the samples of all frames in pieces of one
hop length, so that frames t to t + n are pieces t to t + n + context, for any FFT size. Edges are
extended as in `common.features.spectral`. Features of a minute of four channels take 49 MB or 23
MB, its audio 23 MB or 15 MB.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from common.audio.files import to_int16
from common.features.kinds import FeatureKind, FeatureSizes, kind_named

AUDIO = "audio"  # name of the array in a record, in place of the features


@dataclass(frozen=True, kw_only=True)
class Frontend(FeatureSizes):
    """Features that a model computes from audio, or that extraction computes in its place."""

    @property
    def entry(self) -> FeatureKind:
        """Entry of the kind in the table of its family."""
        return kind_named(self.kind)

    @property
    def longest(self) -> int:
        """Samples that a frame depends on: the largest FFT size, and neighbouring frames."""
        n_fft = max(self.n_fft, self.entry.lags_n_fft(self)) if self.entry.has_lags else self.n_fft
        return n_fft + 2 * self.entry.neighbours * self.hop_samples

    @property
    def is_local(self) -> bool:
        """True if frames depend on nothing but `longest` samples of the recording."""
        return self.entry.is_local and self.top_db is None

    @property
    def context_frames(self) -> int:
        """Pieces of one hop length beyond T for T frames."""
        return max(0, -(-self.longest // self.hop_samples) - 1)

    @property
    def bands_channels(self) -> tuple[int, int]:
        """Bands and channels of the features, (F, C')."""
        return self.entry.shape(self)

    def pieces(self, audio: np.ndarray, n_frames: int) -> np.ndarray:
        """Cuts a recording into pieces of one hop length for its frames.

        Args:
            audio: float (S, C) in [-1, 1].
            n_frames: frames of its features, T.

        Returns:
            int16 (T + context_frames, hop_samples, C); digital silence beyond the edges.
        """
        half = self.longest // 2 if self.entry.is_centred else 0
        needed = (n_frames + self.context_frames) * self.hop_samples
        mode: Any = "reflect" if self.edges == "reflect" else "constant"
        samples = np.pad(to_int16(audio), ((half, half), (0, 0)), mode=mode)[:needed]
        filled = np.pad(samples, ((0, needed - len(samples)), (0, 0)))
        return filled.reshape(-1, self.hop_samples, audio.shape[1])


def context_frames(frontend: Frontend | None) -> int:
    """Pieces of audio of a sequence beyond its frames; 0 if the model takes features."""
    return 0 if frontend is None else frontend.context_frames
