"""What a first pass says of unlabelled clips, kept as labels for a second pass."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from common.data.tfrecord import ArraySpec, ExampleSchema, write_shard
from common.io.files import write_text
from common.training.stage_data import Selection

TAGS = "tags.tsv"


class Said(Protocol):
    """What a model says of one clip: its name, and probabilities of its frames (T, K) and of its
    tags (K,)."""

    @property
    def name(self) -> str: ...
    @property
    def frames(self) -> np.ndarray: ...
    @property
    def clip(self) -> np.ndarray: ...


def write_pseudo_labels(
    results: Iterable[Said],
    unlabelled: Selection,
    classes: Sequence[str],
    thresholds: np.ndarray,
    form: Literal["clip", "frames"],
    folder: Path,
) -> tuple[Path, ...]:
    """Writes labels of unlabelled clips and the list of their tags; what is there is kept.

    Args:
        results: what the model says of the clips, in the order of `unlabelled.recordings`.
        unlabelled: the clips.
        classes: names of the K classes.
        thresholds: (K,), a tag is given from this probability on.
        form: "clip" (published): tags hold in all frames; "frames": probabilities of the frames of
            tagged classes.
        folder: for the label shards and `tags.tsv`.

    Returns:
        The label shards, for `Selection.label_shards`.

    Raises:
        DataError: a file cannot be written.
    """
    tag_list = folder / TAGS  # written last: its presence says that the shards are complete
    shards = tuple(folder / path.name for path in unlabelled.shards)
    if tag_list.exists():
        return shards
    n_classes, lines, stream = len(classes), ["filename\tevent_labels\n"], iter(results)
    schema = ExampleSchema(
        {
            "activity": ArraySpec("float32", (None, n_classes)),
            "tags": ArraySpec("float32", (n_classes,)),
        }
    )

    def records(names: Sequence[str]) -> Iterator[tuple[str, Mapping[str, np.ndarray]]]:
        for _ in names:
            said = next(stream)
            tags = said.clip >= thresholds
            frames = said.frames if form == "frames" else np.ones_like(said.frames)
            lines.append(f"{said.name}\t{','.join(np.array(classes)[tags])}\n")
            yield (
                said.name,
                {"activity": (frames * tags).astype(np.float32), "tags": tags.astype(np.float32)},
            )

    wanted = set(unlabelled.recording_names)
    members = [
        [name for name in entry.names if name in wanted]
        for entry in unlabelled.store.selected(unlabelled.groups)
    ]
    for names, path in zip(filter(None, members), shards, strict=True):
        write_shard(path, records(names), schema)
    write_text(tag_list, "".join(lines))
    return shards
