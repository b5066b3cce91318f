"""Short-time Fourier transform (STFT): its settings in seconds, and its sizes in samples."""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from common.errors import ConfigError
from common.settings.section import Section

Window = Literal["hann", "hann_symmetric", "hamming", "hamming_symmetric"]
Edges = Literal["reflect", "zeros"]


@dataclass(frozen=True)
class Stft:
    """Sizes of a short-time Fourier transform.

    Attributes:
        window_samples: window length, at most `n_fft`.
        n_fft: FFT size, even.
        hop_samples: hop length.
        window: window function, see `common.features.spectral.analysis_window`.
        edges: samples before and after a recording: its mirror image, or digital silence.
    """

    window_samples: int
    n_fft: int
    hop_samples: int
    window: Window = "hann"
    edges: Edges = "reflect"


class StftConfig(Section):
    """Settings of a short-time Fourier transform; the features of a family extend them."""

    window_s: float = Field(0.04, gt=0, description="Window length in seconds.")
    hop_s: float = Field(0.02, gt=0, description="Hop length in seconds.")
    n_fft: int = Field(2048, ge=2, multiple_of=2, description="FFT size in samples.")
    frontend: Literal["extraction", "device"] = Field(
        "extraction",
        description="Place where features are computed. extraction: once, when they are written to"
        " shards; device: in the model, from shards of 16-bit audio, again in each pass. The"
        " trained model then takes audio.",
    )

    @property
    def on_device(self) -> bool:
        """True if the model computes the features."""
        return self.frontend == "device"

    @property
    def store_suffix(self) -> str:
        """Suffix of a store's folder, which separates stores of audio from stores of features."""
        return "_audio" if self.on_device else ""

    def content(self) -> dict[str, object]:
        """Settings that the stored features depend on."""
        return self.model_dump(mode="json", exclude=set() if self.on_device else {"frontend"})

    def window_samples(self, sample_rate_hz: int) -> int:
        """Window length in samples.

        Raises:
            ConfigError: the window is longer than the FFT.
        """
        samples = round(self.window_s * sample_rate_hz)
        if not 1 <= samples <= self.n_fft:
            raise ConfigError(
                "The window must fit into the Fourier transform. Expected: `features.window_s` x"
                f" sample rate <= `features.n_fft` = {self.n_fft}. Received: {self.window_s} s x"
                f" {sample_rate_hz} Hz = {samples}."
            )
        return samples

    def hop_samples(self, sample_rate_hz: int) -> int:
        """Hop length in samples.

        Raises:
            ConfigError: it is no whole number of samples: labels would drift.
        """
        samples = round(self.hop_s * sample_rate_hz)
        if samples < 1 or abs(samples - self.hop_s * sample_rate_hz) > 1e-6 * samples:
            raise ConfigError(
                f"`features.hop_s` must be a whole number of samples. Received: {self.hop_s} s x"
                f" {sample_rate_hz} Hz = {self.hop_s * sample_rate_hz:.6g} samples."
            )
        return samples
