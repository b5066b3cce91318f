"""Tasks of `params.yaml`: settings, inheritance, overrides of the command line, and checks."""

import difflib
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from common.errors import ConfigError
from common.family import families, is_family, load
from common.io.safe_yaml import read_yaml
from common.io.terminal import unwritable
from common.settings.parallel import ParallelConfig
from common.settings.pipeline import PipelineConfig
from common.settings.section import Section
from common.settings.stft import StftConfig

_FEW_TASKS = 12  # that an error names


class MultiHostConfig(Section):
    """Processes that train together; null: from Slurm, or from KERAS_DISTRIBUTION_*."""

    address: str | None = Field(
        None, pattern=r"^[^,]+:\d+$", description="Host and free port of the coordinator, rank 0."
    )
    n_processes: int | None = Field(None, ge=1, description="World size: number of processes.")
    process: int | None = Field(
        None, ge=0, description="Rank of this process, from 0; only rank 0 writes the run."
    )

    @model_validator(mode="after")
    def _this_is_one_of_them(self) -> "MultiHostConfig":
        rank, size = self.process, self.n_processes
        if size is not None and rank is not None and rank >= size:
            raise ValueError(
                f"`process` counts from 0. Expected: 0 to {size - 1}, as `n_processes` is {size}."
                f" Received: {rank}."
            )
        return self


class RunConfig(Section):
    """Backend, devices and precision of a model."""

    backend: Literal["tensorflow", "jax", "torch"] = Field(
        "tensorflow", description="Backend of Keras."
    )
    device: Literal["auto", "cpu"] = Field("auto", description="auto: a GPU if there is one.")
    distribution: Literal["none", "mirrored", "multi_host"] = Field(
        "none",
        description="Devices that share each batch: mirrored: all GPUs of this machine;"
        " multi_host: those of several processes, on JAX.",
    )
    multi_host: MultiHostConfig = MultiHostConfig()
    mixed_precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = Field(
        "float32", description="Precision policy of the layers."
    )
    jit_compile: Literal["auto", True, False] = Field(
        "auto",
        description="XLA. auto: off on the CPU and where TensorFlow devices share batches;"
        " else Keras decides.",
    )
    deterministic: bool = Field(False, description="Same scores in each run; slower on a GPU.")

    @model_validator(mode="after")
    def _the_backend_can_share_batches(self) -> "RunConfig":
        sharing = {"mirrored": ("tensorflow", "jax"), "multi_host": ("jax",)}
        able = sharing.get(self.distribution, (self.backend,))
        if self.backend not in able:
            raise ValueError(
                f"`distribution: {self.distribution}` shares batches on some backends only."
                f" Expected: `backend: {' or '.join(able)}`. Received: {self.backend}."
            )
        mirrored = self.distribution == "mirrored" and self.backend == "tensorflow"
        if mirrored and self.jit_compile is True:
            raise ValueError(
                "`jit_compile: true` (XLA) cannot share batches on TensorFlow. Set it to auto, or"
                " set `backend: jax`."
            )
        return self


class AtIteration(Section):
    """Choice of the model after a fixed number of batches."""

    iteration: int = Field(gt=0, description="Number of batches; must be at the end of an epoch.")


class RateSchedule(Section):
    """Warm-up and fall of the learning rate, besides the decay in steps; none by default."""

    ramp: Literal["exp", "linear"] = Field(
        "exp", description="Shape of the warm-up: exp: exp(-5 (1 - t / length)^2); or linear."
    )
    ramp_epochs: float = Field(0.0, ge=0, description="Length of the warm-up; 0: none.")
    fall: Literal["none", "half_cosine", "quarter_cosine"] = Field(
        "none",
        description="Shape of the fall: half a period of a cosine, level at both ends, or a"
        " quarter, steepest at its end (published for DCASE 2024).",
    )
    fall_from_epoch: float = Field(0.0, ge=0, description="Epochs before the fall begins.")
    fall_until_epoch: float | None = Field(
        None, gt=0, description="Epochs before the fall has ended; null: `training.epochs`."
    )
    lowest_rate: float = Field(1e-8, ge=0, description="Lowest learning rate of the fall.")


