from types import SimpleNamespace

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from common.errors import ConfigError
from common.models.layers import copy_weights, set_weights_by_name, weights_by_name, with_statistics
from seld.dataset import DatasetConfig, Events
from seld.labels import reference_rows
from seld.losses.directions import MaskedAngleError, two_stage_losses
from seld.submission import format_submission
from seld.systems.two_stage import (
    NetworkConfig,
    build_model,
    check_network,
    decode,
    is_convolution,
    source_frames,
    stages,
    torch_names,
)
from tests.forks import run_on_jax
from tests.numpy_layers import convolve, normalise, pool, random_weights, sigmoid

SMALL = {"filters": (2, 3), "gru_units": 4}  # pools of 4 frames and 4 bands in all
BANDS, CHANNELS, N_CLASSES = 12, 3, 3
FORMS = [
    {},
    {"pooling": "max", "pool": (1, 2)},
    {"architecture": "vgg9", "pooling": "max"},
    {"architecture": "vgg9", "over_bands": "max", "filters": (2, 2, 2)},
]


def small(**settings) -> NetworkConfig:
    return NetworkConfig(**SMALL | settings)


def small_model(**settings) -> keras.Model:
    return build_model((None, BANDS, CHANNELS), N_CLASSES, small(**settings))


def features(frames: int = 18, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(2, frames, BANDS, CHANNELS)).astype(np.float32)


def labels(frames: int = 18) -> dict[str, np.ndarray]:
    """Class 1 is active in the first half, at azimuth 90 and elevation 30 degrees."""
    activity = np.zeros((2, frames, N_CLASSES), np.float32)
    activity[:, : frames // 2, 1] = 1
    return {
        "sed": activity,
        "doa": np.concatenate([activity, 90 * activity, 30 * activity], axis=-1),
    }


def task(doa_loss: str = "masked_mae", whole_recordings: bool = True, **network) -> SimpleNamespace:
    return SimpleNamespace(
        network=SMALL | network,
        dataset=DatasetConfig(classes=("a", "b", "c")),
        training=SimpleNamespace(doa_loss=doa_loss, loss_weights={"sed": 0.8, "doa": 0.2}),
        pipeline=SimpleNamespace(whole_recordings=whole_recordings, sequence_frames=18),
    )


@pytest.fixture
def mixed_bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(
    ("architecture", "trainable"), [("crnn10", 5_890_977), ("vgg9", 4_708_257)]
)
def test_the_published_sizes_have_the_published_numbers_of_parameters(architecture, trainable):
    model = build_model((200, 96, 10), 11, NetworkConfig(architecture=architecture))
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == trainable
    assert sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights) == 3_840
    assert {name: output.shape for name, output in model.output.items()} == {
        "sed": (None, 192, 11),
        "doa": (None, 192, 22),
    }


def gru(x: np.ndarray, kernel: np.ndarray, recurrent: np.ndarray, biases: np.ndarray) -> np.ndarray:
    """GRU with two biases, reset gate after the matrix product, (T, D) -> (T, U)."""
    units = len(recurrent)
    state, states = np.zeros(units), []
    for frame in x @ kernel + biases[0]:
        inner = state @ recurrent + biases[1]
        update, reset = (
            sigmoid(frame[i * units : (i + 1) * units] + inner[i * units : (i + 1) * units])
            for i in (0, 1)
        )
        candidate = np.tanh(frame[2 * units :] + reset * inner[2 * units :])
        state = update * state + (1 - update) * candidate
        states.append(state)
    return np.array(states)


def numpy_network(
    x: np.ndarray, weights: dict[str, np.ndarray], network: NetworkConfig
) -> dict[str, np.ndarray]:
    """The network on one example (T, F, C)."""
    reduce = {"average": np.mean, "max": np.max}
    for block in range(1, len(network.filters) + 1):
        for n in (1, 2):
            x = convolve(x, weights[f"block{block}_conv{n}/kernel"])
            x = np.maximum(normalise(x, weights, f"block{block}_bn{n}", 1e-5), 0)
        x = pool(x, *network.pool, reduce[network.pooling])
    x = reduce[network.over_bands or network.pooling](x, axis=1)  # (T', filters)
    if network.architecture == "crnn10":
        forward, backward = (
            [weights[f"gru/{way}/{part}"] for part in ("kernel", "recurrent_kernel", "bias")]
            for way in ("forward", "backward")
        )
        x = np.concatenate([gru(x, *forward), gru(x[::-1], *backward)[::-1]], axis=-1)
    event, azimuth, elevation = (
        np.repeat(
            x @ weights[f"{head}_fc/kernel"] + weights[f"{head}_fc/bias"],
            network.time_pooling,
            axis=0,
        )
        for head in ("event", "azimuth", "elevation")
    )
    return {"sed": sigmoid(event), "doa": np.concatenate([azimuth, elevation], axis=-1)}


