"""Precision, recall, F and areas under curves of very many scores, which are only counted."""

from dataclasses import dataclass

import numpy as np

_LOWEST, _HIGHEST = -40.0, 18.0  # logits; a sigmoid in float32 rounds to 1 above 17
# Steps of 0.0018 in the logit: probabilities that differ by less than 0.05 % may share a bin.
N_BINS = 1 << 15


@dataclass(frozen=True)
class BinaryScores:
    """Scores of each class, float64 (K,); NaN where they are undefined.

    Attributes:
        precision: TP / (TP + FP); 0 where nothing is estimated.
        recall: TP / (TP + FN).
        f: 2 TP / (2 TP + FP + FN).
        auc: area under the ROC curve; undefined without positives or without negatives.
        average_precision: area under the steps of precision over recall.
    """

    precision: np.ndarray
    recall: np.ndarray
    f: np.ndarray
    auc: np.ndarray
    average_precision: np.ndarray

    def named(self, prefix: str) -> dict[str, np.ndarray]:
        """Returns them as <prefix>_precision, _recall, _f, _auc and _ap."""
        names = {"precision": self.precision, "recall": self.recall, "f": self.f, "auc": self.auc}
        names["ap"] = self.average_precision
        return {f"{prefix}_{name}": values for name, values in names.items()}


class ScoreHistogram:
    """Counts scores of positives and negatives for the curves, in constant memory.

    Thresholded scores are exact. The areas treat scores in the same bin as equal; bins are equally
    wide in the logit, so that they are as fine near 0 and 1 as networks are.

    Args:
        n_classes: number of classes, K.
        threshold: a class is estimated above it.
    """

    def __init__(self, n_classes: int, threshold: float):
        self.n_classes, self.threshold = n_classes, threshold
        self._counts = np.zeros((2, n_classes, N_BINS), np.int64)  # negatives, positives
        self._hits, self._estimated = np.zeros((2, n_classes), np.int64)

    def update(self, targets: np.ndarray, scores: np.ndarray) -> None:
        """Takes in scores.

        Args:
            targets: bool (..., K).
            scores: in [0, 1], (..., K).

        Raises:
            ValueError: the shapes differ, or there is another number of classes.
        """
        targets, scores = np.asarray(targets, bool), np.asarray(scores)
        if targets.shape != scores.shape or targets.shape[-1] != self.n_classes:
            raise ValueError(
                f"Expected: `targets` and `scores` (..., {self.n_classes}). Received:"
                f" {targets.shape} and {scores.shape}."
            )
        targets, scores = targets.reshape(-1, self.n_classes), scores.reshape(-1, self.n_classes)
        estimate = scores > self.threshold
        self._hits += np.count_nonzero(estimate & targets, axis=0)
        self._estimated += np.count_nonzero(estimate, axis=0)
        places = targets * N_BINS + bins_of(scores)
        for k in range(self.n_classes):
            self._counts[:, k] += np.bincount(places[:, k], minlength=2 * N_BINS).reshape(2, N_BINS)

    def result(self) -> BinaryScores:
        """Returns the scores so far; all scores of a class without positives are undefined."""
        falling = self._counts[:, :, ::-1]
        negatives, positives = falling.cumsum(axis=2, dtype=np.float64)  # (K, bins), falling scores
        n_negatives, n_positives = negatives[:, -1], positives[:, -1]
        hits, estimated, defined = self._hits, self._estimated, n_positives > 0
        with np.errstate(divide="ignore", invalid="ignore"):
            recall_curve = positives / n_positives[:, None]
            steps = np.diff(recall_curve, axis=1, prepend=0.0)
            precision_curve = positives / np.maximum(positives + negatives, 1)
            false_alarms = np.diff(negatives / n_negatives[:, None], axis=1, prepend=0.0)
            return BinaryScores(
                precision=np.where(defined, hits / np.maximum(estimated, 1), np.nan),
                recall=hits / n_positives,
                f=np.where(defined, 2 * hits / (n_positives + estimated), np.nan),
                auc=np.sum(false_alarms * (recall_curve - steps / 2), axis=1),
                average_precision=np.sum(steps * precision_curve, axis=1),
            )


def bins_of(scores: np.ndarray) -> np.ndarray:
    """Returns the numbers of the bins of scores in [0, 1], int64 of the same shape."""
    scores = np.clip(scores, 0, 1).astype(np.float32)
    with np.errstate(divide="ignore"):
        logits = np.log(scores) - np.log1p(-scores)
    share = (np.clip(logits, _LOWEST, _HIGHEST) - _LOWEST) / (_HIGHEST - _LOWEST)
    return np.rint(share * (N_BINS - 1)).astype(np.int64)
