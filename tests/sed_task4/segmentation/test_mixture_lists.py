"""Folds and lists of mixtures in the published order of draws."""

import csv
import io

import numpy as np
import pytest

from common.errors import DataError
from sed_task4.segmentation.dataset import DatasetConfig, EventFile
from sed_task4.segmentation.mixture_lists import (
    draw_folds,
    draw_mixtures,
    format_folds,
    repeat_array,
    select_files,
    warn_absent_classes,
)

DATASET = DatasetConfig(classes=("Bark", "Flute", "Knock"), mixtures_per_fold=5, n_folds=3)
FILES = [
    EventFile(f"{number:08x}.wav", ("Bark", "Flute", "Knock", "Gong")[number % 4], number % 5 > 0)
    for number in range(60)
]
DURATIONS_S = {file.name: 0.25 * (1 + number % 13) for number, file in enumerate(FILES)}
SCENES = [f"park-{number}-a.wav" for number in range(11)]


def test_folds_are_the_published_ones():
    # The first ten of 44 files, computed by the published code.
    assert draw_folds(44, 4)[:10].tolist() == [3, 4, 4, 2, 3, 1, 3, 1, 1, 3]


def test_folds_have_nearly_equal_sizes():
    assert sorted(np.bincount(draw_folds(43, 4))[1:].tolist()) == [10, 11, 11, 11]
    assert draw_folds(43, 4).tolist() != draw_folds(43, 4, seed=5).tolist()


def test_all_repetitions_have_the_order_of_the_last_shuffle():
    # Computed by the published code.
    repeated = repeat_array(np.arange(7), 20, np.random.RandomState(1234))
    assert repeated.tolist() == [2, 1, 4, 5, 3, 0, 6] * 2 + [2, 1, 4, 5, 3, 0]
    state, array = np.random.RandomState(1234), np.arange(7)
    for _ in range(3):
        state.shuffle(array)
    assert array.tolist() == repeated[:7].tolist()


def _by_the_definition(files, durations_s, scenes, dataset):
    """The list, drawn step by step as the published code describes it."""
    state = np.random.RandomState(dataset.mixture_seed)
    order = list(range(len(files)))
    np.random.RandomState(dataset.mixture_seed).shuffle(order)
    fold_of = {files[index].name: n % dataset.n_folds + 1 for n, index in enumerate(order)}
    scenes = list(scenes)
    state.shuffle(scenes)
    entries, running = [], 0
    for fold in range(1, dataset.n_folds + 1):
        chosen = [
            f
            for f in files
            if f.verified and f.label in dataset.classes and fold_of[f.name] == fold
        ]
        wanted, pool = dataset.mixtures_per_fold * dataset.events_per_mixture, []
        for _ in range(wanted // len(chosen) + 1):
            state.shuffle(chosen)
            pool.append(chosen)
        flat = [file for part in pool for file in part]
        for _ in range(dataset.mixtures_per_fold):
            taken, flat = flat[: dataset.events_per_mixture], flat[dataset.events_per_mixture :]
            events = [
                (f.name, f.label, 2.5 * n + 0.5, 2.5 * n + 0.5 + min(durations_s[f.name], 2.0))
                for n, f in enumerate(taken)
            ]
            entries.append((f"{running:05d}.wav", fold, scenes[running % len(scenes)], events))
            running += 1
    return entries


def test_mixtures_are_those_of_the_definition():
    drawn = [
        (
            m.name,
            m.fold,
            m.scene_name,
            [(e.audio_name, e.label, e.onset_s, e.offset_s) for e in m.events],
        )
        for m in draw_mixtures(FILES, DURATIONS_S, SCENES, DATASET)
    ]
    assert drawn == _by_the_definition(FILES, DURATIONS_S, SCENES, DATASET)


def test_folds_share_no_sound_and_mix_only_verified_sounds():
    mixtures = draw_mixtures(FILES, DURATIONS_S, SCENES, DATASET)
    used = [
        {event.audio_name for m in mixtures if m.fold == fold for event in m.events}
        for fold in (1, 2, 3)
    ]
    assert not (used[0] & used[1] or used[0] & used[2] or used[1] & used[2])
    verified = {file.name for file in FILES if file.verified and file.label != "Gong"}
    assert set.union(*used) <= verified
    assert {event.label for m in mixtures for event in m.events} == set(DATASET.classes)


def test_scenes_repeat_where_they_run_short():
    names = [mixture.scene_name for mixture in draw_mixtures(FILES, DURATIONS_S, SCENES, DATASET)]
    assert len(names) == 15 and sorted(names[:11]) == sorted(SCENES) and names[11:] == names[:4]


def test_classes_without_a_sound_are_named_in_the_log(caplog):
    dataset = DATASET.model_copy(update={"classes": ("Bark", "Cello", "Gong")})
    assert warn_absent_classes(FILES, dataset) == ["Cello"]
    assert "Cello" in caplog.text
    with pytest.raises(
        DataError,
        match=r"no verified sound of any class.*Cello.*sounds of Bark, Flute, Gong, Knock",
    ):
        select_files(FILES, DATASET.model_copy(update={"classes": ("Cello",)}))


def test_a_fold_without_sounds_is_named():
    with pytest.raises(DataError, match=r"Fold . of 3 has no sound"):
        draw_mixtures(FILES[1:3], DURATIONS_S, SCENES, DATASET)


def test_the_fold_table_has_row_numbers_and_published_columns():
    files = [EventFile("00044347.wav", "Hi-hat", False), EventFile("001ca53d.wav", "Bark", True)]
    text = format_folds(files, np.array([1, 3]))
    header = ",fname,label,manually_verified,fold\n"
    assert text == header + "0,00044347.wav,Hi-hat,0,1\n1,001ca53d.wav,Bark,1,3\n"
    assert [row["fold"] for row in csv.DictReader(io.StringIO(text))] == ["1", "3"]
