"""Audio of mixtures: levels, places, files, restarts."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from common.audio.files import read_audio
from common.errors import DataError
from common.io.files import write_text
from common.settings.parallel import ParallelConfig
from sed_task4.segmentation import mixing
from sed_task4.segmentation.dataset import (
    LIST_NAME,
    DatasetConfig,
    MixtureEvent,
    audio_folder,
    find_mixtures,
    format_mixtures,
    mixtures_folder,
    parse_mixtures,
)
from sed_task4.segmentation.mixing import (
    make_mixtures,
    mix,
    normalise_energy,
    place_sounds,
    white_noise,
)
from sed_task4.segmentation.simulation.simulator import SegmentationSimulator

RATE_HZ = 8000
DATASET = DatasetConfig(
    classes=("Bark", "Flute"),
    sample_rate_hz=RATE_HZ,
    clip_s=2.0,
    mixtures_per_fold=3,
    n_folds=2,
    events_per_mixture=2,
    first_onset_s=0.25,
    onset_step_s=0.75,
    event_s=0.5,
)
ONE = ParallelConfig(jobs=1)


def _noise(seed: int, n: int) -> np.ndarray:
    return 0.2 * np.random.default_rng(seed).uniform(-1, 1, n)


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Twelve sounds of three rates and lengths, four stereo scenes; tests must not change it."""
    root = tmp_path_factory.mktemp("source")
    sounds, scenes = root / "dcase2018_task2", root / "TUT-urban-acoustic-scenes-2018-development"
    (sounds / "audio_train").mkdir(parents=True)
    (scenes / "audio").mkdir(parents=True)
    rows = ["fname,label,manually_verified"]
    for number in range(12):
        rate = (8000, 16000, 11025)[number % 3]
        soundfile.write(
            sounds / f"audio_train/{number:02d}.wav",
            _noise(number, round(rate * (0.3 + 0.05 * number))),
            rate,
        )
        rows.append(f"{number:02d}.wav,{('Bark', 'Flute')[number % 2]},1")
    rows.append("absent.wav,Bark,0")
    (sounds / "train.csv").write_text("\n".join(rows) + "\n")
    names = [f"park-paris-0-{number}-a.wav" for number in range(4)]
    for number, name in enumerate(names):
        soundfile.write(scenes / "audio" / name, _noise(number, 64000).reshape(32000, 2), 16000)
    (scenes / "meta.csv").write_text(
        "filename\tscene_label\n" + "".join(f"audio/{name}\tpark\n" for name in names)
    )
    make_mixtures(root, DATASET, ONE, progress=False)
    return root


@pytest.fixture
def copied(source, tmp_path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "copy"))


def _checksums(root: Path) -> dict[str, str]:
    files = sorted(path for path in (root / "mixtures").rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.md5(path.read_bytes()).hexdigest() for path in files
    }


@pytest.mark.parametrize("level_db", [-20.0, 0.0, 6.0])
def test_the_rms_is_that_of_the_level(level_db):
    scaled = normalise_energy(_noise(0, 4000), level_db)
    assert 10 * np.log10(np.mean(scaled**2)) == pytest.approx(level_db, abs=1e-9)
    assert not normalise_energy(np.zeros(5)).any()


def test_sounds_are_cut_where_their_events_end():
    events = [MixtureEvent("a", "Bark", 0.5, 0.75), MixtureEvent("b", "Flute", 1.0, 1.1)]
    track = place_sounds([np.arange(1, 5), np.arange(10, 12)], events, 14, 10)
    assert track.tolist() == [0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 10, 0, 0, 0]


def test_a_sound_too_short_for_its_event_is_refused():
    with pytest.raises(DataError, match=r"a\.wav is too short.*Expected: 0\.5 s. Received: 0\.4 s"):
        place_sounds([np.ones(40)], [MixtureEvent("a.wav", "Bark", 0.0, 0.5)], 100, 100)


