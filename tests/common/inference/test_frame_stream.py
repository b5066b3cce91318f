"""Features of audio that comes in blocks are those of the whole recording, at its edges too."""

from functools import partial

import numpy as np
import pytest

from common.errors import DataError
from common.features.frontend import AUDIO
from common.inference.frame_stream import FrameStream, Framing
from sed_task4 import features as task4
from sed_task4.extraction import clip_inputs
from sed_task4.predictor import framing_of as task4_framing
from seld.predictor import framing_of as seld_framing
from seld.predictor import model_inputs
from tests.runs import noises, task_of

RATE_HZ = 8000
SIZES = {"features__n_fft": 512, "dataset__sample_rate_hz": RATE_HZ, "features__fmax_hz": "null"}


def streamed(compute, framing, audio, block):
    """All frames of audio that comes in blocks, and the audio in front of and beyond them."""
    stream = FrameStream(lambda part, new: compute(part), framing)
    parts = [stream.feed(audio[start : start + block]) for start in range(0, len(audio), block)]
    parts = [*(part for part in parts if part is not None), stream.finish()]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.parametrize("frontend", ["extraction", "device"])
@pytest.mark.parametrize("kind", ["magnitude_phase", "logmel_intensity", "logmel", "logmel_gcc"])
@pytest.mark.parametrize("n_samples", [60, 3000, 8017])
def test_features_of_several_channels(tmp_path, kind, frontend, n_samples):
    sizes = SIZES | {
        "features__sample_rate_hz": "null",
        "features__window_s": 0.05,
        "features__gcc_n_fft": 600,
    }
    task = task_of(
        "demo",
        tmp_path,
        features__kind=kind,
        features__frontend=frontend,
        training__augmentation="none",
        **sizes,
        network__pool_bands="[1, 1, 1]",
        dataset__recording_s=0.1,
    )
    compute, audio = partial(model_inputs, task=task), noises(2, RATE_HZ, 4)[:n_samples]
    framing = seld_framing(task)
    n_frames = framing.n_frames(n_samples)
    whole = compute(np.pad(audio, ((0, max(0, framing.min_samples - n_samples)), (0, 0))))
    for block in (71, 1000, 10_000):
        found = streamed(compute, framing, audio, block)
        assert len(found["features"]) >= n_frames
        np.testing.assert_allclose(found["features"], whole["features"], atol=2e-3, rtol=1e-3)
        if frontend == "device":
            pieces = found[AUDIO]
            assert len(pieces) == len(whole[AUDIO])
            np.testing.assert_array_equal(pieces, whole[AUDIO])


@pytest.mark.parametrize("frontend", ["extraction", "device"])
@pytest.mark.parametrize("kind", ["logmel_db", "log_magnitude_mel", "ln_mel_density"])
@pytest.mark.parametrize("n_samples", [60, 3000, 8000])
def test_features_of_one_channel(kind, frontend, n_samples):
    features = task4.FeatureConfig(kind=kind, frontend=frontend, n_fft=1024, fmax_hz=None)
    framing = task4_framing(features, RATE_HZ, 0.5, round(0.5 / features.hop_s))
    audio = noises(2, RATE_HZ, 1)[:n_samples]
    padded = np.pad(audio, ((0, max(0, framing.min_samples - n_samples)), (0, 0)))
    whole = clip_inputs(padded, features, RATE_HZ)
    n_frames = framing.n_frames(len(padded))
    for block in (71, 1000, 10_000):
        found = streamed(lambda part: clip_inputs(part, features, RATE_HZ), framing, audio, block)
        np.testing.assert_allclose(found["features"], whole["features"][:n_frames], atol=2e-3)
        if frontend == "device":
            context = len(whole[AUDIO]) - len(whole["features"])
            np.testing.assert_array_equal(found[AUDIO], whole[AUDIO][: n_frames + context])


def test_a_recording_without_audio_has_no_end():
    with pytest.raises(DataError, match="shorter than one sample"):
        FrameStream(
            lambda audio, new: {}, Framing(hop=1, longest=1, lead_frames=0, n_frames=int)
        ).finish()
