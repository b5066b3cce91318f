"""Settings of augmentation: other levels and bands, areas cut out, and recordings mixed."""

from typing import Literal

from pydantic import Field

from common.settings.section import Section

CutoutShape = Literal["rectangle", "stripes", "holes"]


class FeatureAugmentation(Section):
    """Random changes of training sequences besides swaps of channels; none by default.

    The published SALSA shifts by up to 10 bands and cuts one of three shapes out, each with
    probability 0.5.
    """

    max_gain_db: float = Field(
        0.0, ge=0, description="Largest change of the level of a whole sequence in dB. 0: none."
    )
    max_equaliser_db: float = Field(
        0.0,
        ge=0,
        description="Largest change of level in dB by a smooth curve over the bands, as of another"
        " microphone; the same in all channels, spatial features stay. 0: none.",
    )
    max_shift_bands: int = Field(
        0,
        ge=0,
        description="Largest shift of the features along frequency in bands, reflected at the"
        " edges; cross-correlations stay. 0: none. Published for SALSA: 10.",
    )
    shift_probability: float = Field(
        0.5, ge=0, le=1, description="Share of the sequences that are shifted."
    )
    cutout_probability: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the sequences out of which an area is cut. Published for SALSA: 0.5.",
    )
    cutout_shapes: tuple[CutoutShape, ...] = Field(
        ("rectangle", "stripes", "holes"),
        min_length=1,
        description="Shapes of the area, one of which is drawn. rectangle: one, of a share of the"
        " sequence that is drawn; stripes: of whole frames and of whole bands (SpecAugment); holes:"
        " small squares.",
    )
    max_area: float = Field(
        0.3, gt=0, le=1, description="Largest share of the sequence in a rectangle."
    )
    n_time_stripes: int = Field(1, ge=0, description="Number of stripes of whole frames.")
    n_band_stripes: int = Field(1, ge=0, description="Number of stripes of whole bands.")
    max_time_share: float = Field(
        0.15, gt=0, le=1, description="Largest share of the frames in one stripe."
    )
    max_band_share: float = Field(
        0.2, gt=0, le=1, description="Largest share of the bands in one stripe."
    )
    n_holes: int = Field(8, ge=1, description="Number of holes.")
    max_hole: int = Field(8, ge=1, description="Largest number of frames, and of bands, in a hole.")
    fill: Literal["random", "lowest"] = Field(
        "random",
        description="Level that fills the area: random, between the lowest and highest of the"
        " sequence, or the lowest. Spatial features are filled with 0.",
    )
    mask_labels: bool = Field(
        False, description="Leave frames whose bands are all cut out by a stripe out of the loss."
    )

    @property
    def is_used(self) -> bool:
        """True if some sequences change."""
        if self.changes_levels:
            return True
        shifts = self.max_shift_bands > 0 and self.shift_probability > 0
        return shifts or self.cutout_probability > 0

    @property
    def changes_levels(self) -> bool:
        """True if levels in dB are added to."""
        return self.max_gain_db > 0 or self.max_equaliser_db > 0


class MixingSettings(Section):
    """Mixtures of two training sequences as one more sequence; none by default."""

    probability: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the sequences to which another one of the batch is added, sound and"
        " labels. Needs `features.frontend: device`, which has the audio of each batch.",
    )
    max_sources: int = Field(
        3,
        ge=1,
        description="Most sources at once in a mixture; what would exceed it, or has a source that"
        " the targets cannot hold, stays unmixed.",
    )