class TrainingConfig(Section):
    """Length of the training, optimizer, and choice of the model."""

    epochs: int = Field(50, gt=0, description="Maximum epochs; each ends with a validation.")
    passes_per_epoch: int = Field(1, gt=0, description="Passes over the training splits per epoch.")
    batches_per_pass: int | None = Field(
        None, gt=0, description="Maximum number of batches in a pass; null: all."
    )
    iterations_per_epoch: int | None = Field(
        None, gt=0, description="Batches in an epoch, in place of whole passes."
    )
    patience_epochs: int = Field(
        5, ge=0, description="Stop after this many epochs without a better score; 0: never."
    )
    patience_from_epoch: int = Field(
        0, ge=0, description="Epochs before this one do not count for the patience."
    )
    min_delta: float = Field(0.0, ge=0, description="A better score differs by more than this.")
    learning_rate: float = Field(1e-3, gt=0, description="Initial learning rate of Adam.")
    decay_factor: float = Field(1.0, gt=0, le=1, description="Learning rate factor of each decay.")
    decay_iterations: int = Field(200, gt=0, description="Batches between two decays.")
    decay_from_iteration: int = Field(0, ge=0, description="Batches before decay begins.")
    schedule: RateSchedule = RateSchedule()
    amsgrad: bool = Field(False, description="AMSGrad variant of Adam.")
    epsilon: float = Field(1e-7, gt=0, description="Epsilon of Adam; PyTorch's default is 1e-8.")
    clip_norm: float | None = Field(
        None, gt=0, description="Maximum norm of the gradient of each variable; null: no clipping."
    )
    clip_global_norm: float | None = Field(
        None, gt=0, description="Maximum norm of the gradient of all variables; null: no clipping."
    )
    validation_recordings: int | None = Field(
        None, gt=0, description="Validation recordings scored after each epoch; null: all."
    )
    training_recordings: int = Field(
        0, ge=0, description="Training recordings scored after each epoch, as `train_<score>`."
    )
    redraw_recordings: bool = Field(
        False,
        description="Draw the scored recordings again for each epoch, as published for two-stage;"
        " false: once, by the seed.",
    )
    checkpoint_every_epochs: int | None = Field(
        None, gt=0, description="Epochs between two models that are kept; null: best and last."
    )
    choose: Literal["best", "last"] | AtIteration = Field(
        "best",
        description="Model that is scored, and that later stages start from: best: by validation;"
        " last: of the last epoch; {iteration: N}: after N batches, published for most systems.",
    )

    @model_validator(mode="after")
    def _gradients_are_clipped_in_one_way(self) -> "TrainingConfig":
        if self.clip_norm is not None and self.clip_global_norm is not None:
            raise ValueError(
                "Expected: one of `clip_norm` and `clip_global_norm`. Received: both,"
                f" {self.clip_norm} and {self.clip_global_norm}."
            )
        return self

    @model_validator(mode="after")
    def _the_fall_has_a_length(self) -> "TrainingConfig":
        schedule = self.schedule
        end = schedule.fall_until_epoch or self.epochs
        if schedule.fall != "none" and end <= schedule.fall_from_epoch:
            raise ValueError(
                f"`schedule.fall_from_epoch` must be before the end of the fall. Expected: below"
                f" {end}. Received: {schedule.fall_from_epoch}."
            )
        return self

    @model_validator(mode="after")
    def _training_reaches_the_chosen_iteration(self) -> "TrainingConfig":
        if isinstance(self.choose, AtIteration) and self.patience_epochs:
            raise ValueError(
                "`choose: {iteration: N}` may not be reached with early stopping. Expected:"
                f" `patience_epochs: 0`. Received: {self.patience_epochs}."
            )
        return self