def test_sounds_have_the_level_of_the_scene_at_full_scale():
    scene, sounds = (
        _noise(0, 8000),
        [0.01 * _noise(1, 4000), np.concatenate([_noise(2, 2000), np.zeros(2000)])],
    )
    events = [MixtureEvent("a", "Bark", 0.0, 0.25), MixtureEvent("b", "Flute", 0.5, 0.75)]
    mixed = mix(sounds, events, scene, 6.0, RATE_HZ)
    assert mixed.shape == (8000, 2) and mixed.dtype == np.int16
    assert mixed.min() == -32768 or mixed.max() == 32767
    power = np.mean(mixed.astype(float) ** 2, axis=0)
    # The second sound is silent in half of its file, so its other half is twice as strong.
    first, second = (
        np.mean(mixed[start : start + 2000, 0].astype(float) ** 2) for start in (0, 4000)
    )
    assert 10 * np.log10(first / power[1]) == pytest.approx(6.0, abs=0.2)
    assert 10 * np.log10(second / power[1]) == pytest.approx(9.0, abs=0.2)
    assert not mixed[2000:4000, 0].any() and not mixed[6000:, 0].any()


def test_samples_are_rounded_down_as_libsndfile_does(tmp_path):
    scene = _noise(3, 4000)
    mixed = mix([], [], scene, 0.0, RATE_HZ)
    scaled = scene / np.abs(scene).max()
    soundfile.write(
        tmp_path / "a.wav", np.stack([np.zeros(4000), scaled], 1), RATE_HZ, subtype="PCM_16"
    )
    assert np.array_equal(soundfile.read(tmp_path / "a.wav", dtype="int16")[0], mixed)


def test_white_noise_has_no_offset_and_differs_between_mixtures():
    noise = white_noise("00000.wav", 100000, 1234)
    assert abs(noise.mean()) < 0.01 and noise.std() == pytest.approx(3**-0.5, rel=0.01)
    assert np.array_equal(noise[:5], white_noise("00000.wav", 5, 1234))
    assert not np.allclose(noise[:5], white_noise("00001.wav", 5, 1234))


def test_mixtures_have_events_and_scene_apart(source):
    mixtures = find_mixtures(source, DATASET)
    assert [mixture.fold for mixture in mixtures] == [1, 1, 1, 2, 2, 2]
    for mixture in mixtures:
        info = soundfile.info(mixture.audio_path)
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (
            RATE_HZ,
            2,
            2 * RATE_HZ,
            "PCM_16",
        )
        audio = read_audio(mixture.audio_path)
        assert np.abs(audio).max() == pytest.approx(1.0, abs=1e-4)
        active = np.zeros(len(audio), bool)
        for event in mixture.events:
            active[int(event.onset_s * RATE_HZ) : int(event.offset_s * RATE_HZ)] = True
        assert not audio[~active, 0].any() and np.mean(np.abs(audio[active, 0]) > 1e-3) > 0.9
        assert audio[:, 1].std() > 0.1


def test_two_processes_write_the_same_files_as_one(source, copied):
    shutil.rmtree(copied / "mixtures")
    make_mixtures(copied, DATASET, ParallelConfig(jobs=2), progress=False)
    assert _checksums(copied) == _checksums(source)


def test_a_killed_run_resumes_with_missing_mixtures(source, copied):
    folder = audio_folder(copied, DATASET)
    (folder / "00002.wav").unlink()
    (folder / ".00002.wav.77.tmp").write_bytes(b"half a mixture")
    stamps = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.wav")}
    mixing.run(SimpleNamespace(dataset_dir=copied, dataset=DATASET, parallel=ONE))
    assert _checksums(copied) == _checksums(source)
    assert stamps == {name: (folder / name).stat().st_mtime_ns for name in stamps}


