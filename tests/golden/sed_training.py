"""Cases of mean-teacher training: ramps, running mean of weights, losses of a batch."""

from typing import Any

import numpy as np

from tests.golden.recipes import Arrays


def mt_ramps(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.optimizer import fall, rise

    steps = inputs["steps"].astype(float)
    length, start, end = (float(inputs[n]) for n in ("length", "start_annealing", "max_steps"))
    max_lr = float(inputs["max_lr"])
    ramp = np.asarray(rise(steps, length))
    later = inputs["warmup_annealed_steps"].astype(float)
    falling = np.asarray(fall(later, start, end, "quarter_cosine", 1e-8 / max_lr))
    same = ("sigmoid_rampup", "exp_rampup_2020", "exponential_warmup", "fdy_warmup")
    return {
        **dict.fromkeys(same, ramp),
        "linear_rampup": np.asarray(rise(steps, length, "linear")),
        "cosine_rampdown": np.asarray(fall(steps, 0.0, length, "half_cosine")),
        "sigmoid_rampdown": np.asarray(rise(steps, length, sharpness=12.5)),
        "exponential_warmup_lr": max_lr * ramp,
        "warmup_annealed": np.where(later < start, np.asarray(rise(later, length)), falling),
    }


def mt_ema(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.training.mean_teacher import kept_share, running_mean

    outputs = {}
    for name, earlier in (("baseline", 0), ("fdy", 1)):
        teacher, rows = inputs["teacher0"], []
        for student, step in zip(inputs["student"], inputs["steps"], strict=True):
            kept = np.asarray(kept_share(float(step) - earlier, float(inputs["alpha"])))
            teacher = np.asarray(running_mean(teacher, student, np.float32(kept)))
            rows.append(teacher)
        outputs[f"teacher_{name}"] = np.stack(rows)
    return outputs


def asymmetric_focal_loss(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.losses import AsymmetricFocalLoss

    target, pred = (inputs[name].swapaxes(1, 2) for name in ("target", "pred"))
    exponents = inputs["gamma_zeta"].tolist()
    losses = [float(AsymmetricFocalLoss(*pair)(target, pred)) for pair in exponents]
    return {"loss": np.array(losses)}


class Losses:
    """Losses of one batch by a mean teacher; networks are not run, their outputs are given."""

    def __init__(self, inputs: Arrays, parts: dict[str, int], stem: str = "", **config: Any):
        import keras

        from common.models.losses import MaskedBinaryCrossentropy
        from common.training.mean_teacher import MeanTeacher

        ramp_iterations = config.pop("ramp_iterations", 0.0)
        self.batch_axes = config.pop("class_axis", -1)
        names = {"clip": "weak_student", "frames": "strong_student"}
        names |= {"teacher_clip": "weak_teacher", "teacher_frames": "strong_teacher"}
        self.outputs = {name: self.last_class(inputs[stem + key]) for name, key in names.items()}
        self.loss = MaskedBinaryCrossentropy(-100.0, config.get("masked_mean", "valid"))
        n_classes = self.outputs["clip"].shape[-1]

        def network() -> keras.Model:
            x = keras.Input((None, n_classes, 1))
            frames = keras.layers.Reshape((-1, n_classes))(x)
            clip = keras.layers.GlobalAveragePooling1D()(frames)
            return keras.Model(x, {"clip": clip, "frames": frames})

        self.model = MeanTeacher(network(), network(), config, ramp_iterations, parts)
        self.model.compile("sgd", dict.fromkeys(("clip", "frames"), self.loss))
        self.batch = self.model.batch

    def last_class(self, array: np.ndarray) -> np.ndarray:
        """Brings the classes to the last axis."""
        return array.swapaxes(1, -1) if array.ndim == 3 and self.batch_axes == 1 else array

    def labels(self, frames: np.ndarray, strong: list[str], weak: list[str]) -> dict[str, Any]:
        """Labels of a batch, -1 outside the parts that have them."""
        unknown = -np.ones_like(frames)
        clip = np.where((frames < 0).all(axis=1), -1, (frames > 0).any(axis=1)).astype(frames.dtype)
        rows, in_weak = unknown.copy(), -np.ones_like(clip)
        rows[self.batch.rows(strong)] = frames[self.batch.rows(strong)]
        in_weak[self.batch.rows(weak)] = clip[self.batch.rows(weak)]
        return {"frames": rows, "clip": in_weak}

    def at(self, step: int, labels: dict[str, Any]) -> dict[str, float]:
        """All parts of the loss in a step."""
        self.model.reset_metrics()
        self.model.iterations.assign(step)
        total = float(self.model.compute_loss(None, labels, self.outputs))
        noted = {metric.name: float(metric.result()) for metric in self.model.metrics}
        names = {name: self.outputs[f"teacher_{name}"] for name in labels}
        of_teacher = {f"teacher_{n}": float(self.loss(labels[n], x)) for n, x in names.items()}
        return {**noted, **of_teacher, "total": total}


def mt2019_losses(inputs: Arrays, settings: dict) -> dict[str, object]:
    parts = dict(zip(("weak", "unlabelled", "strong"), inputs["batch_sizes"].tolist(), strict=True))
    per_epoch = int(inputs["steps_per_epoch"])
    half = 100 * per_epoch // 2
    losses = Losses(inputs, parts, ramp_iterations=half)
    outputs: dict[str, list] = {}
    for variant, strong in (("all", ["strong"]), ("no_synthetic", [])):
        labels = losses.labels(inputs["target"], strong, ["weak"])
        for epoch in inputs["epochs"].tolist():
            found = losses.at(epoch * per_epoch, labels)
            weight = found["consistency_weight"]
            row = {
                "weak_class_loss": found["clip_loss"],
                "Weak EMA loss": found["teacher_clip"],
                "Strong loss": found["frames_loss"],
                "Strong EMA loss": found["teacher_frames"],
                "Consistency weight": weight,
                "Consistency strong": weight * found["frames_consistency"],
                "Consistency weak": weight * found["clip_consistency"],
                "Loss": found["total"],
            }
            outputs.setdefault(variant, []).append(row)
    for row in outputs["no_synthetic"]:
        del row["Strong loss"], row["Strong EMA loss"]
    return {"losses_json": outputs}


def _desed_row(found: dict[str, float], step: int) -> dict[str, float]:
    weight = found["consistency_weight"]
    return {
        "total": found["total"],
        "train/student/loss_strong": found["frames_loss"],
        "train/student/loss_weak": found["clip_loss"],
        "train/step": float(step),
        "train/student/tot_self_loss": weight
        * (found["frames_consistency"] + found["clip_consistency"]),
        "train/weight": weight,
        "train/student/tot_supervised": found["frames_consistency"],
        "train/student/weak_self_sup_loss": found["clip_consistency"],
        "train/student/strong_self_sup_loss": found["frames_consistency"],
    }


def desed_losses(inputs: Arrays, settings: dict) -> dict[str, object]:
    from common.models.optimizer import RiseAndFall

    steps, length = inputs["steps"].tolist(), int(inputs["ramp_length"])
    sizes = inputs["batch_sizes_2021"].tolist()
    parts = dict(zip(("synthetic", "weak", "unlabelled"), sizes, strict=True))
    of_2021: dict[str, list] = {}
    for kind in ("mse", "bce"):
        losses = Losses(inputs, parts, class_axis=1, ramp_iterations=length, consistency=kind)
        labels = losses.labels(losses.last_class(inputs["labels"]), ["synthetic"], ["weak"])
        for step in steps:
            found = losses.at(step, labels)
            of_teacher = {
                "train/teacher/loss_strong": found["teacher_frames"],
                "train/teacher/loss_weak": found["teacher_clip"],
            }
            of_2021.setdefault(kind, []).append({**_desed_row(found, step), **of_teacher})
    names = ("maestro", "synthetic", "strong", "weak", "unlabelled")
    parts = dict(zip(names, inputs["batch_sizes_2024"].tolist(), strict=True))
    # The vectors' fall of the weight before epoch 3, which the published settings never reach.
    weights = RiseAndFall(2.0, 2.0, "exp", length, "quarter_cosine", 60.0, 120.0)
    of_2024 = []
    for epoch, step in enumerate(steps):
        weight = float(weights(step)) if epoch < 3 else 2.0
        config = {"consistency_weight": weight, "masked_mean": "all"}
        config["consistency_parts"] = names[1:]
        losses = Losses(inputs, parts, "masked_", class_axis=1, **config)
        frames = losses.last_class(inputs["soft_labels"])
        known = inputs["valid_class_mask"]
        frames = np.where(known[:, None], frames, -1.0).astype(np.float32)
        labels = losses.labels(frames, list(names[:3]), ["weak"])
        of_2024.append(_desed_row(losses.at(step, labels), step))
    return {"losses_2021_json": of_2021, "losses_2024_json": of_2024}


CASES = {
    "mt_ramps": mt_ramps,
    "mt_ema": mt_ema,
    "fdy_asymmetric_focal_loss": asymmetric_focal_loss,
    "mt2019_losses": mt2019_losses,
    "desed_losses": desed_losses,
}
