"""Lengths of recordings: only their own frames are scored, not the padding."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.audio.formats import is_sound
from common.datasets import lengths
from common.datasets.lengths import SAMPLES, length_facts
from common.errors import DataError
from seld.dataset import DatasetConfig, find_recordings
from seld.recording_list import Recording, has_list, read_list

if TYPE_CHECKING:  # it loads TensorFlow, which scoring files does without
    from common.data.feature_store import FeatureStore

logger = logging.getLogger(__name__)

GROUP = "group"  # key in the facts of a store: source of the recording, by its list
_FORMATS = ("foa", "mic", "stereo")


def known_samples(facts: Mapping[str, int | str | None]) -> int | None:
    """Returns the number of samples in the facts of a store; None if unknown."""
    samples = facts.get(SAMPLES)
    return samples if isinstance(samples, int) else None


def seconds_of(path: Path | None) -> float | None:
    """Returns the length of a sound file in seconds; None if there is none or it is unreadable."""
    return None if path is None else lengths.seconds_of(length_facts(path))


def log_lengths(lengths_s: Iterable[float | None], dataset: DatasetConfig, where: object) -> None:
    """Logs how many recordings are cut, and how many padded, to `dataset.recording_s`."""
    known = [length for length in lengths_s if length is not None]
    longer = sum(length > dataset.recording_s + 0.5 * dataset.label_hop_s for length in known)
    shorter = sum(dataset.frames_of(length) < dataset.n_frames for length in known)
    if longer:
        text = "%s: %d recording(s) are longer than %g s: the rest is cut off."
        logger.info(text, where, longer, dataset.recording_s)
    if shorter:
        text = "%s: %d recording(s) are shorter than %g s: their padding is not scored."
        logger.info(text, where, shorter, dataset.recording_s)


def frames_of_recordings(store: "FeatureStore", dataset: DatasetConfig) -> dict[str, int]:
    """Number of scored label frames of each recording of a store, by name."""
    known = {name: known_samples(store.facts.get(name, {})) for name in store.names()}
    return {
        name: dataset.frames_of(None if samples is None else samples / dataset.sample_rate_hz)
        for name, samples in known.items()
    }


def complete(
    store: "FeatureStore", dataset_dir: Path, dataset: DatasetConfig, set_name: str
) -> None:
    """Adds lengths to the facts of a store of an earlier version, from the recordings themselves.

    Missing recordings count as `dataset.recording_s` long, with a warning.
    """
    unknown = [name for name in store.names() if known_samples(store.facts.get(name, {})) is None]
    if not unknown:
        return
    try:
        found = {each.name: each for each in find_recordings(dataset_dir, dataset, set_name)}
    except DataError:
        found = {}
    known = {name: found[name].samples for name in unknown if name in found}
    known = {name: samples for name, samples in known.items() if samples is not None}
    for name, samples in known.items():
        store.facts[name] = {**store.facts.get(name, {}), SAMPLES: samples}
    missing = len(unknown) - len(known)
    if missing:
        text = (
            "%s lacks the lengths of %d recording(s), and %s does not hold them: they are"
            " scored as if they lasted %g s. `python batch_feature_extraction.py <task-id>` adds"
            " their lengths and keeps the features."
        )
        logger.warning(text, store.folder, missing, dataset_dir, dataset.recording_s)


def sounds_of(
    folder: Path, names: Iterable[str], audio_format: str = "foa", below: bool = False
) -> dict[str, Path]:
    """Finds the recordings of metadata files.

    Args:
        folder: folder of a `recordings.csv`; or folder of metadata such as `metadata_dev`, with
            recordings in itself, or next to it in `foa_dev`, `mic_dev` or `stereo_dev`.
        names: of the recordings.
        audio_format: looked for first: all of them are equally long.
        below: look in sub-folders, too, as the sets of 2021 to 2025 are laid out.
    """
    if has_list(folder):
        return {each.name: each.audio_path for each in read_list(folder)}
    set_name = folder.resolve().name.removeprefix("metadata_")
    formats = sorted(_FORMATS, key=lambda each: each != audio_format)
    folders = [folder, *(folder.resolve().parent / f"{each}_{set_name}" for each in formats)]
    files: dict[str, Path] = {}
    for each in folders:
        inside = each.rglob("*") if below else each.glob("*")
        for path in sorted(inside) if each.is_dir() else []:
            if is_sound(path.name):
                files.setdefault(path.stem, path)
    return {name: files[name] for name in names if name in files}


def facts_of(recordings: Sequence[Recording]) -> dict[str, dict[str, int | str | None]]:
    """Returns the facts of each recording for a feature store: listed attributes and length."""
    return {
        each.name: listed_facts(each) | ({} if each.samples is None else {SAMPLES: each.samples})
        for each in recordings
    }


def listed_facts(recording: Recording) -> dict[str, int | str | None]:
    """Returns split, room, overlap and group of a listed recording; names hold them elsewhere."""
    facts: dict[str, int | str | None] = recording.attributes._asdict() if recording.listed else {}
    return facts | ({} if recording.group is None else {GROUP: recording.group})
