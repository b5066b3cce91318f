"""Settings of mean-teacher training: weights of the teacher, its input, and the consistency."""

from typing import Literal

from pydantic import Field

from common.settings.section import Section

NetworkName = Literal["student", "teacher"]


class TeacherNoise(Section):
    """Gaussian noise on the linear mel spectra that the teacher gets."""

    kind: Literal["none", "absolute", "relative"] = Field(
        "relative",
        description="relative (2020): at a signal-to-noise ratio in each band; absolute (2019):"
        " magnitudes of noise of one level, whatever the level of the clip; none (from 2021 on).",
    )
    snr_db: float = Field(30.0, description="Signal-to-noise ratio in dB, for `relative`.")
    std: float = Field(
        0.25, gt=0, description="Standard deviation in the unit of the spectra, for `absolute`."
    )


class MeanTeacherConfig(Section):
    """A student that is trained, and a teacher that is the running mean of its weights."""

    decay: float = Field(
        0.999,
        ge=0,
        lt=1,
        description="Share of the teacher that a step leaves, at most: after step n it is"
        " min(1 - 1 / (n + 1), decay).",
    )
    statistics: Literal["own", "averaged"] = Field(
        "own",
        description="Running statistics of the teacher's batch normalisation: own (published): of"
        " its own inputs; averaged: the running mean of the student's.",
    )
    noise: TeacherNoise = TeacherNoise()
    consistency: Literal["mse", "bce"] = Field(
        "mse", description="Distance of student and teacher: squared, or cross-entropy."
    )
    consistency_weight: float = Field(
        2.0, ge=0, description="Weight of the consistency after its ramp."
    )
    ramp_epochs: float = Field(
        50.0,
        ge=0,
        description="Length of the ramp of the consistency, exp(-5 (1 - t / length)^2); 0: none.",
    )
    consistency_parts: tuple[str, ...] = Field(
        (),
        description="Parts of the batch that are compared; empty: all. DCASE 2024: all but MAESTRO"
        " clips.",
    )
    masked_mean: Literal["valid", "all"] = Field(
        "valid",
        description="Classes outside a data set: valid: not in the means of the losses; all"
        " (published 2024): counted as zeros, which dilutes the losses.",
    )
    use: NetworkName = Field(
        "student",
        description="Network that is exported, predicts and decides on the model; both are scored.",
    )
