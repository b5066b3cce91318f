"""Own sounds and backgrounds in clips: parts by subset, levels, synthetic shares."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from common.audio.files import read_audio
from common.errors import DataError
from common.settings.parallel import ParallelConfig
from common.simulation.dataset_folder import SETTINGS_FILE, read_settings
from sed_task4.clips.layouts import subset_place
from sed_task4.dataset import DatasetConfig, read_strong
from sed_task4.simulation.plans import Slot, is_synthetic, sound_sets
from sed_task4.simulation.settings import SimulationConfig, scene_settings
from sed_task4.simulation.simulator import Task4Simulator
from tests.common.simulation.own_tables import bad_tables, write_table

RATE_HZ = 16000
TONES_HZ = {"train": 500, "validation": 1000, "test": 2000}
HUMS_HZ = {"train": 100, "test": 200}
DATASET = DatasetConfig(classes=("Dog",), clip_s=2.0, layout="desed2021")
SUBSETS = ["weak", "synthetic21_train", "synthetic21_validation", "validation"]


def tone(hz: float, duration_s: float = 0.5) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(round(duration_s * RATE_HZ)) / RATE_HZ)


def write(path: Path, x: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, x, RATE_HZ)


def own_sounds(folder: Path, parts=("train", "test"), n: int = 6) -> Path:
    for part in parts:
        for number in range(n):
            write(folder / part / "Dog" / f"{part} {number}" / "a.wav", tone(TONES_HZ[part]))
    return folder


def settings(**given) -> SimulationConfig:
    chosen = {
        "preset": "fixture",
        "sample_rate_hz": RATE_HZ,
        "clips_per_subset": dict.fromkeys(SUBSETS, 3),
        "domain_gap": False,
        "real_snr_db": (20.0, 20.0),
        "synthetic_snr_db": (20.0, 20.0),
    }
    return SimulationConfig.model_validate(chosen | given)


def simulate(root: Path, simulation: SimulationConfig, jobs: int = 1, **options) -> Path:
    common = {"subsets": SUBSETS, "dataset": DATASET, "parallel": ParallelConfig(jobs=jobs)}
    Task4Simulator(root, simulation, **common | options).run(progress=False)
    return root


def loudest(path: Path, tones_hz: dict[str, int]) -> str:
    """The part of the tone that a clip has most of."""
    x = read_audio(path)[:, 0]
    power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
    hz = np.arange(len(power)) * RATE_HZ / len(x)
    return max(tones_hz, key=lambda part: power[np.abs(hz - tones_hz[part]) < 4].sum())


def test_subsets_are_of_the_sounds_and_backgrounds_of_their_part(tmp_path):
    folder = own_sounds(tmp_path / "own", ("train", "validation", "test"))
    for part, hz in HUMS_HZ.items():
        for number in range(4):
            write(tmp_path / "backgrounds" / part / f"{number}.wav", tone(hz, 2.0))
    simulation = settings(source_dir=folder, background_dir=[tmp_path / "backgrounds"])
    for jobs in (1, 2):
        simulate(tmp_path / str(jobs), simulation, jobs)
    files = [sorted((tmp_path / str(jobs)).rglob("*.wav")) for jobs in (1, 2)]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    expected = {
        "synthetic21_train": ("train", "train"),
        "synthetic21_validation": ("validation", "train"),
        "validation": ("test", "test"),
    }
    for subset, (part, background) in expected.items():
        simulator = Task4Simulator(tmp_path / "1", simulation, dataset=DATASET)
        clips = _clips(simulator, subset)
        assert clips
        for clip in clips:
            assert loudest(clip, TONES_HZ) == part
            assert loudest(clip, HUMS_HZ) == background


def _clips(simulator: Task4Simulator, subset: str) -> list[Path]:
    folder = simulator.data_root / subset_place("desed2021", subset).audio
    return sorted(folder.glob("*.wav"))


def test_sets_of_a_layout_take_parts():
    assert sound_sets("dcase2018").parts == {0: "train", 1: "test", 2: "test"}
    by_part = sound_sets("desed2021").by_part({"train", "test"})
    assert by_part == {"train": [0, 3], "test": [1, 2]}
    by_part = sound_sets("desed2021").by_part({"train", "test", "validation"})
    assert by_part == {"train": [0], "test": [1, 2], "validation": [3]}


def test_levels_are_of_active_seconds(tmp_path):
    hum = 0.02 * np.sin(np.arange(RATE_HZ // 2) * 0.01)  # above the threshold of silence
    x = np.concatenate([hum, tone(500, 0.25), np.zeros(RATE_HZ // 2), tone(500, 0.25), hum])
    for number in range(3):
        write(tmp_path / "own/Dog" / f"{number}.wav", x)
    rows = [f"Dog/{number}.wav,g{number},0.5-0.75;1.25-1.5" for number in range(3)]
    (tmp_path / "own/metadata.csv").write_text("file,group,active\n" + "\n".join(rows) + "\n")
    simulation = settings(source_dir=tmp_path / "own", clips_per_subset={"validation": 4})
    root = simulate(tmp_path / "out", simulation, subsets=["validation"])
    simulator = Task4Simulator(root, simulation, dataset=DATASET)
    events, _ = read_strong(next((root / "metadata").rglob("validation*.tsv")), DATASET)
    heard, folder = [], _clips(simulator, "validation")[0].parent
    for name, onset_s, offset_s, _ in events.values.tolist():
        assert offset_s - onset_s == pytest.approx(1.0, abs=0.002)
        clip = read_audio(folder / name)[:, 0]
        begin, end = round(onset_s * RATE_HZ), round(offset_s * RATE_HZ)
        event, pause = clip[begin : begin + 4000], clip[begin + 4200 : end - 4200]
        heard.append(10 * np.log10(np.var(event) / np.var(pause)))
    # 20 dB against the background, whatever the pause
    assert np.mean(heard) == pytest.approx(10 * np.log10(1 + 100), abs=2.0)


def test_a_share_of_clips_has_synthetic_sounds():
    half = scene_settings(settings(synthetic_share=0.5), 0)
    clips = [Slot("weak", f"{number}.wav", number) for number in range(400)]
    dogs, cats = ([is_synthetic(clip, half, name) for clip in clips] for name in ("Dog", "Cat"))
    assert (np.mean(dogs), np.mean(cats)) == pytest.approx((0.5, 0.5), abs=0.08) and dogs != cats
    none, every = (scene_settings(settings(synthetic_share=share), 0) for share in (0, 1))
    assert not any(is_synthetic(clip, none, "Dog") for clip in clips)
    assert all(is_synthetic(clip, every, "Dog") for clip in clips)


def test_mixed_clips_have_tones_and_barks(tmp_path):
    folder = own_sounds(tmp_path / "own")
    simulation = settings(
        source_dir=folder, synthetic_share=0.5, clips_per_subset={"synthetic21_train": 12}
    )
    root = simulate(tmp_path / "out", simulation, subsets=["synthetic21_train"])
    clips = _clips(Task4Simulator(root, simulation, dataset=DATASET), "synthetic21_train")
    purity = []
    for clip in clips:
        power = np.abs(np.fft.rfft(read_audio(clip)[:, 0])) ** 2
        hz = np.arange(len(power)) * RATE_HZ / (2 * RATE_HZ)
        purity.append(power[np.abs(hz - 500) < 20].sum() / power.sum())
    assert 2 <= np.sum(np.array(purity) > 0.5) <= 10
    assert read_settings(root / SETTINGS_FILE)["synthetic_share"] == 0.5
    plain = simulate(tmp_path / "plain", settings(source_dir=folder), subsets=["weak"])
    assert "synthetic_share" not in read_settings(plain / SETTINGS_FILE)


@pytest.mark.parametrize(("rows", "message"), bad_tables("Dog"))
def test_bad_tables_are_refused_before_any_work(tmp_path, rows, message):
    folder = write_table(tmp_path / "own", rows, tone(500.0), RATE_HZ)
    with pytest.raises(DataError, match=message):
        simulate(tmp_path / "out", settings(source_dir=folder))
    assert not (tmp_path / "out").exists()