@pytest.mark.parametrize("form", FORMS)
def test_the_networks_equal_the_formulas(form):
    network, model, x = (
        small(**form),
        small_model(**form),
        features(27),
    )  # frames that do not fill a pool
    weights = random_weights(weights_by_name(model), seed=3)
    set_weights_by_name(model, weights)
    expected = [numpy_network(example, weights, network) for example in x]
    for name, value in model(x).items():
        np.testing.assert_allclose(value, [outputs[name] for outputs in expected], atol=1e-4)


def test_decisions_are_repeated_to_the_features_hop_for_any_length():
    model = small_model()
    for frames in (4, 11, 18):
        for name, width in (("sed", N_CLASSES), ("doa", 2 * N_CLASSES)):
            output = np.asarray(model(features(frames))[name])
            assert output.shape == (2, 4 * (frames // 4), width)
            decisions = output.reshape(2, -1, 4, width)
            np.testing.assert_array_equal(
                decisions, np.broadcast_to(decisions[:, :, :1], decisions.shape)
            )


def test_the_first_weights_are_those_of_the_published_code():
    keras.utils.set_random_seed(0)
    model = build_model((None, 16, 10), 11, NetworkConfig(filters=(64, 128), gru_units=128))
    weights = {name: np.asarray(weight) for name, weight in weights_by_name(model).items()}
    for name, power in (
        ("block2_conv2/kernel", 6),
        ("azimuth_fc/kernel", 6),
        ("gru/backward/kernel", 3),
    ):
        bound = np.sqrt(
            power / np.prod(weights[name].shape[:-1])
        )  # He uniform; the recurrent layer's own
        assert 0.95 * bound < np.abs(weights[name]).max() <= bound * 1.0001
    scales = np.stack([weights[f"block2_bn{n}/gamma"] for n in (1, 2)])
    assert abs(scales.mean() - 1) < 0.006 and abs(scales.std() - 0.02) < 0.004
    assert np.abs(scales[0] - scales[1]).max() > 0
    assert not any(
        value.any()
        for name, value in weights.items()
        if name.endswith(("bias", "beta", "moving_mean"))
    )
    forward, backward = (weights[f"gru/{way}/recurrent_kernel"] for way in ("forward", "backward"))
    np.testing.assert_allclose(forward[:, 256:] @ forward[:, 256:].T, np.eye(128), atol=1e-5)
    assert np.abs(forward - backward).max() > 0.01
    norm = model.get_layer("block1_bn1")
    assert norm.epsilon == 1e-5 and norm.momentum == 0.9


def test_the_reverse_gru_may_start_as_in_pytorch():
    keras.utils.set_random_seed(0)
    same, torch = (
        {
            name: np.asarray(value)
            for name, value in weights_by_name(small_model(gru_units=64, **form)).items()
        }
        for form in ({}, {"reverse_gru_init": "torch"})
    )
    assert {name: value.shape for name, value in same.items()} == {
        name: value.shape for name, value in torch.items()
    }
    for part in ("kernel", "recurrent_kernel", "bias"):
        drawn = torch[
            f"gru/backward/{part}"
        ]  # uniform within 1 / sqrt(64) = 0.125: deviation 0.125 / sqrt(3)
        assert np.abs(drawn).max() <= 0.125 and abs(drawn.std() - 0.125 / 3**0.5) < 0.004
    forward = torch["gru/forward/recurrent_kernel"][:, 128:]
    np.testing.assert_allclose(forward @ forward.T, np.eye(64), atol=1e-5)
    assert not torch["gru/forward/bias"].any()


def test_the_outputs_stay_float32_under_mixed_precision(mixed_bfloat16):
    model = small_model()
    assert {name: value.dtype for name, value in model.output.items()} == {
        "sed": "float32",
        "doa": "float32",
    }
    assert model.get_layer("block1_conv1").compute_dtype == "bfloat16"
    assert model.get_layer("gru").compute_dtype == "bfloat16"
    assert all(weight.dtype == "float32" for weight in model.weights)


@pytest.mark.parametrize("form", [{}, {"architecture": "vgg9"}, {"reverse_gru_init": "torch"}])
def test_a_compiled_model_is_saved_and_loaded_in_safe_mode(form, tmp_path):
    mean, deviation = np.full((BANDS, CHANNELS), -2.0), np.full((BANDS, CHANNELS), 3.0)
    model = with_statistics(small_model(**form), mean, deviation)
    model.compile(
        "adam", loss=two_stage_losses("masked_rmse"), loss_weights={"sed": 0.8, "doa": 0.2}
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    x = features()
    for name, value in model(x).items():
        np.testing.assert_allclose(loaded(x)[name], value, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "names", "parts"),
    [
        ({}, ["sed", "doa"], ["two-stage", "two-stage"]),
        ({"also_joint": True}, ["sed", "doa", "seld"], ["two-stage", "two-stage", "joint"]),
        ({"mode": "sed_only"}, ["sed"], ["two-stage"]),
        ({"mode": "doa_only"}, ["doa"], ["two-stage"]),
        ({"mode": "seld"}, ["seld"], ["joint"]),
    ],
)
def test_the_mode_selects_the_trained_stages(settings, names, parts):
    found = stages(task(**settings))
    assert [stage.name for stage in found] == names
    assert [stage.part_of for stage in found] == parts
    assert all(list(stage.losses) == list(stage.loss_weights) for stage in found)
    assert all(stage.target_stride == 1 for stage in found)  # decisions are repeated
    assert found[0].build((None, BANDS, CHANNELS)).output["doa"].shape == (
        None,
        None,
        2 * N_CLASSES,
    )


def test_directions_start_from_the_convolutions_of_detection():
    sed, doa, seld = stages(task(also_joint=True))
    assert (sed.losses.keys(), dict(sed.loss_weights), sed.outputs_used, sed.starts_from) == (
        {"sed"},
        {"sed": 1},
        ("sed",),
        None,
    )
    assert (doa.losses.keys(), dict(doa.loss_weights), doa.outputs_used, doa.starts_from) == (
        {"doa"},
        {"doa": 1},
        ("doa",),
        "sed",
    )
    assert (dict(seld.loss_weights), seld.outputs_used, seld.starts_from) == (
        {"sed": 0.8, "doa": 0.2},
        (),
        None,
    )
    assert stages(task(mode="doa_only"))[0].starts_from is None
    first, second = (stage.build((None, BANDS, CHANNELS)) for stage in (sed, doa))
    set_weights_by_name(first, random_weights(weights_by_name(first), seed=0))
    copy_weights(first, second, doa.keeps)
    given = weights_by_name(first)
    same = {
        name
        for name, weight in weights_by_name(second).items()
        if np.array_equal(weight, given[name])
    }
    assert same == {name for name in given if name.startswith("block")}
    assert {"block2_conv2/kernel", "block1_bn1/moving_variance"} <= same
    assert not is_convolution("gru") and not is_convolution("azimuth_fc")


@pytest.mark.parametrize("doa_loss", ["masked_mae", "masked_rmse"])
def test_training_both_outputs_reduces_the_loss_and_padding_changes_nothing(doa_loss):
    keras.utils.set_random_seed(0)
    (stage,) = stages(task(doa_loss, mode="seld", architecture="vgg9"))
    model = stage.build((None, BANDS, CHANNELS))
    model.compile(
        keras.optimizers.Adam(2e-2, amsgrad=True),
        loss=dict(stage.losses),
        loss_weights=dict(stage.loss_weights),
        run_eagerly=True,  # tracing takes longer than training
    )
    losses = model.fit(features(), labels(), epochs=15, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    unknown = {name: -np.ones_like(target) for name, target in labels().items()}
    assert model.evaluate(features(), unknown, verbose=0, return_dict=True)["loss"] == 0


@pytest.mark.filterwarnings("error:Gradients do not exist")
def test_each_stage_moves_its_own_heads_only():
    sed, doa = stages(task())
    for stage, still in ((sed, ("azimuth_fc", "elevation_fc")), (doa, ("event_fc",))):
        model = stage.build((None, BANDS, CHANNELS))
        before = {name: np.asarray(weight) for name, weight in weights_by_name(model).items()}
        model.compile(
            "adam", loss=dict(stage.losses), loss_weights=dict(stage.loss_weights), run_eagerly=True
        )
        model.fit(features(), labels(), verbose=0)
        after = weights_by_name(model)
        assert {name for name in before if np.array_equal(before[name], after[name])} == {
            f"{head}/{part}" for head in still for part in ("kernel", "bias")
        }


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({}, (None, 15, 10), "pool 16 bands into one.*Received: 15"),
        ({"pool": (1, 4)}, (None, 96, 10), "pool 256 bands into one.*Received: 96"),
        (
            {},
            (15, 96, 10),
            "pool 16 frames into one.*Received: 15. Change `pipeline.sequence_frames`",
        ),
    ],
)
def test_layers_that_do_not_fit_are_refused_before_any_work(settings, shape, message):
    with pytest.raises(ConfigError, match=message):
        check_network(NetworkConfig(**settings), shape)


def test_any_channels_and_sequences_with_trailing_frames_are_allowed():
    for channels in (4, 10, 28):
        check_network(NetworkConfig(), (200, 96, channels))


def test_sequences_with_trailing_frames_cannot_be_joined_to_recordings():
    with pytest.raises(
        ConfigError, match=r"a multiple of 4, or `pipeline.whole_recordings: true`. Received: 18"
    ):
        stages(task(whole_recordings=False))
    assert len(stages(task(whole_recordings=False, pool=(1, 2)))) == 2


def test_losses_of_other_systems_are_refused():
    with pytest.raises(
        ConfigError,
        match=r"two_stage can learn from. Expected: masked_mae or masked_rmse. Received: mse",
    ):
        stages(task("mse"))


def test_impossible_settings_are_refused():
    for settings in (
        {"architecture": "crnn9"},
        {"filters": ()},
        {"pool": (0, 2)},
        {"pooling": "frac"},
        {"units": 3},
    ):
        with pytest.raises(ValidationError):
            NetworkConfig(**settings)
    with pytest.raises(
        ValidationError, match=r"Expected: `mode: two_stage`. Received: `mode: seld`"
    ):
        NetworkConfig(mode="seld", also_joint=True)


def outputs_of(
    active: list[list[int]], azimuth_deg: list[list[float]], elevation_deg: list[list[float]]
) -> dict:
    doa = np.deg2rad(np.concatenate([azimuth_deg, elevation_deg], axis=-1))
    return {"sed": 0.9 * np.array(active, np.float32), "doa": doa.astype(np.float32)}


def rows_of(
    outputs: dict,
    n_frames: int | None = None,
    hop_ratio: float = 1.0,
    threshold: float = 0.3,
    **settings,
):
    return decode(
        outputs,
        network=NetworkConfig(**settings),
        threshold=threshold,
        n_frames=n_frames,
        hop_ratio=hop_ratio,
    )


def test_directions_are_rounded_to_ten_degrees_by_default():
    outputs = outputs_of([[1, 1]], [[14.0, -176.0]], [[-4.0, 36.0]])
    np.testing.assert_array_equal(rows_of(outputs), [[0, 0, 10, 0], [0, 1, -180, 40]])
    assert format_submission(rows_of(outputs)) == "0,0,10,0\n0,1,-180,40\n"
    np.testing.assert_allclose(
        rows_of(outputs, round_to_deg=None), [[0, 0, 14, -4], [0, 1, -176, 36]], atol=1e-4
    )
    np.testing.assert_array_equal(rows_of(outputs, round_to_deg=15)[:, 2], [15, -180])


def test_perfect_outputs_at_twice_the_rate_decode_to_the_reference():
    events = Events.from_array([[0, 0.1, 0.4, -180, 30, 1], [2, 0.2, 0.5, 60, -40, 2]])
    expected = reference_rows(events, 40, 0.02, "half_open")
    at_double_rate = reference_rows(events, 81, 0.01, "half_open")
    outputs = {"sed": np.zeros((81, 3), np.float32), "doa": np.zeros((81, 6), np.float32)}
    frame, klass = at_double_rate[:, 0].astype(int), at_double_rate[:, 1].astype(int)
    outputs["sed"][frame, klass] = 1
    outputs["doa"][frame, klass], outputs["doa"][frame, klass + 3] = np.deg2rad(
        at_double_rate[:, 2:].T
    )
    rows = rows_of(outputs, 40, 2.0)
    np.testing.assert_array_equal(rows, expected)
    assert rows.dtype == np.float64


@pytest.mark.parametrize(
    ("hop_ratio", "expected"), [(2.0, [0, 2, 4, 6]), (1.5, [0, 2, 3, 4]), (0.5, [0, 0, 1, 2])]
)
def test_the_frame_taken_is_the_nearest_half_to_even(hop_ratio, expected):
    assert source_frames(100, 4, hop_ratio).tolist() == expected


def test_the_last_output_is_held_for_outputs_of_different_lengths():
    outputs = outputs_of([[0], [0], [1], [1]], [[10], [20], [30]], [[0], [0], [0]])
    np.testing.assert_array_equal(
        rows_of(outputs, 4, 2.0), [[1, 0, 30, 0], [2, 0, 30, 0], [3, 0, 30, 0]]
    )
    assert rows_of(outputs, 1, 2.0).shape == (0, 4)
    assert rows_of(outputs, None, 2.0)[:, 0].tolist() == [1]  # two frames are covered


def test_a_class_at_the_threshold_is_silent():
    outputs = {"sed": np.full((2, 1), 0.3, np.float64), "doa": np.zeros((2, 2))}
    assert rows_of(outputs, 2).shape == (0, 4)
    with pytest.raises(ValueError, match="Received: no frame"):
        rows_of({"sed": np.zeros((0, 1)), "doa": np.zeros((0, 2))}, 4)


@pytest.mark.parametrize("form", FORMS)
def test_every_weight_has_its_published_name(form):
    names, weights = torch_names(small(**form)), weights_by_name(small_model(**form))
    assert set(names) == set(weights)
    there = [
        name
        for given, _ in names.values()
        for name in ((given,) if isinstance(given, str) else given)
    ]
    assert len(set(there)) == len(there)
    recurrent = {name for name in there if name.startswith("gru.")}
    expected = {
        f"gru.{kind}_{side}_l0{way}"
        for kind in ("weight", "bias")
        for side in ("ih", "hh")
        for way in ("", "_reverse")
    }
    assert recurrent == (set() if form.get("architecture") == "vgg9" else expected)
    assert {"conv_block2.conv1.weight", "conv_block1.bn2.running_var", "azimuth_fc.bias"} <= set(
        there
    )


JAX_PROGRAM = """
import sys
import keras
import numpy as np
from common.models.layers import set_weights_by_name, weights_by_name, with_statistics
from seld.losses.directions import two_stage_losses
from seld.systems.two_stage import NetworkConfig, build_model

assert keras.backend.backend() == "jax"
with np.load(sys.argv[1]) as stored:
    given = dict(stored)
x, y = given.pop("x"), {name: given.pop(name) for name in ("sed", "doa")}
network = NetworkConfig.model_validate_json(sys.argv[3])
built = build_model((None, *x.shape[2:]), y["sed"].shape[-1], network)
model = with_statistics(built, x.mean((0, 1)), x.std((0, 1)))
set_weights_by_name(model, given)
results = {f"output_{name}": np.asarray(value) for name, value in model.predict_on_batch(x).items()}
losses = two_stage_losses("masked_rmse")
weights = {"sed": 0.8, "doa": 0.2}
model.compile(keras.optimizers.Adam(1e-3, amsgrad=True), losses, loss_weights=weights)
history = model.fit(x, y, batch_size=len(x), epochs=2, verbose=0).history
results["losses"] = np.array(history["loss"])
results |= {name: np.asarray(weight) for name, weight in weights_by_name(model).items()}
np.savez(sys.argv[2], **results)
"""


def test_training_and_predictions_agree_on_jax_and_tensorflow(tmp_path):
    x = features()
    form = {"architecture": "vgg9"}  # recurrent layers on JAX: tests of SELDnet
    model = with_statistics(small_model(**form), x.mean((0, 1)), x.std((0, 1)))
    before = {name: np.asarray(weight) for name, weight in weights_by_name(model).items()}
    np.savez(tmp_path / "given.npz", x=x, **labels(), **before)
    files = [tmp_path / "given.npz", tmp_path / "results.npz"]
    run_on_jax(JAX_PROGRAM, tmp_path, *files, small(**form).model_dump_json())
    with np.load(tmp_path / "results.npz") as stored:
        results = dict(stored)
    for name, value in model(x).items():
        np.testing.assert_allclose(results[f"output_{name}"], value, atol=1e-5)
    loss = 0.8 * two_stage_losses("masked_rmse")["sed"](
        labels()["sed"], model(x, training=True)["sed"]
    )
    loss += 0.2 * MaskedAngleError(root=True)(labels()["doa"], model(x, training=True)["doa"])
    np.testing.assert_allclose(results["losses"][0], float(loss), rtol=1e-3)
    assert len(results["losses"]) == 2 and np.isfinite(results["losses"]).all()
    for name, old in before.items():
        assert (np.abs(results[name] - old).max() > 0) != name.startswith("standardize")
        assert np.isfinite(results[name]).all()
