"""Settings of features for all families, and the resulting sizes in samples."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import GetJsonSchemaHandler, field_validator, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from common.errors import ConfigError
from common.features.frontend import Frontend
from common.features.kinds import FeatureKind, unknown_kind
from common.settings.stft import StftConfig


def _laid_over(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values in place of defaults, section by section."""
    merged = {**defaults, **values}
    for name, section in defaults.items():
        if isinstance(section, Mapping) and isinstance(values.get(name), Mapping):
            merged[name] = {**section, **values[name]}
    return merged


class FeatureSettings(StftConfig):
    """Kind and sizes of features; the defaults are those published for the kind."""

    KINDS: ClassVar[dict[str, FeatureKind]] = {}  # table of the family

    kind: str
    n_mels: int
    fmin_hz: float
    fmax_hz: float | None

    @model_validator(mode="before")
    @classmethod
    def _published_sizes(cls, values: Any) -> Any:
        entry = cls.KINDS.get(str(values.get("kind"))) if isinstance(values, dict) else None
        return values if entry is None else _laid_over(entry.defaults, values)

    @field_validator("kind")
    @classmethod
    def _kind_is_known(cls, kind: str) -> str:
        if kind not in cls.KINDS:
            raise ValueError(str(unknown_kind(kind, list(cls.KINDS))))
        return kind

    @model_validator(mode="after")
    def _settings_fit_together(self) -> "FeatureSettings":
        if self.fmax_hz is not None and self.fmax_hz <= self.fmin_hz:
            raise ValueError(
                f"`fmax_hz` must exceed `fmin_hz`. Received: {self.fmax_hz} <= {self.fmin_hz}."
            )
        if self.on_device and self.entry.device is None:
            raise ValueError(
                f"`frontend: device` cannot compute {self.kind}. Expected: `frontend: extraction`."
            )
        return self

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        handler.resolve_ref_schema(schema)["properties"]["kind"]["enum"] = list(cls.KINDS)
        return schema

    @property
    def entry(self) -> FeatureKind:
        """Entry of the kind in the family's table."""
        return self.KINDS[self.kind]

    def rate_hz(self, recorded_hz: int) -> int:
        """Sample rate of the audio that features are computed from."""
        return recorded_hz

    def highest_hz(self, recorded_hz: int) -> float:
        """Upper edge of the highest band of features of recordings of a sample rate."""
        half_hz = self.rate_hz(recorded_hz) / 2
        limit_hz = self.fmax_hz if self.entry.has_mel_bands else None
        return half_hz if limit_hz is None else min(limit_hz, half_hz)

    def check(self, recorded_hz: int) -> None:
        """Compares the sizes with the sample rate of the recordings.

        Raises:
            ConfigError: window, hop length or the highest mel band do not fit it.
        """
        rate_hz = self.rate_hz(recorded_hz)
        self.window_samples(rate_hz)
        self.hop_samples(rate_hz)
        highest_hz = self.fmin_hz if self.fmax_hz is None else self.fmax_hz
        if self.entry.has_mel_bands and highest_hz > rate_hz / 2:
            raise ConfigError(
                f"The mel bands reach {highest_hz:g} Hz. Expected: at most half the sample rate,"
                f" {rate_hz / 2:g} Hz. Set `features.fmax_hz` or the sample rate."
            )


def as_frontend(features: FeatureSettings, recorded_hz: int, channels: int = 1) -> Frontend:
    """Describes features in samples, as for a model that computes them.

    Args:
        features: kind and sizes.
        recorded_hz: sample rate of the recordings.
        channels: channels of the recordings.
    """
    rate_hz = features.rate_hz(recorded_hz)
    names = [name for name in type(features).model_fields if name in Frontend.__dataclass_fields__]
    sizes = {name: getattr(features, name) for name in names} | {
        "sample_rate_hz": rate_hz,
        "window_samples": features.window_samples(rate_hz),
        "hop_samples": features.hop_samples(rate_hz),
    }
    return Frontend(**sizes, window=features.entry.window, channels=channels)


def frontend_of(features: FeatureSettings, recorded_hz: int, channels: int = 1) -> Frontend | None:
    """Features that the model computes, see `as_frontend`; None: extraction computes them."""
    return as_frontend(features, recorded_hz, channels) if features.on_device else None


def feature_shape(
    features: FeatureSettings, recorded_hz: int, channels: int = 1
) -> tuple[int, int]:
    """Bands and channels of the features, (F, C'); arguments as for `as_frontend`."""
    return as_frontend(features, recorded_hz, channels).bands_channels
