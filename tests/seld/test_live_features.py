"""Features of live streams: those of files, or of the levels and the noise heard so far."""

import tracemalloc

import numpy as np
import pytest

from common.errors import ConfigError
from common.inference.frame_stream import FrameStream
from seld.features import FeatureConfig, LiveFeatures, compute_features
from seld.predictor import framing_of, load_predictor
from tests.runs import noises, task_of, write_run

RATE_HZ = 8000
CHANNELS = {"logmel_2025": 2}
SMALL = {"sample_rate_hz": RATE_HZ, "window_s": 0.04, "hop_s": 0.02, "n_fft": 512}
SIZES = {
    "logmel_intensity_2022": {"n_mels": 16},
    "logmel_gcc_2020": {"n_mels": 16},
    "logmel_2025": {"n_mels": 16, "edges": "zeros"},
    "salsa_foa": {"fmax_doa_hz": 3000, "fmax_spectra_hz": 3500},
    "salsa_mic": {"fmax_doa_hz": 3000, "fmax_spectra_hz": 3500},
}
WITH_PEAK = [kind for kind in SIZES if "salsa" not in kind]
RUN = {
    **{f"features__{name}": value for name, value in SMALL.items()},
    "features__n_mels": 32,
    "features__top_db": 30.0,
    "dataset__sample_rate_hz": RATE_HZ,
    "pipeline__sequence_frames": 50,
    "training__augmentation": "none",
    "network__n_filters": 4,
    "network__gru_units": "[8]",
    "network__dense_units": "[8]",
}


def features_of(kind, **settings):
    return FeatureConfig(kind=kind, **SMALL, **SIZES[kind], **settings)


def audio_of(kind, seconds=2.0, loud_start=False):
    audio = noises(seconds, RATE_HZ, CHANNELS.get(kind, 4))
    if loud_start:  # frame 0, half of which is the mirror image of these samples, is the peak
        audio *= 0.1
        audio[:160] = np.random.default_rng(1).uniform(-0.99, 0.99, (160, audio.shape[1]))
    return audio


def new_stream(tmp_path, features, channels):
    """The live stream of the features, as a predictor has it."""
    live = LiveFeatures(features, RATE_HZ, channels)
    task = task_of("multi-accdoa-demo", tmp_path, **RUN)
    task = task.model_copy(update={"features": features})
    framing = framing_of(task)
    return FrameStream(
        lambda audio, new: {"features": live.compute(audio, new)},
        type(framing)(framing.hop, framing.longest, framing.lead_frames, framing.n_frames),
    )


def streamed(tmp_path, features, audio, block):
    stream = new_stream(tmp_path, features, audio.shape[1])
    parts = [stream.feed(audio[start : start + block]) for start in range(0, len(audio), block)]
    parts = [*(part for part in parts if part is not None), stream.finish()]
    return np.concatenate([part["features"] for part in parts])


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("block", [71, 5000])
def test_a_stream_that_begins_with_its_peak_has_the_features_of_the_file(tmp_path, kind, block):
    top_db = {"top_db": 20.0} if kind in WITH_PEAK else {}
    features, audio = features_of(kind, **top_db), audio_of(kind, loud_start=bool(top_db))
    whole = compute_features(audio, features, RATE_HZ)
    if top_db:
        free = compute_features(audio, features_of(kind, top_db=None), RATE_HZ)
        assert (whole != free).mean() > 0.1
    else:  # bins above the noise floor, with one source
        assert 0.03 < (whole[..., 4:] != 0).mean() < 0.9
    np.testing.assert_allclose(streamed(tmp_path, features, audio, block), whole, atol=2e-3)


@pytest.mark.parametrize("kind", WITH_PEAK)
def test_levels_are_limited_below_the_maximum_so_far(tmp_path, kind):
    features, audio = features_of(kind, top_db=20.0), audio_of(kind)
    expected = compute_features(audio, features_of(kind, top_db=None), RATE_HZ)
    n_levels, peaks = audio.shape[1], np.full(audio.shape[1], -np.inf)
    for frame in expected:
        for channel in range(n_levels):
            peaks[channel] = max(peaks[channel], frame[:, channel].max())
        for channel in range(n_levels):
            floor = (max(peaks) if kind == "logmel_2025" else peaks[channel]) - 20.0
            frame[:, channel] = np.maximum(frame[:, channel], floor)
    found = streamed(tmp_path, features, audio, 700)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.abs(found - compute_features(audio, features, RATE_HZ)).max() > 1  # of the file


@pytest.mark.parametrize("kind", ["logmel_intensity_2022", "salsa_foa"])
def test_the_memory_of_a_stream_is_constant(tmp_path, kind):
    features, audio = features_of(kind), audio_of(kind, 1.0)
    stream, held = new_stream(tmp_path, features, 4), []
    tracemalloc.start()
    try:
        for _ in range(8):
            stream.feed(audio)
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert abs(held[-1] - held[2]) < 20_000 < audio.nbytes


def test_frames_of_the_end_at_the_beginning_are_for_files():
    with pytest.raises(ConfigError, match=r"Expected: a run with `features.wrap_around: false`"):
        LiveFeatures(features_of("salsa_mic", wrap_around=True), RATE_HZ, 4)


def test_a_run_with_a_range_of_levels_predicts_live_as_it_does_a_file(tmp_path, caplog):
    task = task_of("multi-accdoa-demo", tmp_path, **RUN)
    predictor = load_predictor(write_run(task, tmp_path / "run"), task, live=True)
    audio = audio_of("logmel_intensity_2022", 4.0, loud_start=True)
    caplog.set_level("INFO")
    found = []
    for live in (False, True):
        caplog.clear()
        session = predictor.stream(live)
        parts = [part for start in range(0, len(audio), 900)
                 for part in session.feed(audio[start : start + 900])]  # fmt: skip
        n_before = sum(len(part.rows) for part in parts)
        rows = [part.rows for part in [*parts, *session.finish()] if len(part.rows)]
        told = [text for text in caplog.messages if "maximum so far" in text]
        assert (n_before > 0, len(told)) == ((True, 1) if live else (False, 0))
        found.append(np.concatenate(rows))
    assert len(found[0]) > 50
    np.testing.assert_allclose(found[1], found[0], atol=0.05)