def test_other_settings_are_named_and_replaced_on_request(source, copied):
    other = DATASET.model_copy(update={"mixtures_per_fold": 2})
    with pytest.raises(
        DataError,
        match=r"mixture\.yaml was made with other settings.*mixtures_per_fold: 3 there, 2 w",
    ):
        make_mixtures(copied, other, ONE, progress=False)
    make_mixtures(copied, other, ONE, overwrite=True, progress=False)
    assert (
        len(find_mixtures(copied, other))
        == 4
        == len(list(audio_folder(copied, other).glob("*.wav")))
    )


def test_other_lengths_of_the_same_list_are_refused(copied):
    with pytest.raises(DataError, match=r"clip_s: 2\.0 there, 1\.9 wanted"):
        make_mixtures(copied, DATASET.model_copy(update={"clip_s": 1.9}), ONE, progress=False)


def test_levels_and_kinds_of_scenes_lie_side_by_side(source, copied):
    louder = DATASET.model_copy(update={"snr_db": 12.0})
    noisy = DATASET.model_copy(update={"scene_type": "white_noise"})
    for dataset in (louder, noisy):
        make_mixtures(copied, dataset, ONE, progress=False)
    assert {path.name for path in (copied / "mixtures/mixed_audios").iterdir()} == {
        "scene_type=dcase2018_task1,snr=0",
        "scene_type=dcase2018_task1,snr=12",
        "scene_type=white_noise,snr=0",
    }
    quiet, loud = (
        read_audio(find_mixtures(copied, each)[0].audio_path) for each in (DATASET, louder)
    )
    ratios_db = [
        10 * np.log10(np.mean(x[:, 0] ** 2) / np.mean(x[:, 1] ** 2)) for x in (quiet, loud)
    ]
    assert ratios_db[1] - ratios_db[0] == pytest.approx(12.0, abs=0.1)


def test_a_list_that_was_given_is_used_as_it_is(source, copied):
    folder = copied / "mixtures"
    mixtures = parse_mixtures((folder / "mixture.yaml").read_text(), folder, DATASET)[:2]
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "mixture.yaml").write_text(format_mixtures(mixtures))
    other = DATASET.model_copy(update={"mixtures_per_fold": 7})
    for overwrite in (False, True):
        assert len(make_mixtures(copied, other, ONE, overwrite=overwrite, progress=False)) == 2
    names = audio_folder(source, DATASET), audio_folder(copied, DATASET)
    assert len({(folder / "00001.wav").read_bytes() for folder in names}) == 1


def test_forgotten_mixtures_are_made_again(source, copied):
    mixing.forget_mixtures(copied, DATASET)
    assert not list(audio_folder(copied, DATASET).glob("*.wav"))
    make_mixtures(copied, DATASET, ONE, progress=False)
    assert _checksums(copied) == _checksums(source)


def test_sounds_that_are_missing_broken_or_silent_are_named(copied):
    shutil.rmtree(copied / "mixtures")
    sound = copied / "dcase2018_task2/audio_train/05.wav"
    sound.unlink()
    with pytest.raises(DataError, match=r"1 of 12 sounds .* are missing, such as .*05\.wav"):
        make_mixtures(copied, DATASET, ONE, progress=False)
    sound.write_bytes(b"no sound")
    with pytest.raises(DataError, match=r"Not a readable sound file: .*05\.wav"):
        make_mixtures(copied, DATASET, ONE, progress=False)
    soundfile.write(sound, np.zeros(4000), RATE_HZ)
    with pytest.raises(DataError, match=r"05\.wav is silent"):
        make_mixtures(copied, DATASET, ONE, progress=False)


def test_scenes_that_are_too_short_are_named(copied):
    shutil.rmtree(copied / "mixtures")
    for path in (copied / "TUT-urban-acoustic-scenes-2018-development/audio").iterdir():
        soundfile.write(path, _noise(0, 8000), RATE_HZ)
    with pytest.raises(DataError, match=r"Scene too short: .*Expected: 2 s. Received: 1 s"):
        make_mixtures(copied, DATASET, ONE, progress=False)


