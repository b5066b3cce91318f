"""A trained run on recordings of any rate, length and number of channels."""

import numpy as np
import pytest
import soundfile
import yaml

from common.errors import CheckpointError, ConfigError, DataError
from common.inference.windows import Windows
from common.settings.tasks import check_task
from sed_task4.segmentation.dataset import (
    Mixture,
    MixtureEvent,
    audio_folder,
    format_mixtures,
    mixtures_folder,
)
from sed_task4.segmentation.segmenter import (
    Segmenter,
    class_indices,
    clip_windows,
    main,
    separate_file,
)

CLASSES = ("Bark", "Knock", "Meow")
RATE_HZ = 8000


def settings(folder) -> dict:
    """A task on short clips of a low rate, with 30 frames in a clip."""
    return {
        "description": "test",
        "family": "sed_task4.segmentation",
        "system": "tf_segmentation",
        "dataset_dir": str(folder / "data"),
        "feature_dir": str(folder / "features"),
        "output_dir": str(folder / "runs"),
        "dataset": {
            "classes": CLASSES,
            "sample_rate_hz": RATE_HZ,
            "clip_s": 2.0,
            "events_per_mixture": 1,
            "event_s": 1,
        },
        "features": {
            "kind": "ln_mel_density",
            "window_s": 0.128,
            "hop_s": 0.064,
            "n_fft": 1024,
            "n_mels": 16,
        },
        "folds": [{"name": "fold1", "train": [2, 3], "validate_on": [4], "test": [1]}],
        "pipeline": {"sequence_frames": 30},
        "network": {"filters": [2, 2, 2, 2]},
    }


class BySecond:
    """Fake network: class 1 in loud frames, class 2 never, class 3 everywhere but faint."""

    def predict_on_batch(self, features: np.ndarray) -> dict[str, np.ndarray]:
        loud = (features[..., 0].mean(axis=2) > -6).astype(np.float32)  # (1, t)
        values = np.stack(
            [loud, np.zeros_like(loud), np.full_like(loud, 0.15)], axis=-1
        )  # (1, t, 3)
        clip = np.concatenate(
            [loud.max(axis=1, keepdims=True), np.zeros((1, 1)), np.full((1, 1), 0.2)], axis=1
        )
        return {
            "clip": clip,
            "masks": np.broadcast_to(values[:, :, None], (*features.shape[:3], 3)),
        }


@pytest.fixture
def segmenter(tmp_path):
    return Segmenter(check_task(settings(tmp_path), "test"), BySecond())


def burst(n_samples: int, onset_s: float, offset_s: float) -> np.ndarray:
    """Faint noise with a loud part."""
    audio = np.random.default_rng(0).normal(0, 1e-5, n_samples)
    inside = slice(round(onset_s * RATE_HZ), round(offset_s * RATE_HZ))
    audio[inside] = np.random.default_rng(1).uniform(-0.5, 0.5, n_samples)[inside]
    return audio


def test_pieces_overlap_by_the_context_and_by_half_at_most():
    assert clip_windows(311) == Windows(311, 32, last_is_whole=True)
    assert clip_windows(30).overlap == 15


def test_a_long_recording_is_segmented_as_a_whole(segmenter):
    audio = burst(20 * RATE_HZ, 11.0, 12.0)
    segmented = segmenter(audio.astype(np.float32))
    assert segmented.frames.shape == (311, 3)
    assert len(segmented.events) == 1
    k, onset_s, offset_s = segmented.events[0]
    assert k == 0
    assert abs(onset_s - 11) < 0.15
    assert abs(offset_s - 12) < 0.15
    assert list(segmented.masks) == [
        0
    ]  # the tag of the third, 0.2, is above the gate and below tag_threshold
    assert segmented.masks[0][:150].max() == 0
    assert (segmented.frames[150:200, 2] > 0.14).all()


@pytest.mark.parametrize(
    ("rate_hz", "channels", "seconds"), [(8000, 1, 1.0), (44100, 2, 7.3), (16000, 4, 2.0)]
)
def test_any_recording_gives_masks_events_sounds_and_figures(
    segmenter, tmp_path, rate_hz, channels, seconds
):
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * rate_hz), channels))
    soundfile.write(tmp_path / "a.wav", audio, rate_hz)
    segmented = separate_file(segmenter, tmp_path / "a.wav", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["Bark.wav", "curves.png", "events.tsv", "masks.npz", "separated.png"]
    sound, written_hz = soundfile.read(tmp_path / "out" / "Bark.wav")
    assert written_hz == RATE_HZ
    assert len(sound) == round(seconds * RATE_HZ)
    with np.load(tmp_path / "out" / "masks.npz", allow_pickle=False) as stored:
        assert stored["classes"].tolist() == ["Bark"]
        assert stored["masks"].shape == (1, *segmented.masks[0].shape)
        assert float(stored["hop_s"]) == 0.064
    assert (tmp_path / "out" / "events.tsv").read_text().splitlines()[1].startswith("a.wav\t0.0\t")


def test_a_mask_of_ones_returns_the_recording(segmenter, tmp_path):
    audio = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE_HZ)
    soundfile.write(tmp_path / "a.wav", audio, RATE_HZ)
    separate_file(segmenter, tmp_path / "a.wav", tmp_path / "out")
    sound, _ = soundfile.read(tmp_path / "out" / "Bark.wav")
    assert np.abs(sound - soundfile.read(tmp_path / "a.wav")[0]).max() < 2 / 32768


