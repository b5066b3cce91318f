"""Pseudo labels: predictions of a first pass for unlabelled clips, labels of a second pass."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from common.data.selection import Selection
from common.data.tfrecord import ArraySpec, ExampleSchema, write_shard
from common.io.files import write_text

TAGS = "tags.tsv"


class ClipPrediction(Protocol):
    """Prediction for one clip: its name, frame-level (T, K) and clip-level (K,) probabilities."""

    @property
    def name(self) -> str: ...
    @property
    def frames(self) -> np.ndarray: ...
    @property
    def clip(self) -> np.ndarray: ...


def write_pseudo_labels(
    results: Iterable[ClipPrediction],
    unlabelled: Selection,
    classes: Sequence[str],
    thresholds: np.ndarray,
    form: Literal["clip", "frames"],
    folder: Path,
) -> tuple[Path, ...]:
    """Writes pseudo labels of unlabelled clips and the list of their tags; finished ones are kept.

    Args:
        results: predictions for the clips, in the order of `unlabelled.recording_names`.
        unlabelled: the clips.
        classes: names of the K classes.
        thresholds: (K,), lowest probability of a tag.
        form: "clip" (published): tags hold in all frames; "frames": frame-level probabilities of
            the tagged classes.
        folder: for the label shards and `tags.tsv`.

    Returns:
        The label shards, for `Selection.label_shards`.

    Raises:
        DataError: a file cannot be written.
    """
    tag_list = folder / TAGS  # written last: if it is there, the shards are complete
    shards = tuple(folder / path.name for path in unlabelled.shards)
    if tag_list.exists():
        return shards
    n_classes, lines, stream = len(classes), ["filename\tevent_labels\n"], iter(results)
    activity = ArraySpec("float32", (None, n_classes))
    schema = ExampleSchema({"activity": activity, "tags": ArraySpec("float32", (n_classes,))})

    def records(names: Sequence[str]) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
        for _ in names:
            result = next(stream)
            tags = result.clip >= thresholds
            frames = result.frames if form == "frames" else np.ones_like(result.frames)
            lines.append(f"{result.name}\t{','.join(np.array(classes)[tags])}\n")
            activity = (frames * tags).astype(np.float32)
            yield result.name, {"activity": activity, "tags": tags.astype(np.float32)}

    wanted, entries = set(unlabelled.recording_names), unlabelled.store.selected(unlabelled.groups)
    members = [[name for name in entry.names if name in wanted] for entry in entries]
    for names, path in zip(filter(None, members), shards, strict=True):
        write_shard(path, records(names), schema)
    write_text(tag_list, "".join(lines))
    return shards
