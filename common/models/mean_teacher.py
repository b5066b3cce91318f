"""Training with augmentation in the model, and with a mean teacher.

Labels of -1 are unknown, so that the rows of a batch say themselves what they teach: weakly
labelled clips have no frame-level labels, strongly labelled ones perhaps no clip-level ones,
unlabelled clips none at all. A mean teacher makes use of all: it is the running mean of the
student's weights, and the student learns to give the outputs that the teacher gives for the same
clips.

    raw input --frontend--> linear spectra --changes--> student --> outputs --> losses of labels
                                               \\-----> teacher --> outputs --> consistency

Both networks take linear spectra: levels, scaling and statistics belong to them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from common.errors import ConfigError
from common.features.frontend import AUDIO
from common.models.augmentation.layers import (
    Batch,
    BatchChange,
    Draws,
    Labels,
    build_changes,
    n_devices,
)
from common.models.layers import PACKAGE, STATISTICS
from common.models.losses import ConsistencyLoss
from common.models.optimizer import rise
from common.settings.batch_augmentation import BatchAugmentation
from common.settings.mean_teacher import MeanTeacherConfig, NetworkName

FEATURES, EMBEDDINGS, CLASS_MASK = "features", "embeddings", "class_mask"  # inputs by name
DRAWS = "draws"  # output of training: draws that the labels need
TEACHER = "teacher_"  # begins the names of the teacher's outputs
Network = Any  # keras.Model from inputs to {output: (B, K) or (B, T', K)}


@keras.saving.register_keras_serializable(package=PACKAGE)
class AugmentedModel(keras.Model):
    """A network with random changes of its training batches, features and labels alike.

    In training, its outputs have one more entry, `DRAWS`, with which `compute_loss` changes the
    labels. Losses and their weights are given to `compile`, by output; labels may have outputs
    more.

    Args:
        student: the network, from linear spectra (B, T, F, C), or a mapping of inputs with
            `FEATURES` and perhaps `EMBEDDINGS` (B, E, D) and `CLASS_MASK` (B, K).
        frontend: layer from audio to linear spectra; None: the input is spectra.
        augmentations: changes, in their order.
    """

    def __init__(
        self,
        student: Network,
        frontend: keras.layers.Layer | None = None,
        augmentations: Sequence[BatchChange] = (),
        **options: Any,
    ) -> None:
        options.setdefault("dtype", "float32")  # or a policy of half precision would cast spectra
        super().__init__(**options)
        self.student, self.frontend = student, frontend
        self.augmentations = list(augmentations)
        self.trackers: dict[str, keras.metrics.Mean] = {}
        self.supervised: dict[str, Callable] = {}
        self.loss_shares: dict[str, float] = {}
        self.built = True  # the networks are

    def compile(
        self,
        optimizer: Any = "adam",
        loss: Mapping[str, Callable] | None = None,
        loss_weights: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        """Takes the losses of labelled clips, by output; else as `keras.Model.compile`.

        Args:
            optimizer: of the student.
            loss: for each output, a function of (labels, output) that ignores labels of -1.
            loss_weights: weight of each loss; None: 1.
            options: as of Keras.
        """
        super().compile(optimizer=optimizer, **options)
        self.supervised = dict(loss or {})
        self.loss_shares = dict(loss_weights or dict.fromkeys(self.supervised, 1.0))
        for name in [*(f"{name}_loss" for name in self.supervised), *self.loss_names]:
            if name not in self.trackers:  # those of an earlier call go on
                self.trackers[name] = keras.metrics.Mean(name)

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the further parts of the loss, in the logs."""
        return ()

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Predicts; in training, batches that are changed at random.

        Args:
            inputs: raw features or audio, or a mapping, see the class.
            training: batches are changed.

        Returns:
            The outputs of the network, float, and `DRAWS` in training.
        """
        inputs = self.spectra(inputs)
        if not training:
            return self.outputs([inputs, inputs], training)
        inputs, draws = self._change_all(inputs)
        outputs = self.outputs(self._versions(inputs), training)
        return {**outputs, DRAWS: draws}

    def spectra(self, inputs: Any) -> dict[str, Any]:
        """Returns the inputs by name, with linear spectra of the audio."""
        named = dict(inputs) if isinstance(inputs, Mapping) else {FEATURES: inputs}
        if AUDIO in named:
            named[FEATURES] = named.pop(AUDIO)
        if self.frontend is not None:
            named[FEATURES] = self.frontend(named[FEATURES])
        return named

    def outputs(self, versions: Sequence[dict[str, Any]], training: bool | None) -> dict[str, Any]:
        """Outputs for the inputs of student and teacher."""
        return run_network(self.student, versions[0], training)

    def _change_all(self, inputs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Draws]]:
        """Applies the changes that concern labels; returns their draws by number."""
        changed, draws = dict(inputs), {}
        features = changed[FEATURES]
        self._check_rows(features)
        n_frames = keras.ops.shape(features)[1]
        for number, change in enumerate(self.augmentations):
            if change.share is not None:
                continue
            draws[str(number)] = own = change.draw(features)
            features = change.change_features(features, own)
            if EMBEDDINGS in changed:
                embeddings = change.change_embeddings(changed[EMBEDDINGS], own, n_frames)
                changed[EMBEDDINGS] = embeddings
        return {**changed, FEATURES: features}, draws

    def _check_rows(self, features: Any) -> None:
        for change in self.augmentations:
            expected, received = change.batch.size, features.shape[0]
            if None not in (expected, received) and expected != received:
                raise ConfigError(
                    f"Augmentation is set for batches of the parts {change.batch.parts}. Expected:"
                    f" {expected} clips. Received: {received}."
                )

    def _versions(self, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        """Inputs of student and teacher, changed as each change shares them."""
        features = [inputs[FEATURES], inputs[FEATURES]]
        for change in self.augmentations:
            share = change.share
            if share is None:
                continue
            alike = change.draw(features[0]) if share == "alike" else None
            for place, name in enumerate(self.networks):
                if share in ("apart", "alike", name):
                    draws = change.draw(features[place]) if alike is None else alike
                    features[place] = change.change_features(features[place], draws)
        return [{**inputs, FEATURES: own} for own in features]

    @property
    def networks(self) -> tuple[NetworkName, ...]:
        """Names of the networks, for the shares of changes."""
        return ("student",)

    def labels(self, y: Labels, y_pred: Mapping[str, Any]) -> dict[str, Any]:
        """Labels of the outputs that have losses or metrics, changed as the batch was."""
        labels: Labels = {name: values for name, values in y.items() if name in y_pred}
        for number, draws in y_pred.get(DRAWS, {}).items():
            labels = self.augmentations[int(number)].change_labels(labels, draws)
        return dict(labels)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Returns the weighted sum of all losses, and notes each; arguments as of Keras."""
        labels, total = self.labels(y, y_pred), 0.0
        for name, loss in self.supervised.items():
            value = keras.ops.mean(loss(labels[name], y_pred[name]))
            self.trackers[f"{name}_loss"].update_state(value)
            total = total + self.loss_shares[name] * value
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Computes metrics of the labelled outputs; arguments as of Keras."""
        labels = self.labels(y, y_pred)
        outputs = {name: y_pred[name] for name in labels}
        return super().compute_metrics(x, labels, outputs, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the model again; losses are given to `compile`."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "student": serialize(self.student),
            "frontend": None if self.frontend is None else serialize(self.frontend),
            "augmentations": [serialize(each) for each in self.augmentations],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "AugmentedModel":
        """Builds the model that `get_config` describes."""
        load = keras.saving.deserialize_keras_object
        parts = ("student", "teacher", "frontend")
        built = {name: load(config[name]) for name in parts if config.get(name) is not None}
        changes = [load(each) for each in config["augmentations"]]
        return cls(**{**config, **built, "augmentations": changes})


@keras.saving.register_keras_serializable(package=PACKAGE)
class MeanTeacher(AugmentedModel):
    """A student, and a teacher whose weights are the running mean of the student's.

    The teacher begins as a copy of the student. After each training step n, the first one 1, its
    weights are a * teacher + (1 - a) * student with a = min(1 - 1 / (n + 1), decay). In training it
    runs as the student does, dropout included, on its own version of the batch; no gradient passes
    through it. Outputs are those of the student, and those of the teacher with `TEACHER` before
    their names.

    Args:
        student: see `AugmentedModel`.
        teacher: network of the same layers, whose weights are replaced.
        config: running mean and consistency, `MeanTeacherConfig` or its fields.
        ramp_iterations: batches until the consistency has its weight; 0: from the first.
        parts: number of clips of each part of a batch, see `Batch`.
        frontend: see `AugmentedModel`.
        augmentations: see `AugmentedModel`; each change goes to student, teacher or both.

    Raises:
        ConfigError: the consistency is of unknown parts, or devices of TensorFlow share batches.

    References:
        Tarvainen, Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv:1703.01780.
        The code of DCASE task 4 since 2019, whose first one drew other weights for the teacher.
    """

    def __init__(
        self,
        student: Network,
        teacher: Network,
        config: MeanTeacherConfig | Mapping[str, Any] | None = None,
        ramp_iterations: float = 0.0,
        parts: Mapping[str, int] | None = None,
        frontend: keras.layers.Layer | None = None,
        augmentations: Sequence[BatchChange] = (),
        **options: Any,
    ) -> None:
        super().__init__(student, frontend, augmentations, **options)
        if not isinstance(config, MeanTeacherConfig):
            config = MeanTeacherConfig.model_validate(config or {})
        self.config = config
        self.teacher, self.ramp_iterations = teacher, ramp_iterations
        self.batch = Batch(parts or {}, n_devices())
        self.compared = self.batch.mask(self.config.consistency_parts)
        self.distance = ConsistencyLoss(self.config.consistency)
        teacher.set_weights(student.get_weights())
        pairs = zip(student.weights, teacher.weights, strict=True)
        averaged = self.config.statistics == "averaged"
        self.followed = [pair for pair in pairs if averaged or pair[0].trainable]
        if averaged:
            for layer in _normalisations(teacher):
                layer.momentum = 1.0  # statistics of its inputs do not move those that it keeps
        for weight in teacher.weights:
            weight.trainable = False  # by the optimizer: the layers still train their statistics
        # "int" is the kind of integer that a GPU can hold.
        options = {"shape": (), "dtype": "int", "initializer": "zeros", "trainable": False}
        self.iterations = self.add_weight(name="iterations", **options)

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the further parts of the loss, in the logs."""
        return (*(f"{name}_consistency" for name in self.student.output), "consistency_weight")

    @property
    def networks(self) -> tuple[NetworkName, ...]:
        """Names of the networks, for the shares of changes."""
        return "student", "teacher"

    def outputs(self, versions: Sequence[dict[str, Any]], training: bool | None) -> dict[str, Any]:
        """Outputs of the student, and of the teacher without gradients."""
        student, teacher = (
            run_network(network, inputs, training)
            for network, inputs in zip((self.student, self.teacher), versions, strict=True)
        )
        fixed = {f"{TEACHER}{name}": keras.ops.stop_gradient(x) for name, x in teacher.items()}
        return {**student, **fixed}

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Returns the losses of labelled clips plus the consistency; arguments as of Keras."""
        total = super().compute_loss(x, y, y_pred, sample_weight, training)
        weight = self.consistency_weight()
        self.trackers["consistency_weight"].update_state(weight)
        for name in self.student.output:
            teacher = self._compared(y_pred[f"{TEACHER}{name}"], x)
            value = keras.ops.mean(self.distance(teacher, y_pred[name]))
            self.trackers[f"{name}_consistency"].update_state(value)
            total = total + weight * value
        return total

    def _compared(self, teacher: Any, x: Any) -> Any:
        """Teacher's outputs, -1 where they are not compared with the student's."""
        ops, n_axes = keras.ops, len(teacher.shape)
        if self.compared is not None:
            rows = self.compared.reshape(-1, *(1,) * (n_axes - 1))
            teacher = ops.where(rows, teacher, -1.0)
        if not isinstance(x, Mapping) or CLASS_MASK not in x or self.config.masked_mean == "all":
            return teacher
        classes = ops.cast(x[CLASS_MASK], "bool")  # (B, K)
        return ops.where(classes if n_axes == 2 else classes[:, None], teacher, -1.0)

    def consistency_weight(self) -> Any:
        """Weight of the consistency in the next step, ()."""
        step = keras.ops.cast(self.iterations, "float32")
        return self.config.consistency_weight * rise(step, self.ramp_iterations)

    def train_step(self, *arguments: Any) -> Any:
        """Trains the student by a batch, then lets the teacher follow; arguments as of Keras."""
        if len(arguments) == 1:  # (data,): variables hold the state, as on TensorFlow and PyTorch
            logs = super().train_step(*arguments)
            self.follow()
            return logs
        # (state, data), as on JAX: values of all variables come and go.
        logs, (trainable, fixed, *others) = super().train_step(*arguments)
        mapping = [
            *zip(self.trainable_variables, trainable, strict=True),
            *zip(self.non_trainable_variables, fixed, strict=True),
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            self.follow()
        fixed = [scope.get_current_value(each) for each in self.non_trainable_variables]
        return logs, (trainable, fixed, *others)

    def follow(self) -> None:
        """Moves the teacher's weights towards the student's; counts one step."""
        step = self.iterations + 1
        self.iterations.assign(step)
        kept = kept_share(keras.ops.cast(step, "float32"), self.config.decay)
        for student, teacher in self.followed:
            teacher.assign(running_mean(teacher, keras.ops.stop_gradient(student), kept))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments that build the model again; losses are given to `compile`."""
        return {
            **super().get_config(),
            "teacher": keras.saving.serialize_keras_object(self.teacher),
            "config": self.config.model_dump(mode="json"),
            "ramp_iterations": self.ramp_iterations,
            "parts": dict(self.batch.parts),
        }


