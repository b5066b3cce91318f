"""A tiny dataset of each family, and what may happen to one between two commands."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from common.settings.tasks import load_task
from tests.runs import PARAMS

RATE = 8000
FAMILIES = ("seld", "sed_task4", "sed_task4.segmentation")
_SETTINGS = {
    "seld": [
        "dataset.format=mic",
        "dataset.channels=2",
        f"dataset.sample_rate_hz={RATE}",
        "dataset.recording_s=1.0",
        "dataset.classes=[bell,door]",
        "features.n_fft=512",
        "parallel.jobs=1",
        "folds=[{name: only, train: [1], validate_on: [2], test: [3]}]",
    ],
    "sed_task4": [
        f"dataset.sample_rate_hz={RATE}",
        "dataset.clip_s=1.0",
        "dataset.classes=[Cat,Dog]",
        "features.window_s=0.064",
        "features.hop_s=0.032",
        "features.n_fft=512",
        "features.fmax_hz=4000",
        "features.n_mels=8",
        "pipeline.recordings_per_shard=2",
        "parallel.jobs=1",
    ],
    "sed_task4.segmentation": [
        f"dataset.sample_rate_hz={RATE}",
        "dataset.clip_s=1.0",
        "dataset.classes=[Bark,Meow]",
        "dataset.n_folds=2",
        "dataset.events_per_mixture=1",
        "dataset.event_s=0.4",
        "dataset.mixtures_per_fold=2",
        "parallel.jobs=1",
        "dataset.scene_type=white_noise",
        "features.window_s=0.064",
        "features.hop_s=0.032",
        "features.n_fft=512",
        "features.fmax_hz=4000",
        "features.n_mels=8",
        "pipeline.sequence_frames=30",
        "pipeline.recordings_per_shard=2",
        "folds=[{name: only, train: [1], validate_on: [2], test: [2], validate_on_test: true}]",
    ],
}
_TASKS = {"seld": "1", "sed_task4": "cnn9", "sed_task4.segmentation": "segmentation"}


@dataclass(frozen=True)
class Office:
    """A dataset on the disk, of one family."""

    family: str
    folder: Path

    def settings(self, features: Path, *settings: str) -> tuple[str, list[str]]:
        """Id and overrides of a task that reads it, with features in that folder."""
        places = [
            f"dataset_dir={self.folder}",
            f"feature_dir={features}",
            f"output_dir={features.parent / 'runs'}",
        ]
        return _TASKS[self.family], [*places, *_SETTINGS[self.family], *settings]

    def task(self, features: Path, *settings: str) -> Any:
        """The task of this case."""
        return load_task(PARAMS, *self.settings(features, *settings))

    @property
    def audio(self) -> Path:
        """A recording that features are made of."""
        if self.family == "sed_task4.segmentation":
            return sorted(self.folder.rglob("mixed_audios/*/*.wav"))[0]
        return sorted(self.folder.rglob("r0.wav"))[0]

    @property
    def labels(self) -> Path:
        """The file with the labels of that recording."""
        name = {
            "seld": "r0.csv",
            "sed_task4": "weak.tsv",
            "sed_task4.segmentation": "mixture.yaml",
        }[self.family]
        return next(self.folder.rglob(name))

    def relabel(self) -> None:
        """Edits a label; size and time of the file stay."""
        words = {
            "seld": ("bell", "door"),
            "sed_task4": ("Dog", "Cat"),
            "sed_task4.segmentation": ("Bark", "Meow"),
        }
        edit(self.labels, *words[self.family])

    def split_anew(self) -> None:
        """Moves a recording into another split."""
        if self.family == "seld":
            edit(self.folder / "recordings.csv", "r0.wav,1", "r0.wav,2")
        elif self.family == "sed_task4":
            moved = "r0.wav\tDog\n"
            edit(self.labels, moved, "")
            rows = self.folder / "metadata/validation/validation.tsv"
            rows.write_text(rows.read_text() + "r0.wav\t0.1\t0.5\tDog\n")
            self.audio.rename(self.folder / "audio/validation/r0.wav")
        else:
            edit(self.labels, "fold: 1", "fold: 2")

    def add(self) -> None:
        """Adds a recording."""
        if self.family == "sed_task4.segmentation":
            text = self.labels.read_text()
            self.labels.write_text(
                text + text.split("\n- ")[-1].replace("00003.wav", "00009.wav").join(["- ", ""])
            )
            shutil.copy(self.audio, self.audio.with_name("00009.wav"))
            return
        shutil.copy(self.audio, self.audio.with_name("r9.wav"))
        if self.family == "seld":
            shutil.copy(self.labels, self.labels.with_name("r9.csv"))
            append(self.folder / "recordings.csv", "r9.wav,1,1\n")
        else:
            append(self.labels, "r9.wav\tDog\n")

    def remove(self) -> None:
        """Removes a recording from the list and the disk."""
        if self.family == "sed_task4.segmentation":
            self.labels.write_text(self.labels.read_text().split("\n- ")[0] + "\n")
        elif self.family == "seld":
            edit(self.folder / "recordings.csv", "r0.wav,1,1\n", "")
        else:
            edit(self.labels, "r0.wav\tDog\n", "")

    def replace_audio(self, path: Path | None = None) -> None:
        """Replaces a recording by another of its name, size and time."""
        path = path or self.audio
        status, content = path.stat(), bytearray(path.read_bytes())
        content[-8000:] = bytes(8000)
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def edit(path: Path, before: str, after: str) -> None:
    """Replaces the first of some words in a file, whose time stays."""
    status, text = path.stat(), path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def append(path: Path, text: str) -> None:
    """Writes on in a file."""
    path.write_text(path.read_text() + text)


def write_office(family: str, folder: Path, seed: int = 0) -> Office:
    """Writes a tiny dataset; another seed gives other sounds in files of equal names and sizes."""
    rng = np.random.default_rng(seed)

    def sound(path: Path, channels: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.uniform(-0.5, 0.5, (RATE, channels)), RATE, subtype="PCM_16")

    if family == "seld":
        for number in range(4):
            sound(folder / f"r{number}.wav", 2)
            header = "sound_event_recording,start_time,end_time,ele,azi,dist\n"
            (folder / f"r{number}.csv").write_text(f"{header}bell,0,0.5,0,{10 * seed},1\n")
        rows = "".join(f"r{number}.wav,{1 + number % 3},1\n" for number in range(4))
        (folder / "recordings.csv").write_text(f"filename,split,overlap\n{rows}")
    elif family == "sed_task4":
        for number in range(4):
            sound(folder / f"audio/{'train/weak' if number < 3 else 'validation'}/r{number}.wav", 1)
        (folder / "metadata/train").mkdir(parents=True)
        (folder / "metadata/validation").mkdir()
        weak = "".join(f"r{number}.wav\tDog\n" for number in range(3))
        (folder / "metadata/train/weak.tsv").write_text(f"filename\tevent_labels\n{weak}")
        strong = "filename\tonset\toffset\tevent_label\nr3.wav\t0.1\t0.5\tDog\n"
        (folder / "metadata/validation/validation.tsv").write_text(strong)
    else:
        rows = ""
        for number in range(8):
            sound(folder / f"dcase2018_task2/audio_train/s{number}.wav", 1)
            rows += f"s{number}.wav,{'Bark' if number % 2 else 'Meow'},1\n"
        (folder / "dcase2018_task2/train.csv").write_text(f"fname,label,manually_verified\n{rows}")
    return Office(family, folder)


def copy_of(office: Office, folder: Path, *, with_times: bool) -> Office:
    """Copies a dataset."""
    shutil.copytree(
        office.folder, folder, copy_function=shutil.copy2 if with_times else shutil.copyfile
    )
    return Office(office.family, folder)