class BaseTask(Section):
    """Settings of a task of any family; `<family>/config.py` extends them as `TaskConfig`.

    A family puts sections of its own in place of `dataset`, `features` and `training`.
    """

    description: str = Field(min_length=1, description="One line, shown by `--list`.")
    family: str = Field(description="Package: seld, sed_task4 or sed_task4.segmentation.")
    system: str = Field(description="Name of a module in `<family>/systems/`.")
    dataset_dir: Path = Field(description="Folder of the recordings.")
    feature_dir: Path = Field(description="Folder of the extracted features.")
    output_dir: Path = Field(description="Folder of the runs; each has a folder of its own.")
    seed: int = Field(0, ge=0, description="Seed of simulation, weights, batch order and dropout.")
    simulate_missing_dataset: bool = Field(False, description="Simulate a missing dataset.")
    overwrite: tuple[str, ...] = Field(
        (), description="Finished stages to do again: names as in the run's folder, or extraction."
    )
    network: dict[str, Any] = Field({}, description="Sizes of the network, by system.")
    pipeline: PipelineConfig = PipelineConfig()
    run: RunConfig = RunConfig()
    parallel: ParallelConfig = ParallelConfig()
    published: dict[str, float] | None = Field(
        None, description="Published scores, shown next to those of the run."
    )
    published_dataset: str | None = Field(
        None, description="Short name of the dataset that they were measured on, for tables."
    )
    published_on: str | None = Field(
        None, description="Data, folds and metrics that the published scores were measured on."
    )
    dataset: Section
    features: StftConfig
    training: TrainingConfig = TrainingConfig()

    @property
    @abstractmethod
    def known_sets(self) -> list[str]:
        """Names of the sets that a dataset of this kind has."""

    @property
    @abstractmethod
    def set_names(self) -> list[str]:
        """Names of the sets that the task reads: some of `known_sets`."""

    @property
    def fold_names(self) -> list[str]:
        """Folders of the folds in a run directory; none if a run has no folds."""
        return []

    @property
    def start_models(self) -> dict[str, Path]:
        """Models from files whose weights stages start from, by stage."""
        return {}

    @property
    def audio_channels(self) -> int | None:
        """Channels that recordings must have for a prediction; None: any number."""
        return None

    @property
    def decoding_keys(self) -> tuple[str, ...]:
        """Settings of decoding, or whole sections of them, which a prediction may change."""
        return ()

    def decoding_changes(
        self, threshold: float | None, changes: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Settings of a prediction that differ from those of the run.

        Args:
            threshold: for activity in frames, in place of the run's; None: the run's.
            changes: nested settings among `decoding_keys`, which take precedence.

        Raises:
            ConfigError: the decoding has no such threshold.
        """
        if threshold is not None:
            raise ConfigError(
                f"--threshold: the decoding of {self.family} has no threshold in its settings."
                " Leave it out."
            )
        return dict(changes)

    @property
    def published_label(self) -> str:
        """Label of the line of published scores, which names their dataset."""
        return f"published, {self.published_dataset or 'dataset not said'}"

    @property
    def published_notes(self) -> tuple[str, ...]:
        """One line on the origin of the published scores for tables, if there are any."""
        if not self.published:
            return ()
        return (f"Published: measured on {self.published_on or '(not said)'}.",)

    @property
    def batch_sizes(self) -> list[int]:
        """All batch sizes of the training."""
        return [self.pipeline.batch_size]

    @property
    def batch_text(self) -> str:
        """Batch sizes in words."""
        return " and ".join(map(str, dict.fromkeys(self.batch_sizes)))

    @model_validator(mode="after")
    def _padding_fits_the_frontend(self) -> "BaseTask":
        if self.features.on_device and self.pipeline.padding == "mean":
            raise ValueError(
                "`pipeline.padding: mean` pads features, but with `features.frontend: device` audio"
                " is padded, with silence. Set `pipeline.padding: repeat`."
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _paths_expand_the_home_folder(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        folders = ("dataset_dir", "feature_dir", "output_dir")
        given = {key: values[key] for key in folders if isinstance(values.get(key), str)}
        paths = {key: str(Path(path).expanduser()) for key, path in given.items()}
        for key, path in paths.items():
            try:
                os.fsencode(path)
            except UnicodeEncodeError as error:
                raise ValueError(f"`{key}`: {unwritable(error)}") from None
        return values | paths


def read_tasks(path: Path) -> dict[str, dict]:
    """Reads all tasks of a settings file, unresolved.

    Args:
        path: a file like `params.yaml`: a mapping `tasks` from id to settings, and perhaps one
            `aliases` from further names to ids.

    Returns:
        Settings by task id; ids are text even where YAML reads a number. `inherits` names an id,
        never an alias.

    Raises:
        ConfigError: the file is missing, is not YAML, or has another form.
    """
    return _read_file(path)[0]


def read_aliases(path: Path) -> dict[str, str]:
    """Reads the aliases of a settings file: task id by alias.

    Raises:
        ConfigError: as for `read_tasks`.
    """
    return _read_file(path)[1]


def _read_file(path: Path) -> tuple[dict[str, dict], dict[str, str]]:
    """Reads tasks and aliases of a settings file."""
    content = _parse_yaml(_read_text(path), str(path))
    parts = content if isinstance(content, dict) else {}
    tasks, aliases = parts.get("tasks"), parts.get("aliases", {})
    known = set(parts) <= {"tasks", "aliases"} and isinstance(aliases, dict)
    if not isinstance(tasks, dict) or not tasks or not known:
        raise ConfigError(
            f"{path} must hold a mapping `tasks:` from task id to settings, and besides at most a"
            " mapping `aliases:` from alias to task id."
        )
    wrong = [str(key) for key, value in tasks.items() if not isinstance(value, dict)]
    if wrong:
        raise ConfigError(
            f"{path}: each task must be a mapping of settings; these are not: {', '.join(wrong)}."
        )
    tasks = {str(key): value for key, value in tasks.items()}
    aliases = {str(key): str(value) for key, value in aliases.items()}
    for alias, task_id in aliases.items():
        if alias in tasks:
            raise ConfigError(f"{path}: {alias!r} is a task id and an alias. Rename one of them.")
        if task_id not in tasks:
            problem = f"the alias {alias!r} must name a task id. Received: {task_id!r}."
            raise ConfigError(f"{path}: {problem}")
    for task_id, task in tasks.items():
        if (parent := str(task.get("inherits"))) in aliases:
            tasks[task_id] = task | {"inherits": aliases[parent]}
    return tasks, aliases


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"Cannot read the settings file {path}: {error.strerror}. Give another with --params; "
            "a training command writes the standard one here with --write-params."
        ) from error
    except UnicodeDecodeError as error:
        problem = f"{error.reason} at byte {error.start}"
        raise ConfigError(f"{path} is not text in UTF-8: {problem}.") from error


def resolve(tasks: Mapping[str, dict], task_id: str, seen: tuple[str, ...] = ()) -> dict:
    """Merges a task with the one it `inherits`: sections key by key; lists are replaced.

    Sizes of another system's network are not inherited, nor are published scores beside a task's
    own ones, which are of another system.

    Args:
        tasks: unresolved settings by id, from `read_tasks`.
        task_id: id of the task.
        seen: ids of the tasks that inherit this one.

    Returns:
        Settings without `inherits`.

    Raises:
        ConfigError: no such id, or a circle of `inherits`.
    """
    if task_id not in tasks:
        raise ConfigError(
            f"Unknown task id. Expected: {_ids_for(task_id, tasks)}. Received: {task_id!r}."
        )
    if task_id in seen:
        raise ConfigError(f"`inherits` goes round in a circle: {' -> '.join((*seen, task_id))}.")
    own = dict(tasks[task_id])
    parent = own.pop("inherits", None)
    if parent is None:
        return own
    base = resolve(tasks, str(parent), (*seen, task_id))
    if own.get("system", base.get("system")) != base.get("system"):
        base.pop("network", None)
    if "published" in own:
        for key in ("published", "published_dataset", "published_on"):
            base.pop(key, None)
    return merge(base, own)


def _ids_for(task_id: str, tasks: Mapping[str, Any]) -> str:
    """Names all ids where they are few, else those that look like the given one."""
    if len(tasks) <= _FEW_TASKS:
        return f"one of {', '.join(tasks)}"
    near = difflib.get_close_matches(task_id, tasks, n=3, cutoff=0.6)
    hint = f". Did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else ""
    return f"one of {len(tasks)} ids, which the option --list of the training shows{hint}"


def merge(base: Mapping, over: Mapping) -> dict:
    """Returns `base` with the values of `over`: mappings are merged key by key."""
    joined = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(joined.get(key), Mapping)
        joined[key] = merge(joined[key], value) if both else value
    return joined


def flat_settings(settings: Mapping, prefix: str = "") -> dict[str, Any]:
    """Returns nested settings by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= flat_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def parse_overrides(assignments: Sequence[str]) -> dict:
    """Turns `["training.epochs=3", "seed=1"]` into `{"training": {"epochs": 3}, "seed": 1}`.

    Raises:
        ConfigError: an entry is not `key=value`, or its value is not YAML.
    """
    settings: dict = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not all(key.split(".")):
            form = "key=value, with dots between sections"
            raise ConfigError(f"--set expects {form}. Received: {assignment!r}.")
        nested: Any = _parse_yaml(value, f"--set {key}")
        for part in reversed(key.split(".")):
            nested = {part: nested}
        settings = merge(settings, nested)
    return settings


def load_task(path: Path, task_id: str, overrides: Sequence[str] = ()) -> BaseTask:
    """Reads, resolves and checks one task.

    Args:
        path: settings file.
        task_id: id or alias of the task.
        overrides: `key=value` texts of the command line.

    Returns:
        The `TaskConfig` of the task's family.

    Raises:
        ConfigError: a setting is wrong; the message has its key and the expected values.
    """
    settings = merge(read_task(path, task_id), parse_overrides(overrides))
    return check_task(settings, f"task {task_id!r} of {path}")


def read_task(path: Path, task_id: str) -> dict:
    """Reads and resolves one task, by its id or alias, unchecked.

    Raises:
        ConfigError: the file cannot be used, or has no such task.
    """
    tasks, aliases = _read_file(path)
    try:
        return resolve(tasks, aliases.get(task_id, task_id))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def check_task(settings: Mapping, where: str) -> BaseTask:
    """Turns resolved settings into the `TaskConfig` of their family.

    Args:
        settings: of one task.
        where: origin of the settings, for errors.

    Raises:
        ConfigError: the settings are wrong, or their family does not satisfy the contract.
    """
    family = settings.get("family")
    if not isinstance(family, str) or not is_family(family):
        raise ConfigError(
            f"{where}: `family` must be one of: {', '.join(families())}, or a package as in"
            f" docs/adding-a-family.md. Received: {family!r}."
        )
    return validate(load(family, "config").TaskConfig, settings, where)


def validate(section: type[Section], values: Mapping, where: str) -> Any:
    """Checks settings against a section.

    Args:
        section: class of the section.
        values: settings as read from YAML.
        where: origin of the settings, for errors.

    Raises:
        ConfigError: one line for each wrong key, with the expected and the received value.
    """
    try:
        return section.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(section, problem) for problem in error.errors()]
        raise ConfigError(f"{where}:\n" + "\n".join(f"  {line}" for line in lines)) from error


