"""Settings of the short-time Fourier transform, and its sizes in samples."""

from typing import Literal

from pydantic import Field

from common.errors import ConfigError
from common.settings.section import Section


class FramingConfig(Section):
    """Short-time Fourier transform; extended by the features of each family."""

    window_s: float = Field(0.04, gt=0, description="Window length in seconds.")
    hop_s: float = Field(0.02, gt=0, description="Hop length in seconds.")
    n_fft: int = Field(2048, ge=2, multiple_of=2, description="FFT size in samples.")
    frontend: Literal["extraction", "device"] = Field(
        "extraction",
        description=(
            "extraction: features are computed once, into shards;"
            " device: by the model, from 16-bit audio in the shards. Such a model takes audio."
        ),
    )

    @property
    def on_device(self) -> bool:
        """True if the model computes the features."""
        return self.frontend == "device"

    @property
    def store_suffix(self) -> str:
        """Suffix of the folder of a store: "_audio" for audio, none for features."""
        return "_audio" if self.on_device else ""

    def window_samples(self, sample_rate_hz: int) -> int:
        """Window length in samples.

        Raises:
            ConfigError: it exceeds the FFT size.
        """
        samples = round(self.window_s * sample_rate_hz)
        if not 1 <= samples <= self.n_fft:
            raise ConfigError(
                "The window must not be longer than the FFT. Expected: `features.window_s` x"
                f" sample rate <= `features.n_fft` = {self.n_fft}. Received: {self.window_s} s x"
                f" {sample_rate_hz} Hz = {samples}."
            )
        return samples

    def hop_samples(self, sample_rate_hz: int) -> int:
        """Hop length in samples.

        Raises:
            ConfigError: it is no whole number, so that frames and labels would drift apart.
        """
        samples = round(self.hop_s * sample_rate_hz)
        if samples < 1 or abs(samples - self.hop_s * sample_rate_hz) > 1e-6 * samples:
            raise ConfigError(
                f"`features.hop_s` must be a whole number of samples. Received: {self.hop_s} s x"
                f" {sample_rate_hz} Hz = {self.hop_s * sample_rate_hz:.6g} samples."
            )
        return samples
