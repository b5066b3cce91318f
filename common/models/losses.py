"""Losses of several systems: float32 means over valid entries only, zero without any."""

from typing import Any, Literal

import keras

PACKAGE = "dcase_keras"
MaskedMean = Literal["valid", "all"]
LOG_FLOOR = -100.0  # of logarithms in cross-entropies, PyTorch's


def masked_mean(values: Any, mask: Any) -> Any:
    """Averages the entries under a mask over a whole batch, given as one share per example.

    One value per example is what Keras reduces: a scalar would not be scaled when a batch is split
    over devices.

    Args:
        values: (B, ...), any further axes.
        mask: same shape or one that broadcasts to it; 1 for entries that count, 0 for others.

    Returns:
        (B,); its mean is the sum over counted entries by their number, and 0, with gradient 0, when
        none counts. Where devices share a batch, the mean over all of them is that.
    """
    ops = keras.ops
    mask = ops.broadcast_to(ops.cast(mask, values.dtype), ops.shape(values))
    n_counted = mean_over_replicas(ops.sum(mask))
    counted = ops.where(mask > 0, values, ops.zeros_like(values))
    n_examples = ops.shape(values)[0]
    sums = ops.sum(ops.reshape(counted, (n_examples, -1)), axis=1)  # (B,)
    n_examples = ops.cast(n_examples, values.dtype)
    return sums * n_examples / ops.maximum(n_counted, keras.config.epsilon())


def mean_over_replicas(value: Any) -> Any:
    """Averages a number over the devices that share a batch, with its gradient.

    Keras averages the losses of the devices. A loss that divides by a number of the whole batch
    must divide by this mean, or entries on devices with few valid ones weigh more. On JAX a loss
    gets the whole batch.
    """
    if keras.backend.backend() != "tensorflow":
        return value
    from common.runtime.distribution import replica_mean  # loads TensorFlow

    return replica_mean(value)


def counted_entries(labels: Any, masked_mean: MaskedMean = "valid") -> Any:
    """Marks the entries of labels that count in the mean of a loss.

    Args:
        labels: (B, K) or (B, T, K), -1 where unknown.
        masked_mean: "valid": entries with a label; "all": all entries of the examples that have
            some label, so that those without one are zeros in the mean.

    Returns:
        bool, of the shape of `labels`; with "all" one that broadcasts to it.
    """
    known = labels >= 0.0
    if masked_mean == "valid":
        return known
    return keras.ops.any(known, axis=tuple(range(1, len(labels.shape))), keepdims=True)