def kept_share(step: Any, decay: float) -> Any:
    """Share of the teacher that a step leaves.

    Args:
        step: float, number of steps trained, 1 after the first; FDY-SED counts one less.
        decay: largest share.

    Returns:
        min(1 - 1 / (step + 1), decay), of the shape of `step`.
    """
    return keras.ops.minimum(1.0 - 1.0 / (step + 1.0), decay)


def running_mean(teacher: Any, student: Any, kept: Any) -> Any:
    """Computes kept * teacher + (1 - kept) * student, exact where both are equal."""
    return teacher + (1.0 - kept) * (student - teacher)


def run_network(network: Network, inputs: Mapping[str, Any], training: bool | None) -> Any:
    """Runs a network on those of the inputs that it has, by their names."""
    names = [each.name for each in network.inputs]
    if len(names) == 1:
        return network(inputs[FEATURES], training=training)
    return network({name: inputs[name] for name in names}, training=training)


def build_augmented(
    build: Callable[[], Network],
    *,
    config: MeanTeacherConfig | None,
    augmentation: BatchAugmentation,
    parts: Mapping[str, int],
    stride: int,
    iterations_per_epoch: int,
    frontend: keras.layers.Layer | None = None,
) -> AugmentedModel:
    """Builds the model of a training that changes its batches, with or without a teacher.

    Args:
        build: makes a network from linear spectra to outputs, another one at each call.
        config: of the mean teacher; None: there is no teacher.
        augmentation: changes of the batches.
        parts: number of clips of each part of a batch, in their order; empty: no parts.
        stride: feature frames per output frame.
        iterations_per_epoch: batches in an epoch.
        frontend: layer from audio to linear spectra; None: the model takes spectra.

    Raises:
        ConfigError: settings name parts that the batch does not have, or a teacher without one.
    """
    if config is None:
        changes = build_changes(augmentation, parts, stride)
        for change in changes:
            if change.share == "teacher":
                raise ConfigError(
                    "`share: teacher` needs a mean teacher, `training.teacher`. Received: none."
                )
        return AugmentedModel(build(), frontend, changes, name="augmented")
    changes = build_changes(augmentation, parts, stride, config.noise)
    ramp = config.ramp_epochs * iterations_per_epoch
    networks = build(), build()
    return MeanTeacher(*networks, config, ramp, parts, frontend, changes, name="mean_teacher")


