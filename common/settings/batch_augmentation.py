"""Settings of augmentation of whole batches, in the model: mixup, shifts, masks, filters, noise."""

from typing import Literal

from pydantic import Field, model_validator

from common.settings.section import Section

Share = Literal["apart", "alike", "student", "teacher"]
_SHARE = (
    "apart: student and teacher draw for themselves; alike: both get the same; student, teacher:"
    " only that one."
)
_PARTS = "Parts of the batch whose clips change; empty: all."


class FrameShift(Section):
    """Circular shift of each clip and of its frame-level labels along time."""

    std_frames: float = Field(
        90.0, gt=0, description="Standard deviation of the shift in feature frames, normal."
    )
    rounding: Literal["nearest", "floor"] = Field(
        "nearest",
        description="Shift of the labels in output frames: nearest, or floor (published), by which"
        " -1 feature frame moves the labels by a whole output frame.",
    )


class Mixup(Section):
    """Weighted sums of clips of the same group of parts, one draw of the weight for a group."""

    groups: tuple[tuple[str, ...], ...] = Field(
        (),
        description="Groups of parts of the batch; clips are mixed within a group, others stay."
        " Empty: all clips are one group.",
    )
    probability: float = Field(
        0.5, ge=0, le=1, description="Share of the batches that are mixed. FDY-SED: 1."
    )
    alpha: float = Field(
        0.2, gt=0, description="Both parameters of the Beta distribution of the weight."
    )
    min_weight: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="Smallest weight; the Beta distribution is squeezed to as much below 1."
        " FDY-SED with hard labels: 0.3.",
    )
    labels: Literal["soft", "hard"] = Field(
        "soft", description="soft: weighted like the clips; hard: what is in either clip."
    )
    embeddings: Literal["together", "separate", "none"] = Field(
        "together",
        description="Embeddings are mixed together with the features; separate (published 2024): by"
        " a draw of their own, labels by both; none (published 2023): not.",
    )


class TimeMask(Section):
    """Silence for a span of frames, in the frame-level labels as well."""

    parts: tuple[str, ...] = Field((), description=_PARTS + " FDY-SED: strongly labelled ones.")
    min_share: float = Field(0.05, ge=0, le=1, description="Smallest share of the clip.")
    max_share: float = Field(0.2, gt=0, le=1, description="Largest share of the clip.")
    each_clip: bool = Field(
        True, description="Each clip has a span of its own; false (published): one for a batch."
    )

    @model_validator(mode="after")
    def _shares_are_ordered(self) -> "TimeMask":
        if self.min_share > self.max_share:
            raise ValueError(
                f"Expected: `min_share` up to `max_share`, {self.max_share}."
                f" Received: {self.min_share}."
            )
        return self


class FilterAugment(Section):
    """Random gains in bands of random width, the same for all frames of a clip."""

    kind: Literal["step", "linear"] = Field(
        "step", description="Gain within a band: step: constant; linear: between its edges."
    )
    min_bands: int = Field(2, ge=1, description="Smallest number of bands.")
    max_bands: int = Field(4, ge=1, description="Largest number of bands.")
    min_width: int = Field(4, ge=1, description="Smallest width of a band in mel bands.")
    min_gain_db: float = Field(-4.5, description="Lowest gain in dB.")
    max_gain_db: float = Field(6.0, description="Highest gain in dB.")
    share: Share = Field("apart", description=_SHARE)

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> "FilterAugment":
        if self.min_bands > self.max_bands or self.min_gain_db > self.max_gain_db:
            raise ValueError(
                "Expected: `min_bands` up to `max_bands`, and `min_gain_db` up to `max_gain_db`."
                f" Received: {self.min_bands} and {self.max_bands}, {self.min_gain_db} and"
                f" {self.max_gain_db}."
            )
        return self


class BandMask(Section):
    """Silence in a span of mel bands of each clip."""

    max_share: float = Field(0.0625, gt=0, le=1, description="Largest share of the bands.")
    share: Share = Field("apart", description=_SHARE)


class Noise(Section):
    """Gaussian noise on linear mel spectra, at a ratio to the level of each clip."""

    min_snr_db: float = Field(6.0, description="Lowest signal-to-noise ratio in dB. FDY-SED: 35.")
    max_snr_db: float = Field(30.0, description="Highest signal-to-noise ratio in dB. FDY-SED: 40.")
    share: Share = Field("apart", description=_SHARE)

    @model_validator(mode="after")
    def _ratios_are_ordered(self) -> "Noise":
        if self.min_snr_db > self.max_snr_db:
            raise ValueError(
                f"Expected: `min_snr_db` up to `max_snr_db`, {self.max_snr_db}."
                f" Received: {self.min_snr_db}."
            )
        return self


class SpecAugment(Section):
    """A mask over bands and one over frames in each clip; labels stay."""

    band_length: int = Field(
        0, ge=0, description="Largest number of masked bands; 0: bands are not masked."
    )
    band_share: float = Field(0.5, ge=0, le=1, description="Largest share of the bands; 1: any.")
    frame_length: int = Field(
        0, ge=0, description="Largest number of masked frames; 0: frames are not masked."
    )
    frame_share: float = Field(0.2, ge=0, le=1, description="Largest share of the frames; 1: any.")
    fill: float = Field(
        0.0, description="Value in the masks: in linear spectra 0 is silence, in scaled ones not."
    )
    share: Share = Field("apart", description=_SHARE)

    @model_validator(mode="after")
    def _something_is_masked(self) -> "SpecAugment":
        if not self.band_length and not self.frame_length:
            raise ValueError("Expected: a `band_length` or a `frame_length` above 0. Received: 0.")
        return self


class BatchAugmentation(Section):
    """Random changes of training batches of linear spectra in the model, in this order.

    Each is off unless it has a section: `{}` turns it on with the values below, SpecAugment with a
    length.
    """

    frame_shift: FrameShift | None = Field(None, description="Circular shift along time.")
    mixup: Mixup | None = Field(None, description="Mixtures of clips.")
    time_mask: TimeMask | None = Field(None, description="Silent frames, in the labels as well.")
    filter_augment: FilterAugment | None = Field(None, description="FilterAugment: random gains.")
    band_mask: BandMask | None = Field(None, description="Silent bands.")
    noise: Noise | None = Field(None, description="Gaussian noise.")
    spec_augment: SpecAugment | None = Field(None, description="SpecAugment: bands and frames.")

    @property
    def used(self) -> tuple[Section, ...]:
        """The sections of the changes that are on, in their order."""
        sections = (getattr(self, name) for name in type(self).model_fields)
        return tuple(section for section in sections if section is not None)