def test_requested_classes_are_separated_tagged_or_not(segmenter, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(2 * RATE_HZ), RATE_HZ)
    segmented = separate_file(
        segmenter, tmp_path / "a.wav", tmp_path / "out", classes=["Meow", "Knock"]
    )
    assert list(segmented.masks) == [1, 2]
    assert not soundfile.read(tmp_path / "out" / "Knock.wav")[0].any()


def test_without_a_tag_there_is_no_sound_file(segmenter, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(2 * RATE_HZ), RATE_HZ)
    segmented = separate_file(segmenter, tmp_path / "a.wav", tmp_path / "out", normalise=True)
    assert not list((tmp_path / "out").glob("*.wav"))
    assert segmented.events.shape == (0, 3)
    with np.load(tmp_path / "out" / "masks.npz", allow_pickle=False) as stored:
        assert stored["masks"].shape == (0, 30, 16)


def test_a_faint_recording_is_tagged_when_it_is_normalised(segmenter, tmp_path):
    soundfile.write(
        tmp_path / "a.wav", 1e-4 * burst(2 * RATE_HZ, 0.0, 2.0), RATE_HZ, subtype="FLOAT"
    )
    assert not separate_file(segmenter, tmp_path / "a.wav", tmp_path / "out").masks
    assert list(
        separate_file(segmenter, tmp_path / "a.wav", tmp_path / "out", normalise=True).masks
    ) == [0]


def test_audio_that_cannot_be_separated_is_refused(segmenter, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), RATE_HZ)
    with pytest.raises(DataError, match=r"a\.wav is too short"):
        separate_file(segmenter, tmp_path / "a.wav", tmp_path / "out")
    with pytest.raises(
        ConfigError, match=r"Unknown class 'Moo'. Expected: some of Bark, Knock, Meow"
    ):
        class_indices(["Bark", "Moo"], CLASSES)
    assert class_indices(["Meow", "Bark", "Meow"], CLASSES) == [0, 2]
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Directory of a run with an untrained saved network, and its dataset with one mixture."""
    from common.models.layers import with_statistics
    from sed_task4.segmentation.systems.tf_segmentation import NetworkConfig, build_model

    root = tmp_path_factory.mktemp("run")
    task = check_task(settings(root), "test")
    folder = root / "runs" / "test_a"
    (folder / "fold1" / "gwrp").mkdir(parents=True)
    (folder / "settings.yaml").write_text(yaml.safe_dump(task.model_dump(mode="json")))
    network = build_model((None, 16, 1), 3, NetworkConfig.model_validate(task.network))
    with_statistics(network, np.zeros((16, 1)), np.ones((16, 1))).save(
        folder / "fold1" / "gwrp" / "best.keras"
    )
    mixtures = audio_folder(task.dataset_dir, task.dataset)
    mixtures.mkdir(parents=True)
    soundfile.write(
        mixtures / "00000.wav", np.random.default_rng(0).uniform(-1, 1, (2 * RATE_HZ, 2)), RATE_HZ
    )
    event = MixtureEvent("1.wav", "Knock", 0.5, 1.0)
    listed = format_mixtures(
        [Mixture("00000.wav", 1, mixtures / "00000.wav", "scene.wav", (event,))]
    )
    (mixtures_folder(task.dataset_dir, task.dataset) / "mixture.yaml").write_text(listed)
    return folder


def test_the_command_separates_the_true_classes(run, caplog):
    mixture = next(run.parents[1].glob("data/**/00000.wav"))
    with caplog.at_level("INFO"):
        assert main([str(run), str(mixture), "--reference"]) == 0
    assert [path.name for path in (run / "separated" / "00000").glob("*.wav")] == ["Knock.wav"]
    assert "00000.wav: Knock 0." in caplog.text


def test_the_command_reports_errors(run, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE_HZ), RATE_HZ)
    cases = {
        (
            str(run),
            str(tmp_path / "a.wav"),
            "--fold",
            "fold9",
        ): "--fold: expected one of fold1. Received: fold9",
        (
            str(run),
            str(tmp_path / "a.wav"),
            "--stage",
            "gmp",
        ): "--stage: expected one of gwrp. Received: gmp",
        (str(run), str(tmp_path / "a.wav"), "--reference"): "Received: a.wav, which is none",
        (
            str(run),
            str(tmp_path / "a.wav"),
            str(tmp_path / "b" / "a.wav"),
        ): "Received: a more than once",
        (str(tmp_path), str(tmp_path / "a.wav")): "a run directory?",
    }
    for arguments, message in cases.items():
        assert main(list(arguments)) == 2
        assert message in capsys.readouterr().err


def test_a_run_without_a_finished_model_is_refused(run):
    (run / "fold1" / "gwrp" / "best.keras").rename(run / "fold1" / "gwrp" / "other.keras")
    with pytest.raises(CheckpointError, match="cannot be loaded as a Keras model"):
        Segmenter.load(run)