def chosen_network(model: keras.Model, use: NetworkName | None = None) -> keras.Model:
    """Takes one network out of a trained model, for prediction and export.

    Args:
        model: any model; one without a student is returned as it is.
        use: student or teacher; None: as the model's settings say.

    Returns:
        Model from the raw input to the outputs of the network, which shares its weights.

    Raises:
        ConfigError: the model has no teacher.
    """
    if not isinstance(model, AugmentedModel):
        return model
    use = use or (model.config.use if isinstance(model, MeanTeacher) else "student")
    if use not in model.networks:
        raise ConfigError("`use: teacher` needs a model trained with a teacher. Received: none.")
    network = getattr(model, use)
    if isinstance(model, MeanTeacher) and use == "teacher":
        for own, other in zip(*map(_normalisations, (network, model.student)), strict=True):
            own.momentum = other.momentum
    return network if model.frontend is None else _with_frontend(network, model.frontend)


def outputs_of(outputs: Mapping[str, Any], use: NetworkName) -> dict[str, Any]:
    """Outputs of one network under their own names, from those of a mean teacher."""
    if use == "student":
        return {name: x for name, x in outputs.items() if not name.startswith(TEACHER)}
    stem = len(TEACHER)
    return {name[stem:]: x for name, x in outputs.items() if name.startswith(TEACHER)}


def _with_frontend(network: keras.Model, frontend: Any) -> keras.Model:
    """Joins a frontend to a network, in the form of `common.models.layers.with_statistics`."""
    raw = keras.Input((None, frontend.frontend.channels), name=AUDIO, dtype="int16")  # (B, S, C)
    x = frontend(raw)  # (B, T, F, C)
    if STATISTICS not in [layer.name for layer in network.layers]:
        return keras.Model(raw, network(x), name=network.name)
    for layer in network.layers[1:]:  # the statistics, which stay in reach, then the network
        x = layer(x)
    return keras.Model(raw, x, name=network.name)


def _normalisations(network: keras.Model) -> list[keras.layers.BatchNormalization]:
    kind = keras.layers.BatchNormalization
    return [layer for layer in network._flatten_layers() if isinstance(layer, kind)]
