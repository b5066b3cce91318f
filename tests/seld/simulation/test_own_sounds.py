"""Own sounds in SELD scenes: parts by split, levels of active seconds, synthetic shares."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from common.audio.files import read_audio
from common.errors import ConfigError, DataError
from common.settings.folds import FoldConfig
from common.settings.parallel import ParallelConfig
from common.simulation.dataset_folder import SETTINGS_FILE, read_settings
from seld.dataset import DatasetConfig
from seld.recordings.layouts import LAYOUTS
from seld.simulation.plans import sound_sets
from seld.simulation.rendering import n_synthetic
from seld.simulation.settings import SimulationConfig, scene_settings
from seld.simulation.simulator import SeldSimulator
from tests.common.simulation.own_tables import bad_tables, write_table

RATE_HZ = 16000
FOLDS = (FoldConfig(name="fold1", train=(1, 2), validate_on=(3,), test=(4,)),)
TONES_HZ = {"train": 500.0, "validation": 1000.0, "test": 2000.0}
SMALL = SimulationConfig(
    preset="fixture",
    duration_s=3.0,
    overlaps=(1,),
    recordings_per_split=dict.fromkeys((1, 2, 3, 4), 1),
)


def tone(hz: float, duration_s: float = 0.5) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hz * np.arange(round(duration_s * RATE_HZ)) / RATE_HZ)


def own_sounds(folder: Path, parts=("train", "test"), n: int = 6) -> Path:
    for part in parts:
        for number in range(n):
            path = folder / part / "speech" / f"{part} {number}" / "a.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone(TONES_HZ[part]), RATE_HZ)
    return folder


def simulate(root: Path, simulation: SimulationConfig, **options) -> Path:
    dataset = DatasetConfig(classes=("speech",), sample_rate_hz=RATE_HZ)
    options = {"folds": FOLDS, "formats": ["foa"], "parallel": ParallelConfig(jobs=1)} | options
    SeldSimulator(root, simulation, dataset, **options).run(progress=False)
    return root


def loudest_hz(root: Path, split: int) -> float:
    (path,) = (root / "foa_dev").glob(f"split{split}_*.wav")
    power = np.abs(np.fft.rfft(read_audio(path)[:, 0]))
    return min(TONES_HZ.values(), key=lambda hz: abs(hz - power.argmax() * RATE_HZ / 48000))


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "validation", "test")])
def test_splits_are_of_the_sounds_of_their_part(tmp_path, parts):
    folder = own_sounds(tmp_path / "own", parts)
    written = []
    for jobs in (1, 2):
        simulation = SMALL.model_copy(update={"source_dir": folder})
        root = simulate(tmp_path / str(jobs), simulation, parallel=ParallelConfig(jobs=jobs))
        files = sorted(path for path in root.rglob("*") if path.is_file())
        written.append([(str(path.relative_to(root)), path.read_bytes()) for path in files])
    assert written[0] == written[1]
    chosen = TONES_HZ["validation" if "validation" in parts else "train"]
    tones = [loudest_hz(tmp_path / "1", split) for split in (1, 2, 3, 4)]
    assert tones == [TONES_HZ["train"], TONES_HZ["train"], chosen, TONES_HZ["test"]]
    stored = read_settings(tmp_path / "1" / SETTINGS_FILE)
    assert stored["parts"]["test"] == [4, 0] and "synthetic_share" not in stored


def test_splits_of_cross_validation_take_training_sounds():
    assert set(sound_sets(LAYOUTS["tau2019"]).parts.items()) == {
        (1, "train"), (2, "train"), (3, "train"), (4, "train"), (0, "test")
    }  # fmt: skip
    later = sound_sets(LAYOUTS["tau2021"]).parts
    assert [later[split] for split in (1, 4, 5, 6, 0)] == [
        "train", "train", "validation", "test", "test"
    ]  # fmt: skip
    assert sound_sets(LAYOUTS["starss2023"]).parts[4] == "test"


def test_groups_are_dealt_in_a_layout_whose_splits_have_gaps(tmp_path):
    folder = own_sounds(tmp_path, ("train",)) / "train"
    simulator = SeldSimulator(
        tmp_path / "out",
        SMALL.model_copy(update={"source_dir": folder, "recordings_per_split": None}),
        DatasetConfig(classes=("speech",), layout="stereo2025"),
        layout=LAYOUTS["stereo2025"],
    )
    dealt = [set(each.recordings) for each in simulator.select_sounds((1, 3, 4, 0))]
    assert all(dealt) and len(set.union(*dealt)) == sum(map(len, dealt)) == 6


def test_active_seconds_decide_label_and_level(tmp_path):
    silence = np.zeros(RATE_HZ // 2)
    hum = 0.03 * np.sin(np.arange(RATE_HZ // 2) * 0.01)  # above the threshold of silence
    x = np.concatenate([hum, tone(500.0), silence, tone(500.0), hum])
    folder = tmp_path / "own" / "speech"
    folder.mkdir(parents=True)
    for number in range(4):
        soundfile.write(folder / f"{number}.wav", x, RATE_HZ)
    rows = [f"speech/{number}.wav,g{number},0.5-1.0;1.5-2.0" for number in range(4)]
    (folder.parent / "metadata.csv").write_text("file,group,active\n" + "\n".join(rows) + "\n")
    simulation = SMALL.model_copy(update={"source_dir": folder.parent, "gain_range_db": 0.0})
    root = simulate(tmp_path / "out", simulation, splits=(1,))
    (path,) = (root / "metadata_dev").glob("*.csv")
    _, first, *_ = path.read_text().splitlines()
    onset_s, offset_s = map(float, first.split(",")[1:3])
    assert offset_s - onset_s == pytest.approx(1.5, abs=0.001)


@pytest.mark.parametrize(("share", "n_own", "n_made"), [(0.5, 6, 6), (0.2, 8, 2), (1.0, 0, 4)])
def test_a_share_of_the_sounds_is_synthetic(tmp_path, share, n_own, n_made):
    folder = own_sounds(tmp_path / "own", ("train", "test"), n=n_own * 3 or 3)
    simulation = SMALL.model_copy(update={"source_dir": folder, "synthetic_share": share})
    simulator = SeldSimulator(tmp_path, simulation, DatasetConfig(classes=("speech",)), folds=FOLDS)
    (selection,) = simulator.select_sounds((1,))
    assert len(selection.recordings) == n_own
    assert n_synthetic(selection, simulator.settings) == n_made
    assert simulator.content()["synthetic_share"] == share


def test_mixed_banks_do_not_depend_on_the_number_of_processes(tmp_path):
    folder = own_sounds(tmp_path / "own")
    mixed = SMALL.model_copy(update={"source_dir": folder, "synthetic_share": 0.5})
    roots = [
        simulate(tmp_path / str(jobs), mixed, parallel=ParallelConfig(jobs=jobs)) for jobs in (1, 2)
    ]
    files = [sorted(path for path in root.rglob("*.wav")) for root in roots]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]
    pure = simulate(tmp_path / "pure", SMALL.model_copy(update={"source_dir": folder}))
    assert any(a.read_bytes() != (pure / a.relative_to(roots[0])).read_bytes() for a in files[0])


@pytest.mark.parametrize("several", [False, True])
def test_own_backgrounds_of_the_part_are_behind_the_events(tmp_path, several):
    for part, hz in (("train", 3000.0), ("test", 4000.0)):
        for number in range(4):
            path = tmp_path / "backgrounds" / part / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, tone(hz, 2.0), RATE_HZ)
    folder, own = tmp_path / "backgrounds", own_sounds(tmp_path / "own")
    given = {"source_dir": own, "background_dir": (folder,) if several else folder, "snr_db": 10.0}
    simulation = SMALL.model_copy(update=given)
    roots = [
        simulate(tmp_path / str(jobs), simulation, parallel=ParallelConfig(jobs=jobs))
        for jobs in (1, 2)
    ]
    for split, hz, other_hz in ((1, 3000, 4000), (4, 4000, 3000)):
        files = [next((root / "foa_dev").glob(f"split{split}_*.wav")) for root in roots]
        assert files[0].read_bytes() == files[1].read_bytes()
        power = np.abs(np.fft.rfft(read_audio(files[0])[:, 0])) ** 2
        bins = round(hz * 3), round(other_hz * 3)
        heard, other = (power[each - 9 : each + 10].sum() for each in bins)
        assert heard > 0.03 * power.sum() and other < 0.001 * power.sum()
    stored = read_settings(roots[0] / SETTINGS_FILE)
    assert stored["own_backgrounds"] and stored["background_parts"]["train"] == [1, 2, 3]


def test_a_dataset_of_other_own_sounds_is_refused(tmp_path):
    folder = own_sounds(tmp_path / "own")
    given = {"source_dir": folder, "synthetic_share": 0.5, "background_dir": folder}
    root = simulate(tmp_path / "out", SMALL.model_copy(update=given))
    for change in ({"synthetic_share": 0.0}, {"background_dir": None}, {"source_dir": None}):
        other = SMALL.model_copy(update=given | change)
        with pytest.raises(DataError, match="was simulated with other settings"):
            simulate(root, other)
    with pytest.raises(DataError, match=r"parts: .*'test': \[4, 0\].* wanted"):
        simulate(root, SMALL.model_copy(update=given), folds=None)


def test_classes_without_a_recipe_cannot_be_mixed(tmp_path):
    folder = own_sounds(tmp_path / "own", ("train",)) / "train"
    (folder / "speech").rename(folder / "siren")
    simulation = SMALL.model_copy(update={"source_dir": folder, "synthetic_share": 0.5})
    dataset = DatasetConfig(classes=("siren",))
    with pytest.raises(ConfigError, match="no synthetic sound for siren"):
        SeldSimulator(tmp_path / "out", simulation, dataset, splits=(1,)).run(progress=False)
    assert not (tmp_path / "out").exists()


def test_settings_take_one_or_several_folders():
    one = SimulationConfig.model_validate({"source_dir": "a"})
    several = SimulationConfig.model_validate({"source_dir": ["a", "b"]})
    assert one.source_dir == Path("a") and several.source_dir == (Path("a"), Path("b"))
    with pytest.raises(ValueError, match="at least 1 item"):
        SimulationConfig.model_validate({"source_dir": []})
    assert scene_settings(one, 0).synthetic_share == 0.0


@pytest.mark.parametrize(("rows", "message"), bad_tables("speech"))
def test_bad_tables_are_refused_before_any_work(tmp_path, rows, message):
    folder = write_table(tmp_path / "own", rows, tone(500.0), RATE_HZ)
    with pytest.raises(DataError, match=message):
        simulate(tmp_path / "out", SMALL.model_copy(update={"source_dir": folder}))
    assert not (tmp_path / "out").exists()
