"""Sources of the clips of DCASE task 4: of 2019 through desed, of 2018 by hand."""

import contextlib
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from common.datasets.download import Package, Source, library
from sed_task4.check import PUBLISHED
from sed_task4.config import TaskConfig

_DESED = ("desed", ">=1.3.8,<2")
_DETAILS = "https://zenodo.org/record/4639776/files/audioset_metadata.tar.gz?download=1"  # of desed
_METADATA = Package(_DETAILS)
_REAL = ("weak", "unlabel_in_domain", "validation")
_CLIP_BYTES = 10 * 44100 * 2  # ten seconds of one channel of 16 bits
_LISTS_OF_2018 = (
    "{} is in https://github.com/turpaultn/DCASE2019_task4, dataset/metadata/validation/; put it"
    " into that folder of the dataset. Its clips are among those of the validation set."
)
_BY_HAND = {
    "synthetic": (
        "Fetch Synthetic_dataset.zip (1.8 GB) from https://doi.org/10.5281/zenodo.2583796 and"
        " unpack it so that audio/train/synthetic/ and metadata/train/synthetic.csv lie in the"
        " dataset folder."
    ),
    "eval": (
        "Fetch DESED_public_eval.tar.gz from https://zenodo.org/record/4560759 and unpack it so"
        " that audio/eval/public/ and metadata/eval/public.tsv lie in the dataset folder."
    ),
    "test_dcase2018": _LISTS_OF_2018.format("test_dcase2018.csv"),
    "eval_dcase2018": _LISTS_OF_2018.format("eval_dcase2018.csv"),
}
_OF_2018 = (
    "No library offers these clips. Clone https://github.com/DCASE-REPO/dcase2018_baseline and run"
    " download_data.py in task4/dataset/: it fetches them from the web (82 GB, about 12 hours) into"
    " audio/ next to metadata/, the layout that is read here. Give task4/dataset as `dataset_dir`."
    " Clips that have vanished are left out; `python -m common.cli.check_dataset` counts them."
)


_OF_RECIPES = (
    "The recipes of https://github.com/DCASE-REPO/DESED_task fetch these clips by desed, e.g."
    " recipes/dcase2024_task4_baseline/generate_dcase_task4_2024.py, those of"
    " https://github.com/turpaultn/dcase20_task4 the soundscapes of 2020; the public evaluation set"
    " is https://zenodo.org/record/4560759. Give the folder with audio/ and metadata/ as"
    " `dataset_dir`; folders that the recipes resampled to 16 kHz are used where they are."
)


def sources(task: TaskConfig) -> list[Source]:
    """Lists the sources of the subsets that a task reads."""
    if task.dataset.layout == "dcase2018":
        return [Source("DCASE 2018 task 4: " + ", ".join(task.set_names), remark=_OF_2018)]
    if task.dataset.layout != "dcase2019":
        title = f"{task.dataset.layout}: {', '.join(task.set_names)}"
        return [Source(title, remark=_OF_RECIPES)]
    real = [subset for subset in _REAL if subset in task.set_names]
    others = [subset for subset in task.set_names if subset not in _REAL]
    by_hand = [Source(f"DCASE 2019 task 4: {subset}", remark=_BY_HAND[subset]) for subset in others]
    if not real:
        return by_hand
    clips = Source(
        f"DCASE 2019 task 4: {', '.join(real)}",
        (_METADATA,),
        sum(PUBLISHED["dcase2019"][subset] for subset in real) * _CLIP_BYTES,
        partial(_fetch, real),
        "The clips come one by one from YouTube by desed, which needs ffmpeg; many have vanished."
        " Run again to resume.",
    )
    return [clips, *by_hand]


def _fetch(subsets: Sequence[str], folder: Path) -> None:
    desed = library("desed.download", *_DESED)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    # desed keeps temporary files and lists of missing clips in the current folder, and removes a
    # folder tmp/ there.
    with contextlib.ExitStack() as stack:
        scratch = tempfile.TemporaryDirectory(dir=folder, prefix=".desed-")
        stack.enter_context(contextlib.chdir(stack.enter_context(scratch)))
        chosen = {"weak": "weak" in subsets, "unlabel_in_domain": "unlabel_in_domain" in subsets}
        desed.download_audioset_data(str(folder), **chosen, validation=False)
        # desed would put these into audio/validation/validation, as in later years.
        if "validation" in subsets:
            table = folder / "metadata" / "validation" / "validation.tsv"
            audio = folder / "audio" / "validation"
            desed.download_audioset_files_from_csv(str(table), str(audio))