def test_a_broken_record_of_settings_names_the_file_to_remove(copied):
    (audio_folder(copied, DATASET) / "mixing.json").write_text("[")
    with pytest.raises(DataError, match=r"mixing\.json cannot be read.*Remove"):
        make_mixtures(copied, DATASET, ONE, progress=False)


def test_a_list_or_table_that_is_no_text_is_named(tmp_path):
    path = mixtures_folder(tmp_path, DATASET) / LIST_NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff\xfe")
    write_text(
        tmp_path / DATASET.events_dir / "train.csv", "fname,label,manually_verified\na.wav,Bark,1\n"
    )
    with pytest.raises(DataError, match=r"mixture\.yaml cannot be read as text"):
        make_mixtures(tmp_path, DATASET, progress=False)
    (tmp_path / "train.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"train\.csv cannot be read as text"):
        SegmentationSimulator(tmp_path / "new", dataset=DATASET, annotations=tmp_path).run()


def test_the_record_of_the_list_has_its_sources(source):
    record = json.loads((source / "mixtures/mixture.json").read_text())
    assert (
        record["mixture_seed"] == 1234
        and record["classes"] == ["Bark", "Flute"]
        and len(record["sounds"]) == 64
    )


def test_the_command_reports_missing_files(tmp_path, capsys):
    assert mixing.main(["segmentation", "--set", f"dataset_dir={tmp_path}"]) == 2
    assert "train.csv. Unpack FSDKaggle2018 there" in capsys.readouterr().err


def test_mixtures_that_are_all_there_are_used_without_writing_anything(copied):
    folder = copied / "mixtures"
    (audio_folder(copied, DATASET) / "mixing.json").unlink()  # as where others mixed them
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert len(make_mixtures(copied, DATASET, ONE, progress=False)) == 6
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.parametrize(
    "changed", ["dcase2018_task2/audio_train", "TUT-urban-acoustic-scenes-2018-development/audio"]
)
def test_mixtures_of_sounds_or_scenes_that_were_replaced_are_refused(copied, changed):
    mixing.check(copied, DATASET)
    for path in (copied / changed).glob("*.wav"):
        path.write_bytes(path.read_bytes()[:-4] + bytes(4))
    for again in (
        lambda: mixing.check(copied, DATASET),
        lambda: make_mixtures(copied, DATASET, ONE, progress=False),
    ):
        with pytest.raises(
            DataError, match=r"sounds or scenes have changed, the first is .*--overwrite"
        ):
            again()
    make_mixtures(copied, DATASET, ONE, overwrite=True, progress=False)
    mixing.check(copied, DATASET)


def test_touched_copied_and_absent_sounds_pass(copied, caplog):
    for path in copied.rglob("*.wav"):
        os.utime(path, ns=(5, 5))
    mixing.check(copied, DATASET)
    shutil.rmtree(copied / DATASET.events_dir)
    caplog.set_level("INFO")
    mixing.check(copied, DATASET)
    assert "could not be compared with" in caplog.text


def test_mixtures_of_other_lists_levels_and_tables_are_refused(copied):
    with pytest.raises(DataError, match=r"mixture_seed: 1234 there, 7 wanted"):
        mixing.check(copied, DATASET.model_copy(update={"mixture_seed": 7}))
    table = copied / "dcase2018_task2/train.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(
        DataError, match=r"mixture\.yaml was made with other settings or other data \(sounds: "
    ):
        mixing.check(copied, DATASET)


def test_mixtures_of_a_version_that_noted_no_sounds_pass(copied):
    (audio_folder(copied, DATASET) / mixing.SOURCES_NAME).unlink()
    mixing.check(copied, DATASET)
    make_mixtures(copied, DATASET, ONE, progress=False)
    assert not (audio_folder(copied, DATASET) / mixing.SOURCES_NAME).exists()


def test_a_damaged_note_of_the_sounds_is_named(copied):
    (audio_folder(copied, DATASET) / mixing.SOURCES_NAME).write_text("[[")
    with pytest.raises(DataError, match=r"mixed_files\.json cannot be read"):
        mixing.check(copied, DATASET)
