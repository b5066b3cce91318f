"""Settings of windows and frames, and their sizes in samples."""

from typing import Literal

from pydantic import Field

from common.errors import ConfigError
from common.settings.section import Section


class FramingConfig(Section):
    """Windows of a short-time Fourier transform; the features of a family extend it."""

    window_s: float = Field(0.04, gt=0, description="Length of the window.")
    hop_s: float = Field(0.02, gt=0, description="Distance of frames.")
    n_fft: int = Field(2048, ge=2, multiple_of=2, description="Length of the Fourier transform.")
    frontend: Literal["extraction", "device"] = Field(
        "extraction",
        description=(
            "Where features are computed: once, while they are extracted into shards; or device: by"
            " the model, from shards of 16-bit audio, anew in each pass. A model so trained takes"
            " audio."
        ),
    )

    @property
    def on_device(self) -> bool:
        """Whether the model computes the features."""
        return self.frontend == "device"

    @property
    def store_suffix(self) -> str:
        """Keeps folders of audio apart from those of features."""
        return "_audio" if self.on_device else ""

    def content(self) -> dict[str, object]:
        """Settings that the stored features depend on."""
        return self.model_dump(mode="json", exclude=set() if self.on_device else {"frontend"})

    def window_samples(self, sample_rate_hz: int) -> int:
        """Length of the window; it must fit into the transform.

        Raises:
            ConfigError: it does not.
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
        """Distance of frames; it must be a whole number of samples, or frames and labels drift
        apart.

        Raises:
            ConfigError: it is not.
        """
        samples = round(self.hop_s * sample_rate_hz)
        if samples < 1 or abs(samples - self.hop_s * sample_rate_hz) > 1e-6 * samples:
            raise ConfigError(
                f"`features.hop_s` must be a whole number of samples. Received: {self.hop_s} s x"
                f" {sample_rate_hz} Hz = {self.hop_s * sample_rate_hz:.6g} samples."
            )
        return samples