def _explain(section: type[Section], problem: Any) -> str:
    location = [str(part) for part in problem["loc"]]
    key = ".".join(location) or "settings"
    if problem["type"] == "extra_forbidden":
        known = _known_keys(section, location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"Known keys: {', '.join(known)}."
        if near:
            hint = f"Did you mean `{'.'.join([*location[:-1], near[0]])}`?"
        return f"unknown key `{key}`. {hint}"
    if problem["type"] == "missing":
        return f"`{key}` is missing."
    message = problem["msg"].removeprefix("Value error, ")
    if not location or problem["type"] == "value_error":
        return f"`{key}`: {message}" if location else message
    return f"`{key}`: {message}. Received: {problem['input']!r}."


def _known_keys(section: type[Section], location: Sequence[str]) -> list[str]:
    current: Any = section
    for part in location:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:  # an index of a list: stay on the class of its entries
            continue
        current = section_in(field.annotation)
    return sorted(getattr(current, "model_fields", {}))


def section_in(annotation: Any) -> Any:
    """The section in an annotation such as `tuple[FoldConfig, ...]`, or the annotation itself."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    inner = (section_in(argument) for argument in getattr(annotation, "__args__", ()))
    found = (each for each in inner if isinstance(each, type) and issubclass(each, Section))
    return next(found, annotation)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{where} is not valid YAML: {error}.") from error