@keras.saving.register_keras_serializable(package=PACKAGE)
class MaskedBinaryCrossentropy(keras.losses.Loss):
    """Binary cross-entropy of activity (B, T, K) or tags (B, K), averaged over labelled entries.

    Targets are 1 (active), 0 (inactive), anything between (a probability) or -1 (unknown, or
    outside the recording: ignored). Trailing frames that only targets or only outputs have are
    ignored.

    Args:
        log_floor: minimum of a logarithm, in nats: -100 as in PyTorch, where a certain mistake
            costs 100. None: probabilities are clipped at 1e-7 as in Keras, where it costs 16.
        masked_mean: "valid": mean over labelled entries; "all": entries of -1 in examples with some
            label count as zeros, as classes outside a data set did in DCASE 2024.
    """

    def __init__(
        self,
        log_floor: float | None = None,
        masked_mean: MaskedMean = "valid",
        name: str = "masked_bce",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.log_floor, self.masked_mean = log_floor, masked_mean

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns each example's share of the mean, (B,), in nats."""
        ops = keras.ops
        if len(y_true.shape) == 3:  # slices that reach beyond the end are cut there
            y_true, y_pred = y_true[:, : ops.shape(y_pred)[1]], y_pred[:, : ops.shape(y_true)[1]]
        known = y_true >= 0.0
        errors = ops.where(known, self.errors(ops.maximum(y_true, 0.0), y_pred), 0.0)  # (B, ..., K)
        return masked_mean(errors, counted_entries(y_true, self.masked_mean))

    def errors(self, target: Any, y_pred: Any) -> Any:
        """Error of each entry, of the shape received, in nats."""
        if self.log_floor is None:
            return keras.ops.binary_crossentropy(target, y_pred)
        return floored_crossentropy(target, y_pred, self.log_floor)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the loss again."""
        own = {"log_floor": self.log_floor, "masked_mean": self.masked_mean}
        return {**super().get_config(), **own}


def floored_crossentropy(target: Any, probability: Any, log_floor: float = LOG_FLOOR) -> Any:
    """Binary cross-entropy of each entry in nats, with logarithms of at least `log_floor`."""
    errors = -target * floored_log(probability, log_floor)
    return errors - (1.0 - target) * floored_log(1.0 - probability, log_floor)


@keras.saving.register_keras_serializable(package=PACKAGE)
class AsymmetricFocalLoss(MaskedBinaryCrossentropy):
    """Binary cross-entropy that weighs what is nearly right less, apart for both kinds of labels.

    An active entry costs -(1 - p)^gamma ln p, an inactive one -p^zeta ln(1 - p), means and masks as
    in `MaskedBinaryCrossentropy`; with both exponents 0 it is that.

    Args:
        gamma: exponent of active entries, 0 or more.
        zeta: exponent of inactive entries, 0 or more.
        log_floor: minimum of a logarithm, in nats.
        masked_mean: see `MaskedBinaryCrossentropy`.

    References:
        Imoto et al., "Impact of sound duration and inactive frames on sound event detection
        performance", ICASSP 2021, arXiv:2102.01927.
    """

    def __init__(
        self,
        gamma: float = 0.0,
        zeta: float = 1.0,
        log_floor: float = LOG_FLOOR,
        masked_mean: MaskedMean = "valid",
        name: str = "asymmetric_focal_loss",
        **options: Any,
    ) -> None:
        super().__init__(log_floor, masked_mean, name, **options)
        self.gamma, self.zeta, self.floor = gamma, zeta, log_floor

    def errors(self, target: Any, y_pred: Any) -> Any:
        """Error of each entry, of the shape received, in nats."""
        absent = 1.0 - y_pred
        active = _power(absent, self.gamma) * target * floored_log(y_pred, self.floor)
        inactive = _power(y_pred, self.zeta) * (1.0 - target) * floored_log(absent, self.floor)
        return -active - inactive

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the loss again."""
        return {**super().get_config(), "gamma": self.gamma, "zeta": self.zeta}


def _power(x: Any, exponent: float) -> Any:
    """Computes x ** exponent for x in [0, 1], with a finite gradient at 0 for any exponent."""
    if exponent == 0.0:
        return keras.ops.ones_like(x)
    return keras.ops.power(keras.ops.maximum(x, keras.config.epsilon()), exponent)


@keras.saving.register_keras_serializable(package=PACKAGE)
class ConsistencyLoss(keras.losses.Loss):
    """Distance of two predictions of the same clips, averaged over the entries that count.

    Args:
        kind: "mse": squared difference; "bce": cross-entropy of the second against the first, its
            logarithms floored at -100 as in PyTorch.

    References:
        Tarvainen, Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv:1703.01780.
    """

    def __init__(
        self, kind: Literal["mse", "bce"] = "mse", name: str = "consistency", **options: Any
    ) -> None:
        super().__init__(name=name, **options)
        self.kind = kind

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Compares the teacher's outputs with the student's.

        Args:
            y_true: of the teacher, (B, ..., K), -1 where entries do not count.
            y_pred: of the student, same shape.

        Returns:
            Each example's share of the mean, (B,).
        """
        teacher = keras.ops.maximum(y_true, 0.0)
        if self.kind == "mse":
            errors = keras.ops.square(y_pred - teacher)
        else:
            errors = floored_crossentropy(teacher, y_pred)
        return masked_mean(errors, y_true >= 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the loss again."""
        return {**super().get_config(), "kind": self.kind}


def floored_log(x: Any, floor: float) -> Any:
    """Computes max(ln x, floor) for x >= 0, with gradient 0, not NaN, at 0."""
    ops = keras.ops
    positive = x > 0.0
    logarithm = ops.log(ops.where(positive, x, 1.0))
    return ops.where(positive, ops.maximum(logarithm, floor), floor)
