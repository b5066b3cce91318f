"""Augmentation of training batches in the model: draws, and what they change.

Each change is a layer with settings of `common.settings.batch_augmentation` and a generator of
seeds, whose state is a variable of the model: a resumed job draws what an uninterrupted one does.
A change draws for the whole batch; the draws then change features, embeddings and labels by the
functions of `common.models.augmentation.changes`. They run on any backend and under XLA: sizes of
arrays do not depend on draws.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from scipy import stats

from common.errors import ConfigError
from common.models.augmentation import changes
from common.models.layers import PACKAGE
from common.settings import batch_augmentation as settings_of
from common.settings.batch_augmentation import BatchAugmentation
from common.settings.mean_teacher import TeacherNoise
from common.settings.section import Section

Draws = dict[str, Any]  # tensors by name
Labels = Mapping[str, Any]  # (B, K) or (B, T', K) by output
_QUANTILES = 4096  # steps of the table from which a weight of mixup is drawn


class Batch:
    """Rows of a batch by part.

    Args:
        parts: number of clips of each part, in the order of the batch; empty: no parts.
        n_devices: devices that share a batch by consecutive rows; each has its share of every part,
            in their order.

    Raises:
        ConfigError: the devices cannot share the parts evenly.
    """

    def __init__(self, parts: Mapping[str, int], n_devices: int = 1) -> None:
        self.parts, self.n_devices = dict(parts), n_devices
        odd = [name for name, size in self.parts.items() if size % n_devices]
        if odd:
            raise ConfigError(
                f"{n_devices} devices share every part of a batch. Expected: clips of each part"
                f" divisible by {n_devices}. Received: {odd[0]} with {self.parts[odd[0]]}."
            )

    @property
    def size(self) -> int | None:
        """Clips of a batch; None without parts."""
        return sum(self.parts.values()) or None

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """Rows of some parts, int (n,), ascending.

        Raises:
            ConfigError: there is no such part.
        """
        unknown = [name for name in names if name not in self.parts]
        if unknown:
            known = ", ".join(self.parts) or "none, as the batch has no parts"
            raise ConfigError(
                f"Augmentation and consistency name parts of the batch. Expected: {known}."
                f" Received: {', '.join(unknown)}."
            )
        of_device = [size // self.n_devices for size in self.parts.values()]
        numbers = np.repeat(np.arange(len(of_device)), of_device)
        wanted = [number for number, name in enumerate(self.parts) if name in names]
        return np.flatnonzero(np.isin(np.tile(numbers, self.n_devices), wanted))

    def mask(self, names: Sequence[str]) -> np.ndarray | None:
        """True in the rows of some parts, (B,); None: all rows, for no names."""
        if not names:
            return None
        return np.isin(np.arange(self.size or 0), self.rows(names))


class BatchChange(keras.layers.Layer):
    """A random change of training batches.

    Subclasses name their `Settings`, draw, and override what the draws change.

    Args:
        settings: a section, or its fields.
        parts: see `Batch`.
        stride: feature frames per output frame.
        seed: of the generator; None: by the seed of the process.
    """

    Settings: ClassVar[type[Section]]

    def __init__(
        self,
        settings: Any = None,
        parts: Mapping[str, int] | None = None,
        stride: int = 1,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        options.setdefault("dtype", "float32")  # half precision is too coarse for magnitudes
        super().__init__(**options)
        is_section = isinstance(settings, Section)
        self.settings: Any = (
            settings if is_section else self.Settings.model_validate(settings or {})
        )
        self.stride, self.batch = stride, Batch(parts or {}, n_devices())
        self.generator = keras.random.SeedGenerator(seed)
        self.built = True  # there are no weights

    @property
    def share(self) -> str | None:
        """Networks that get the change, see `Share`; None: both, and the labels."""
        return getattr(self.settings, "share", None)

    def draw(self, features: Any) -> Draws:
        """Draws for a batch of features (B, T, F, C)."""
        raise NotImplementedError

    def change_features(self, features: Any, draws: Draws) -> Any:
        """Changes features (B, T, F, C)."""
        return features

    def change_embeddings(self, embeddings: Any, draws: Draws, n_frames: Any) -> Any:
        """Changes frame-level embeddings (B, E, D) that go with `n_frames` feature frames."""
        return embeddings

    def change_labels(self, labels: Labels, draws: Draws) -> Labels:
        """Changes labels, clip-level (B, K) or frame-level (B, T', K), by output."""
        return labels

    def uniform(self, shape: tuple, low: float = 0.0, high: float = 1.0) -> Any:
        """Draws float32 from [low, high)."""
        return keras.random.uniform(shape, low, high, "float32", self.generator)

    def below(self, shape: tuple, end: Any) -> Any:
        """Draws int32 from [0, end)."""
        draws = self.uniform(shape) * keras.ops.cast(end, "float32")
        most = keras.ops.cast(end, "int32") - 1
        return keras.ops.minimum(keras.ops.cast(keras.ops.floor(draws), "int32"), most)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the layer again; the generator's state is a variable."""
        own = {"settings": self.settings.model_dump(mode="json"), "stride": self.stride}
        return {**super().get_config(), **own, "parts": dict(self.batch.parts)}


def n_devices() -> int:
    """Number of devices that share the batches of a training by consecutive rows.

    Raises:
        ConfigError: they are those of TensorFlow, each of which would see its rows only.
    """
    if keras.backend.backend() == "tensorflow":
        from common.runtime.distribution import n_replicas  # loads TensorFlow

        if n_replicas() > 1:
            raise ConfigError(
                "Batches that are changed in the model, or have a teacher, cannot be shared by"
                " devices of TensorFlow. Expected: `run.distribution: none`, or `run.backend: jax`."
                " Received: mirrored."
            )
    shared = keras.distribution.distribution()
    return 1 if shared is None else int(shared.device_mesh.devices.size)


def _frame_level(labels: Labels) -> list[str]:
    return [name for name, values in labels.items() if len(values.shape) == 3]


@keras.saving.register_keras_serializable(package=PACKAGE)
class FrameShift(BatchChange):
    """Shifts each clip along time by a normal draw, its frame-level labels and embeddings too."""

    Settings = settings_of.FrameShift

    def draw(self, features: Any) -> Draws:
        """Draws the shift of each clip, int (B,), truncated to whole frames."""
        shape, std = keras.ops.shape(features)[:1], self.settings.std_frames
        frames = keras.random.normal(shape, 0.0, std, "float32", self.generator)
        return {"shift": keras.ops.cast(frames, "int32")}

    def change_features(self, features: Any, draws: Draws) -> Any:
        """Shifts features."""
        return changes.shift_frames(features, draws["shift"])

    def change_embeddings(self, embeddings: Any, draws: Draws, n_frames: Any) -> Any:
        """Shifts embeddings by the nearest number of their frames."""
        n_own = keras.ops.shape(embeddings)[1]
        moved = 2 * draws["shift"] * n_own + n_frames
        return changes.shift_frames(embeddings, keras.ops.floor_divide(moved, 2 * n_frames))

    def change_labels(self, labels: Labels, draws: Draws) -> Labels:
        """Shifts frame-level labels."""
        shift = changes.label_shift(draws["shift"], self.stride, self.settings.rounding)
        shifted = {name: changes.shift_frames(labels[name], shift) for name in _frame_level(labels)}
        return {**labels, **shifted}


@keras.saving.register_keras_serializable(package=PACKAGE)
class Mixup(BatchChange):
    """Mixes the clips of each group of parts."""

    Settings = settings_of.Mixup

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        rows = [self.batch.rows(names) for names in self.settings.groups]
        if len(np.unique(np.concatenate([*rows, []]))) < sum(map(len, rows)):
            raise ConfigError(
                "`mixup.groups` must name each part of the batch at most once. Received:"
                f" {[list(names) for names in self.settings.groups]}."
            )
        self.rows = rows

    def draw(self, features: Any) -> Draws:
        """Draws partners and weights of all clips, and those of embeddings if they have some."""
        ops, n_clips = keras.ops, keras.ops.shape(features)[0]
        mixed = self.uniform(()) < self.settings.probability
        draws = self._pairs(n_clips, mixed)
        if self.settings.embeddings == "separate":
            own = self._pairs(n_clips, mixed)
            draws |= {f"embedding_{name}": values for name, values in own.items()}
        return {name: ops.stop_gradient(values) for name, values in draws.items()}

    def _pairs(self, n_clips: Any, mixed: Any) -> Draws:
        """Draws the row of each clip's partner and its own weight, 1 outside the groups."""
        ops = keras.ops
        groups = [ops.convert_to_tensor(rows, "int32") for rows in self.rows]
        rest = np.setdiff1d(np.arange(self.batch.size or 0), np.concatenate([*self.rows, []]))
        if not groups:
            groups, rest = [ops.arange(n_clips, dtype="int32")], np.array([])
        kept = ops.convert_to_tensor(rest, "int32")
        partners, weights = [], []
        for rows in groups:
            order = ops.argsort(self.uniform(ops.shape(rows)))
            partners.append(ops.take(rows, order))
            weights.append(ops.where(mixed, self._weight(), 1.0) * ops.ones(ops.shape(rows)))
        # Row by row: the lists above are in the order of the groups.
        order = ops.argsort(ops.concatenate([*groups, kept]))
        partner = ops.take(ops.concatenate([*partners, kept]), order)
        weight = ops.take(ops.concatenate([*weights, ops.ones(ops.shape(kept))]), order)
        return {"permutation": partner, "weight": weight}

    def _weight(self) -> Any:
        """Draws a weight, (): by the quantiles of its distribution, which XLA can do."""
        table = keras.ops.convert_to_tensor(beta_quantiles(self.settings.alpha), "float32")
        place = self.uniform(()) * float(_QUANTILES)
        lower = keras.ops.cast(keras.ops.minimum(place, _QUANTILES - 1.0), "int32")
        part = place - keras.ops.cast(lower, "float32")
        ends = keras.ops.take(table, lower), keras.ops.take(table, lower + 1)
        least = self.settings.min_weight
        return least + (1.0 - 2.0 * least) * (ends[0] + part * (ends[1] - ends[0]))

    def change_features(self, features: Any, draws: Draws) -> Any:
        """Mixes features."""
        return changes.mix(features, draws["permutation"], draws["weight"])

    def change_embeddings(self, embeddings: Any, draws: Draws, n_frames: Any) -> Any:
        """Mixes embeddings as the settings say."""
        kind = self.settings.embeddings
        if kind == "none":
            return embeddings
        stem = "embedding_" if kind == "separate" else ""
        return changes.mix(embeddings, draws[f"{stem}permutation"], draws[f"{stem}weight"])

    def change_labels(self, labels: Labels, draws: Draws) -> Labels:
        """Mixes labels; by both draws in turn where embeddings have their own."""
        stems = ["", "embedding_"] if self.settings.embeddings == "separate" else [""]
        mixed = dict(labels)
        for stem in stems:
            pairs = draws[f"{stem}permutation"], draws[f"{stem}weight"]
            for name, values in mixed.items():
                mixed[name] = changes.mix_labels(values, *pairs, self.settings.labels)
        return mixed


@functools.cache
def beta_quantiles(alpha: float) -> np.ndarray:
    """Quantiles 0, 1 / 4096, ... 1 of Beta(alpha, alpha), float64 (4097,)."""
    return stats.beta.ppf(np.linspace(0.0, 1.0, _QUANTILES + 1), alpha, alpha)


@keras.saving.register_keras_serializable(package=PACKAGE)
class TimeMask(BatchChange):
    """Silences a span of output frames in some parts, in features and labels."""

    Settings = settings_of.TimeMask

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.masked = self.batch.mask(self.settings.parts)

    def draw(self, features: Any) -> Draws:
        """Draws the first frame and the width of spans, int (B,), in output frames."""
        ops, settings = keras.ops, self.settings
        n_clips, n_frames = ops.shape(features)[0], ops.shape(features)[1] // self.stride
        shape = (n_clips,) if settings.each_clip else (1,)
        least, most = (_whole(n_frames, part) for part in (settings.min_share, settings.max_share))
        width = least + self.below(shape, ops.maximum(most - least, 1))
        low = self.below(shape, ops.maximum(n_frames - width, 1))
        width = width * ops.ones((n_clips,), "int32")
        if self.masked is not None:
            width = ops.where(self.masked, width, 0)
        return {"low": low * ops.ones((n_clips,), "int32"), "width": width}

    def change_features(self, features: Any, draws: Draws) -> Any:
        """Masks feature frames."""
        return changes.mask_frames(
            features, draws["low"] * self.stride, draws["width"] * self.stride
        )

    def change_labels(self, labels: Labels, draws: Draws) -> Labels:
        """Masks output frames."""
        span = draws["low"], draws["width"]
        masked = {name: changes.mask_labels(labels[name], *span) for name in _frame_level(labels)}
        return {**labels, **masked}


def _whole(size: Any, share: float) -> Any:
    """Whole part of a share of a size."""
    return keras.ops.cast(keras.ops.floor(keras.ops.cast(size, "float32") * share), "int32")


@keras.saving.register_keras_serializable(package=PACKAGE)
class FilterAugment(BatchChange):
    """Multiplies the bands of each clip by random gains."""

    Settings = settings_of.FilterAugment

    def draw(self, features: Any) -> Draws:
        """Draws the edges of the filter's bands, the same for all clips, and gains of each clip."""
        ops, settings = keras.ops, self.settings
        n_clips, n_mel = ops.shape(features)[0], features.shape[2]
        most = settings.max_bands
        if most * settings.min_width > n_mel:
            raise ConfigError(
                f"`filter_augment`: {most} bands of at least {settings.min_width} mel bands do not"
                f" fit. Expected: {n_mel} mel bands at most. Lower `max_bands` or `min_width`."
            )
        n = settings.min_bands + self.below((), most - settings.min_bands + 1)
        numbers = ops.arange(1, most, dtype="int32")  # inner edges that there may be
        spare = n_mel - n * settings.min_width + 1
        inner = ops.where(numbers < n, self.below((most - 1,), spare), n_mel)
        inner = ops.minimum(ops.sort(inner) + numbers * settings.min_width, n_mel)
        ends = ops.convert_to_tensor([0], "int32"), ops.convert_to_tensor([n_mel], "int32")
        low, high = settings.min_gain_db, settings.max_gain_db
        n_gains = most + (settings.kind == "linear")
        gains_db = self.uniform((n_clips, n_gains), low, high) if high > low else None
        if gains_db is None:
            gains_db = ops.full((n_clips, n_gains), low, "float32")
        return {"edges": ops.concatenate([ends[0], inner, ends[1]]), "gains_db": gains_db}

    def change_features(self, features: Any, draws: Draws) -> Any:
        """Multiplies bands by gains."""
        sizes = features.shape[2], self.settings.kind
        gains = changes.filter_gains(draws["edges"], draws["gains_db"], *sizes)
        return changes.apply_gains(features, gains)


@keras.saving.register_keras_serializable(package=PACKAGE)
class BandMask(BatchChange):
    """Silences a span of mel bands of each clip; both networks keep inputs of their own."""

    Settings = settings_of.BandMask

    def draw(self, features: Any) -> Draws:
        """Draws the first band and the width of each clip's span, int (B,)."""
        n_clips, n_mel = keras.ops.shape(features)[0], features.shape[2]
        width = self.below((n_clips,), int(n_mel * self.settings.max_share) + 1)
        return {"low": self.below((n_clips,), n_mel - width + 1), "width": width}

    def change_features(self, features: Any, draws: Draws) -> Any:
        """Masks bands."""
        return changes.mask_bands(features, draws["low"], draws["width"])


@keras.saving.register_keras_serializable(package=PACKAGE)
class Noise(BatchChange):
    """Adds Gaussian noise at a drawn ratio to the level of each clip."""

    Settings = settings_of.Noise

    def draw(self, features: Any) -> Draws:
        """Draws noise like the features, and ratios (B,) in dB."""
        shape = keras.ops.shape(features)
        low, high = self.settings.min_snr_db, self.settings.max_snr_db
        snr_db = low + (high - low) * self.uniform(shape[:1])
        noise = keras.random.normal(shape, dtype="float32", seed=self.generator)
        return {"noise": noise, "snr_db": snr_db}

    def change_features(self, features: Any, draws: Draws) -> Any:
        """Adds the noise."""
        return changes.add_noise(features, draws["noise"], draws["snr_db"])


@keras.saving.register_keras_serializable(package=PACKAGE)
class TeacherInputNoise(BatchChange):
    """Adds the noise of the baselines of 2019 and 2020 to the input of the teacher."""

    Settings = TeacherNoise

    @property
    def share(self) -> str | None:
        """Only the teacher gets the noise."""
        return "teacher"

    def draw(self, features: Any) -> Draws:
        """Draws noise like the features."""
        std = self.settings.std if self.settings.kind == "absolute" else 1.0
        shape = keras.ops.shape(features)
        return {"noise": keras.random.normal(shape, 0.0, std, "float32", self.generator)}

    def change_features(self, features: Any, draws: Draws) -> Any:
        """Adds the noise."""
        if self.settings.kind == "absolute":
            return changes.add_magnitudes(features, draws["noise"])
        return changes.add_band_noise(features, draws["noise"], self.settings.snr_db)


@keras.saving.register_keras_serializable(package=PACKAGE)
class SpecAugment(BatchChange):
    """Masks bands and frames of each clip; in training also a layer within a network."""

    Settings = settings_of.SpecAugment

    def draw(self, features: Any) -> Draws:
        """Draws widths and starts from [0, 1): of bands, then of frames, (4, B)."""
        return {"draws": self.uniform((4, keras.ops.shape(features)[0]))}

    def change_features(self, features: Any, draws: Draws) -> Any:
        """Masks bands, then frames; sequences (B, T, D) have frames only."""
        settings, all_draws = self.settings, draws["draws"]
        n_frames = keras.ops.shape(features)[1]
        if settings.band_length and len(features.shape) == 4:
            limits = features.shape[2], settings.band_length, settings.band_share
            span = changes.spec_augment_span(all_draws[:2], *limits)
            features = changes.mask_bands(features, *span, settings.fill)
        if settings.frame_length:
            limits = n_frames, settings.frame_length, settings.frame_share
            span = changes.spec_augment_span(all_draws[2:], *limits)
            features = changes.mask_frames(features, *span, settings.fill)
        return features

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Masks features (B, T, F, C) or sequences (B, T, D) in training."""
        if not training:
            return inputs
        inputs = keras.ops.cast(inputs, self.compute_dtype)
        return self.change_features(inputs, self.draw(inputs))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns the input's shape."""
        return input_shape


_LAYERS: dict[type[Section], type[BatchChange]] = {
    layer.Settings: layer
    for layer in (
        FrameShift,
        Mixup,
        TimeMask,
        FilterAugment,
        BandMask,
        Noise,
        TeacherInputNoise,
        SpecAugment,
    )
}


def build_changes(
    augmentation: BatchAugmentation,
    parts: Mapping[str, int],
    stride: int,
    teacher_noise: TeacherNoise | None = None,
) -> list[BatchChange]:
    """Makes the changes that settings turn on, in their order.

    Args:
        augmentation: the settings.
        parts: number of clips of each part of a batch, in their order; empty: no parts.
        stride: feature frames per output frame.
        teacher_noise: noise on the teacher's input; None: none.

    Raises:
        ConfigError: settings name parts that the batch does not have.
    """
    wanted = list(augmentation.used)
    if teacher_noise is not None and teacher_noise.kind != "none":
        wanted.append(teacher_noise)
    return [_LAYERS[type(each)](each, parts, stride) for each in wanted]
