"""How long recordings are, so that only their own frames are scored, not what fills them up."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from common.audio.files import read_header
from common.audio.formats import is_sound
from common.errors import DataError
from seld.dataset import DatasetConfig, find_recordings
from seld.recording_list import Recording, has_list, read_list

if TYPE_CHECKING:  # it loads TensorFlow, which scoring files does without
    from common.data.feature_store import FeatureStore

logger = logging.getLogger(__name__)

# in the facts of a store (`common.data.provenance.MEASURED`): length at `dataset.sample_rate_hz`
SAMPLES = "samples"
GROUP = "group"  # there too, of a recording whose list tells its source
_FORMATS = ("foa", "mic")


def samples_of(path: Path) -> tuple[int, int] | None:
    """Samples of a sound file and their rate; None where it cannot be read, which is told where it
    is decoded."""
    try:
        header = read_header(path)
    except DataError:
        return None
    return header.samples, header.sample_rate_hz


def known_samples(facts: Mapping[str, int | str | None]) -> int | None:
    """Length of a recording in the facts that a store keeps of it; None where they do not say
    it."""
    samples = facts.get(SAMPLES)
    return samples if isinstance(samples, int) else None


def seconds_of(path: Path | None) -> float | None:
    """Length of a sound file in seconds; None where there is none that can be read."""
    known = None if path is None else samples_of(path)
    return None if known is None else known[0] / known[1]


def log_lengths(lengths_s: Iterable[float | None], dataset: DatasetConfig, where: object) -> None:
    """Tells how many recordings are cut, and how many filled up, to `dataset.recording_s`."""
    known = [length for length in lengths_s if length is not None]
    longer = sum(length > dataset.recording_s + 0.5 * dataset.label_hop_s for length in known)
    shorter = sum(dataset.frames_of(length) < dataset.n_frames for length in known)
    if longer:
        told = "%s: %d recording(s) are longer than %g s: the rest is cut off."
        logger.info(told, where, longer, dataset.recording_s)
    if shorter:
        told = "%s: %d recording(s) are shorter than %g s: what fills them up is not scored."
        logger.info(told, where, shorter, dataset.recording_s)


def frames_of_recordings(store: "FeatureStore", dataset: DatasetConfig) -> dict[str, int]:
    """Label frames that are scored of each recording of a store, by its name."""
    known = {name: known_samples(store.facts.get(name, {})) for name in store.names()}
    return {
        name: dataset.frames_of(None if samples is None else samples / dataset.sample_rate_hz)
        for name, samples in known.items()
    }


def complete(
    store: "FeatureStore", dataset_dir: Path, dataset: DatasetConfig, set_name: str
) -> None:
    """Adds lengths to the facts of a store that was made before they were kept, from the recordings
    themselves.

    Where the recordings are gone it is told, and they count as long as `dataset.recording_s`.
    """
    unknown = [name for name in store.names() if known_samples(store.facts.get(name, {})) is None]
    if not unknown:
        return
    try:
        found = {each.name: each for each in find_recordings(dataset_dir, dataset.format, set_name)}
    except DataError:
        found = {}
    lengths = {name: samples_of(found[name].audio_path) for name in unknown if name in found}
    for name, known in lengths.items():
        if known is not None:
            store.facts[name] = {**store.facts.get(name, {}), SAMPLES: known[0]}
    missing = len(unknown) - sum(known is not None for known in lengths.values())
    if missing:
        logger.warning(
            "%s does not say how long %d recording(s) are, nor can it be read in %s: they are"
            " scored as if they lasted %g s. `python batch_feature_extraction.py <task-id>` adds"
            " their lengths and keeps the features.",
            store.folder,
            missing,
            dataset_dir,
            dataset.recording_s,
        )


def sounds_of(folder: Path, names: Iterable[str], audio_format: str) -> dict[str, Path]:
    """Finds the recordings of a folder of metadata, see `sounds_beside`, or those that its
    `recordings.csv` lists."""
    if has_list(folder):
        return {each.name: each.audio_path for each in read_list(folder)}
    return sounds_beside(folder, names, audio_format)


def sounds_beside(metadata_dir: Path, names: Iterable[str], audio_format: str) -> dict[str, Path]:
    """Finds the recordings of metadata files: in their own folder, or in the dataset's, beside
    theirs.

    Args:
        metadata_dir: folder of metadata, such as `metadata_dev`, whose recordings are in `foa_dev`
            or `mic_dev`.
        names: of the recordings.
        audio_format: "foa" or "mic", looked for first: both are equally long.
    """
    set_name = metadata_dir.resolve().name.removeprefix("metadata_")
    formats = sorted(_FORMATS, key=lambda each: each != audio_format)
    folders = [
        metadata_dir,
        *(metadata_dir.resolve().parent / f"{each}_{set_name}" for each in formats),
    ]
    files: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if is_sound(path.name):
                files.setdefault(path.stem, path)
    return {name: files[name] for name in names if name in files}


def facts_of(recordings: Sequence[Recording]) -> dict[str, dict[str, int | str | None]]:
    """What a feature store keeps of each recording beside its arrays: its place where a list says
    it, its length."""
    facts: dict[str, dict[str, int | str | None]] = {}
    for each in recordings:
        known = samples_of(each.audio_path)
        facts[each.name] = place_facts(each) | ({} if known is None else {SAMPLES: known[0]})
    return facts


def place_facts(recording: Recording) -> dict[str, int | str | None]:
    """The place and the group of a recording where a list says them; names say the place anywhere
    else."""
    facts: dict[str, int | str | None] = recording.place._asdict() if recording.listed else {}
    return facts | ({} if recording.group is None else {GROUP: recording.group})
