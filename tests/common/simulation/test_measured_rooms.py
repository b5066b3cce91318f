"""Measured room responses: tables, directions, alignment, levels, rotation, places, SOFA."""

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from common.errors import ConfigError, DataError
from common.settings.parallel import ParallelConfig
from common.simulation.measured.places import deal_places, prepare_places
from common.simulation.measured.responses import (
    LEAD_S,
    find_direct,
    received,
    received_along,
    rotation_matrix,
    to_acn_sn3d,
)
from common.simulation.measured.sofa import read_sofa
from common.simulation.measured.table import read_response_table, response_digest
from common.simulation.random_streams import random_stream
from common.simulation.receivers import Receiver, SphericalArray
from common.simulation.renderer import convolve
from common.simulation.trajectories import Trajectory
from tests.common.simulation.response_files import (
    RATE_HZ,
    anechoic_folder,
    angle_deg,
    as_fuma,
    as_n3d,
    pulse_response,
    write_responses,
)

ONE = ParallelConfig(jobs=1)
ARRAY = SphericalArray(((45.0, 35.0), (-45.0, -35.0), (135.0, -35.0), (-135.0, 35.0)), 0.042)
FOA = Receiver(("foa",), ARRAY, "sn3d")
LEAD = round(LEAD_S * RATE_HZ)


def _prepared(folder: Path, kind="foa", rate_hz=RATE_HZ):
    """All responses of a folder in the order of its places."""
    scratch = folder.parent / f"{folder.name} prepared"
    scratch.mkdir(exist_ok=True)
    places = prepare_places(folder, kind, rate_hz, scratch, ONE)
    return [response for place in places for response in place.responses]


def _one(tmp_path: Path, audio: np.ndarray, row: str = "30,10,2,hall,,", **options):
    folder = write_responses(tmp_path / "rirs", {"a.wav": audio}, [f"a.wav,{row}"])
    return _prepared(folder, **options)[0]


def _vector(channels: np.ndarray) -> np.ndarray:
    """Active intensity (x, y, z) of W, Y, Z, X, (4, samples)."""
    return (channels[0] * channels[[3, 1, 2]]).sum(axis=1)


@pytest.mark.parametrize("to", [(0, 0), (170, -40), (-90, 75), (45.5, 12.25)])
def test_a_turned_anechoic_response_comes_from_the_wanted_direction(tmp_path, to):
    response = _one(tmp_path, pulse_response([(500, 0.5, 30, 10)]))
    assert angle_deg(_vector(received(response, FOA)), 30, 10) < 0.01
    assert angle_deg(_vector(received(response, FOA, to)), *to) < 0.01


def test_rotation_keeps_the_energy_of_reflections(tmp_path):
    waves = [(300, 0.5, 30, 10), (420, 0.3, -100, 0), (515, -0.2, 60, -50)]
    response = _one(tmp_path, pulse_response(waves))
    still, turned = received(response, FOA), received(response, FOA, (-120, 30))
    assert np.array_equal(still[0], turned[0])
    assert np.allclose((still[1:] ** 2).sum(axis=0), (turned[1:] ** 2).sum(axis=0), atol=1e-6)


def test_another_azimuth_leaves_reflections_at_their_elevation(tmp_path):
    response = _one(tmp_path, pulse_response([(300, 0.5, 30, 10), (420, 0.3, 90, -50)]))
    floor = received(response, FOA, (50, 10))[:, LEAD + 120]
    assert angle_deg(floor[0] * floor[[3, 1, 2]], 110, -50) < 0.01


def test_a_rotation_matrix_is_orthogonal_with_determinant_one():
    matrix = rotation_matrix((20.0, -35.0), (-160.0, 80.0))
    assert np.allclose(matrix @ matrix.T, np.eye(3)) and np.linalg.det(matrix) == pytest.approx(1)


@pytest.mark.parametrize(
    ("convert", "words"),
    [(as_n3d, "acn,n3d"), (as_fuma, "fuma,"), (as_fuma, "FuMa,fuma"), (lambda x: x, ",sn3d")],
)
def test_other_conventions_give_the_same_response(tmp_path, convert, words):
    audio = pulse_response([(300, 0.4, 30, 10), (420, 0.2, -100, 20)])
    expected = received(_one(tmp_path / "sn3d", audio), FOA)
    other = _one(tmp_path / "other", convert(audio), f"30,10,2,hall,{words}")
    assert np.allclose(received(other, FOA), expected, atol=1e-6)


def test_fuma_order_may_have_another_normalisation():
    assert np.allclose(to_acn_sn3d(np.array([[1.0, 2.0, 3.0, 4.0]]), "fuma", "sn3d"), [1, 3, 4, 2])


@pytest.mark.parametrize("delay", [0, 7, 2000])
def test_the_direct_sound_is_where_events_begin(tmp_path, delay):
    response = _one(tmp_path, pulse_response([(delay, 0.1, 30, 10), (delay + 240, 0.3, 0, 0)]))
    channels = received(response, FOA)
    assert response.lead_samples == LEAD and find_direct(channels, RATE_HZ) == LEAD
    assert not channels[:, :LEAD].any()


@pytest.mark.parametrize(("distance", "amplitude"), [("2", 0.5), ("0.5", 2.0), ("", 1.0)])
def test_the_direct_sound_has_the_level_of_its_distance(tmp_path, distance, amplitude):
    audio = pulse_response([(300, 0.02, 30, 10), (900, 0.01, 0, 0)])
    channels = received(_one(tmp_path, audio, f"30,10,{distance},hall,,"), FOA)
    assert channels[0, LEAD] == pytest.approx(amplitude, rel=1e-4)
    assert channels[0, LEAD + 600] == pytest.approx(amplitude / 2, rel=1e-4)


def test_n3d_receivers_get_dipoles_of_n3d(tmp_path):
    response = _one(tmp_path, pulse_response([(300, 0.5, 90, 0)]), "90,0,2,hall,,")
    channels = received(response, Receiver(("foa",), ARRAY, "n3d"))
    assert channels[1, LEAD] / channels[0, LEAD] == pytest.approx(np.sqrt(3), rel=1e-5)


def test_stereo_receivers_get_w_and_y(tmp_path):
    response = _one(tmp_path, pulse_response([(300, 0.5, 90, 0)]), "90,0,2,hall,,")
    channels = received(response, Receiver(("stereo",), ARRAY, "sn3d"), (-90, 0))
    assert channels[:, LEAD] == pytest.approx([0.5, -0.5])


def test_a_resampled_response_keeps_direction_level_and_onset(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    response = _one(tmp_path, pulse_response([(600, 0.5, 30, 10)]), rate_hz=16000)
    channels = received(response, FOA)
    assert find_direct(channels, 16000) == response.lead_samples == 16
    assert angle_deg(_vector(channels), 30, 10) < 0.01
    assert np.sum(channels[0] ** 2) == pytest.approx(0.25, rel=0.01)
    assert "1 file(s) resampled from 24000 to 16000 Hz" in caplog.text


def test_microphones_are_used_as_they_are(tmp_path):
    audio = np.zeros((2400, 4))
    audio[300] = [0.5, 0.4, 0.2, 0.3]
    response = _one(tmp_path, audio, "30,10,2,hall,mic,", kind="mic")
    channels = received(response, Receiver(("mic",), ARRAY))
    assert channels.shape[0] == 5 and np.allclose(channels[0], channels[1:].mean(axis=0), atol=1e-6)
    ratios = channels[1:, LEAD] / channels[1, LEAD]
    assert ratios == pytest.approx(audio[300] / audio[300, 0], rel=1e-4)


@pytest.fixture
def arc() -> Trajectory:
    """From the front to the left in the horizontal plane, 40 degrees per second."""
    return Trajectory("sphere", (2.0, 0.0, 0.0), (0.0, 1.0, 0.0), np.deg2rad(40), (-np.inf, np.inf))


def test_a_response_follows_a_path(tmp_path, arc):
    response = _one(tmp_path, pulse_response([(300, 0.5, 30, 10)]))
    dry = np.random.default_rng(0).standard_normal(2 * RATE_HZ).astype(np.float32)
    moving = received_along(response, arc, 2.0, FOA, RATE_HZ)
    wet = np.stack(list(moving.convolve(dry)))[:, LEAD:]
    for time_s in (0.1, 0.7, 1.9):
        part = wet[:, round((time_s - 0.02) * RATE_HZ) : round((time_s + 0.02) * RATE_HZ)]
        assert angle_deg(_vector(part), 40 * time_s, 0) < 1


def test_a_path_of_no_length_equals_a_turned_response(tmp_path):
    waves = [(300, 0.5, 30, 10), (1300, 0.2, 90, 0), (1535, 0.2, 0, 30), (2300, 0.1, 0, 0)]
    response = _one(tmp_path, pulse_response(waves))
    still = Trajectory("sphere", (0.0, 2.0, 0.0), (1.0, 0.0, 0.0), 1e-9, (-np.inf, np.inf))
    dry = np.random.default_rng(0).standard_normal(RATE_HZ).astype(np.float32)
    moving = received_along(response, still, 1.0, FOA, RATE_HZ).convolve(dry)
    for wet, expected in zip(moving, convolve(dry, received(response, FOA, (90, 0))), strict=True):
        assert np.allclose(wet[: len(expected)], expected, atol=1e-4)


GOOD = "a.wav,30,10,2,hall,,"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a.wav,,10,2,hall,,"], "line 2: the room response a.wav has no azimuth"),
        (["a.wav,30,,2,hall,,"], "line 2: the room response a.wav has no elevation"),
        (["a.wav,361,0,2,hall,,"], "azimuth is outside the circle. Expected: degrees from -180"),
        ([GOOD, "b.wav,0,91,2,hall,,"], "line 3: elevation is outside the circle"),
        (['a.wav,"30,5",10,2,hall,,'], "'30,5' has a decimal comma"),
        (["a.wav,30,10,0,hall,,"], "distance is not usable. Expected: metres above 0"),
        (["a.wav,30,10,2,,,"], "line 2: the column place is empty"),
        (["a.wav,30,10,2,hall,ambix,"], "unknown convention. Expected: acn, fuma, mic"),
        (["a.wav,30,10,2,hall,mic,sn3d"], "a.wav has a normalisation, and its convention is mic"),
        (["a.wav,30,10,2,hall,,maxn"], "unknown normalisation. Expected: sn3d, n3d, fuma"),
        ([GOOD, "gone.wav,0,0,2,hall,,"], "line 3: there is no file .*1 row.s. without a file"),
        ([GOOD, GOOD], "line 3: a.wav is listed before, in line 2"),
        (["../a.wav,30,10,2,hall,,"], "the column file is not usable. Expected: a path below"),
        (["a.sofa,30,,2,hall,,"], "azimuth is given for a.sofa. Expected: empty"),
        ([], "lists no room response"),
    ],
)
def test_a_bad_table_is_refused_with_its_row(tmp_path, rows, message):
    pulse = pulse_response([(300, 0.5, 30, 10)])
    folder = write_responses(tmp_path / "rirs", {"a.wav": pulse, "b.wav": pulse}, rows)
    with pytest.raises(DataError, match=message):
        read_response_table(folder)


def test_a_folder_without_a_table_is_refused(tmp_path):
    with pytest.raises(DataError, match="There is no table of room responses"):
        read_response_table(tmp_path)


def _clipped() -> np.ndarray:
    audio = pulse_response([(300, 0.5, 30, 10)])
    audio[300:303] = 1.0
    return audio


@pytest.mark.parametrize(
    ("audio", "kind", "message"),
    [
        (pulse_response([(300, 0.5, 30, 10)])[:, :2], "foa", r"has 2 channel\(s\). Expected: 4"),
        (np.zeros((2400, 4)), "foa", "is silent. Expected: a room response"),
        (pulse_response([(300, 0.5, 0, 0)]), "mic", "is silent in channel 1"),
        (pulse_response([(300, 0.5, 30, 10)]) * [0, 1, 1, 1], "foa", "W is silent"),
        (_clipped(), "foa", "clipped: 3 or more samples in a row .* sample 300 of channel 0"),
    ],
)
def test_an_unusable_response_is_refused_with_its_row(tmp_path, audio, kind, message):
    row = f"30,10,2,hall,{'mic' if kind == 'mic' else ''},"
    with pytest.raises(DataError, match=f"metadata.csv, line 2: .*{message}"):
        _one(tmp_path, audio, row, kind=kind)


def test_a_response_scaled_to_its_peak_is_not_clipped(tmp_path):
    assert _one(tmp_path, pulse_response([(300, 1.0, 30, 10)])).azimuth_deg == 30


@pytest.mark.parametrize(("kind", "convention"), [("mic", ""), ("mic", "fuma"), ("foa", "mic")])
def test_ambisonics_and_microphones_are_not_mistaken(tmp_path, kind, convention):
    row = f"30,10,2,hall,{convention},"
    with pytest.raises(DataError, match=rf"line 2: a\.wav has .*for the format {kind}"):
        _one(tmp_path, pulse_response([(300, 0.5, 30, 10)]), row, kind=kind)


def test_a_wrong_convention_is_warned_of(tmp_path, caplog):
    _one(tmp_path, as_fuma(pulse_response([(300, 0.5, 30, 10)])))
    assert "direct sound of 1 file(s) comes from more than 30 degrees away" in caplog.text


@pytest.mark.parametrize(
    ("convert", "words", "level"),
    [
        (as_n3d, ",sn3d", "+4.8 dB against"),
        (lambda x: x, ",n3d", "-4.8 dB against"),
        (as_fuma, "fuma,sn3d", "+3.0 dB against"),
    ],
)
def test_a_wrong_normalisation_is_warned_of(tmp_path, caplog, convert, words, level):
    audio = pulse_response([(300, 0.5, 30, 10)])
    _one(tmp_path, convert(audio), f"30,10,2,hall,{words}")
    assert level in caplog.text


def test_columns_of_other_names_are_read(tmp_path, caplog):
    folder = write_responses(tmp_path / "rirs", {"a.wav": pulse_response([(9, 0.5, -8, 2)])}, [])
    header = "split,file,rate,direct_azimuth_deg,direct_elevation_deg,distance_m"
    (folder / "metadata.csv").write_text(f"{header}\ntest,a.wav,24000,-8,2,3.5\n")
    (response,) = _prepared(folder)
    assert (response.direction_deg, response.distance_m) == ((-8.0, 2.0), 3.5)
    assert "every file counts as a place of its own" in caplog.text


def test_files_without_a_row_are_counted(tmp_path, caplog):
    folder = anechoic_folder(tmp_path / "rirs", [(0, 0)])
    soundfile.write(folder / "more.wav", np.zeros((9, 4)), RATE_HZ)
    _prepared(folder)
    assert "1 file(s) without a row in metadata.csv are not used: more.wav" in caplog.text


def test_the_digest_follows_table_and_sizes(tmp_path):
    folder = anechoic_folder(tmp_path / "rirs", [(0, 0), (90, 0)])
    first = response_digest(folder)
    soundfile.write(folder / "r1.wav", np.zeros((9, 4)), RATE_HZ)
    second = response_digest(folder)
    table = folder / "metadata.csv"
    table.write_text(table.read_text().replace("90", "91"))
    assert len({first, second, response_digest(folder)}) == 3 and response_digest(None) is None


SPLITS = {1: "split 1", 2: "split 2", 4: "split 4"}


def _dealt(places, wanted=(1, 2, 4), seed=0):
    return deal_places(places, SPLITS, wanted, random_stream(seed, "deal"), Path("rirs"))


def test_places_are_dealt_whole_and_never_shared(tmp_path):
    folder = anechoic_folder(tmp_path / "rirs", [(angle, 0) for angle in range(0, 70, 10)])
    (tmp_path / "scratch").mkdir()
    places = prepare_places(folder, "foa", RATE_HZ, tmp_path / "scratch", ONE)
    dealt = _dealt(places)
    names = [place.name for found in dealt.values() for place in found]
    assert sorted(names) == sorted(place.name for place in places)
    assert sorted(map(len, dealt.values())) == [2, 2, 3]
    assert _dealt(places[::-1], wanted=(1,)).keys() == dealt.keys()
    assert any(_dealt(places, seed=seed) != dealt for seed in range(1, 4))


def test_too_few_places_for_the_splits_are_refused(tmp_path):
    folder = anechoic_folder(tmp_path / "rirs", [(0, 0), (90, 0)])
    (tmp_path / "scratch").mkdir()
    places = prepare_places(folder, "foa", RATE_HZ, tmp_path / "scratch", ONE)
    assert [len(found) for found in _dealt(places, wanted=(1, 2)).values()] == [1, 1, 0]
    with pytest.raises(DataError, match=r"2 place\(s\), none for split 4"):
        _dealt(places)


def test_sofa_without_its_package_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sofar", None)
    with pytest.raises(ConfigError, match=r"needs the package sofar.*\.\[sofa\]"):
        read_sofa(tmp_path / "a.sofa", "metadata.csv, line 2")


def _write_sofa(path: Path, convention="SingleRoomSRIR", **values):
    sofar = pytest.importorskip("sofar")
    data = sofar.Sofa(convention)
    for name, value in values.items():
        setattr(data, name, value)
    if convention == "SingleRoomSRIR":  # texts that sofar 1.3 makes, but cannot write
        data.delete("ReceiverDescriptions")
        data.delete("EmitterDescriptions")
    sofar.write_sofa(str(path), data)


def _srir(**more):
    """Two sources around a listener at (1, 2, 1.5) that looks to the left, along y."""
    left, above = pulse_response([(300, 0.5, 0, 0)]), pulse_response([(200, 0.5, 90, 30)])
    return {
        "Data_IR": np.stack([left.T, above.T]),
        "Data_SamplingRate": RATE_HZ,
        "Data_Delay": np.zeros((1, 4)),
        "ReceiverPosition": np.zeros((4, 3)),
        "ReceiverView": np.tile([1.0, 0.0, 0.0], (4, 1)),
        "ReceiverUp": np.tile([0.0, 0.0, 1.0], (4, 1)),
        "ListenerPosition": np.tile([1.0, 2.0, 1.5], (2, 1)),
        "ListenerView": np.tile([0.0, 1.0, 0.0], (2, 1)),
        "ListenerUp": np.tile([0.0, 0.0, 1.0], (2, 1)),
        "SourcePosition": np.array([[1.0, 5.0, 1.5], [1 - 3.4641016, 2.0, 3.5]]),
        "SourceView": np.tile([1.0, 0.0, 0.0], (2, 1)),
        "SourceUp": np.tile([0.0, 0.0, 1.0], (2, 1)),
        "MeasurementDate": np.zeros(2),
        **more,
    }


def test_sofa_files_have_directions_as_seen_by_the_listener(tmp_path):
    folder = write_responses(tmp_path / "rirs", {}, ["a.sofa,,,,hall,acn,sn3d"])
    _write_sofa(folder / "a.sofa", **_srir())
    front, left = _prepared(folder)
    assert front.direction_deg == pytest.approx((0, 0)) and front.distance_m == pytest.approx(3)
    assert left.direction_deg == pytest.approx((90, 30)) and left.distance_m == pytest.approx(4)
    assert angle_deg(_vector(received(left, FOA)), 90, 30) < 0.01


def test_a_general_sofa_file_of_one_response_is_read(tmp_path):
    given = {
        "Data_IR": pulse_response([(300, 2.0, -45, 10)]).T[None],
        "Data_SamplingRate": RATE_HZ,
        "Data_Delay": np.zeros((1, 4)),
        "ReceiverPosition": np.zeros((4, 3)),
        "SourcePosition": np.array([[315.0, 10.0, 2.5]]),
        "SourcePosition_Type": "spherical",
        "SourcePosition_Units": "degree, degree, metre",
    }
    folder = write_responses(tmp_path / "rirs", {}, ["a.sofa,,,,hall,,"])
    _write_sofa(folder / "a.sofa", "GeneralFIR", **given)
    (response,) = _prepared(folder)
    assert response.direction_deg == pytest.approx((-45, 10))
    assert response.distance_m == pytest.approx(2.5)
    assert angle_deg(_vector(received(response, FOA)), -45, 10) < 0.01


def test_delays_of_sofa_receivers_are_kept(tmp_path):
    folder = write_responses(tmp_path / "rirs", {}, [])
    delays = np.array([[10.0, 10.0, 13.0, 10.0]])
    _write_sofa(folder / "a.sofa", **_srir(Data_Delay=delays))
    audio = read_sofa(folder / "a.sofa", "line 2")[1][0]
    assert np.flatnonzero(audio[:, 0]).tolist() == [200]
    assert np.flatnonzero(audio[:, 2]).tolist() == [203]


@pytest.mark.parametrize(
    ("convention", "values", "message"),
    [
        ("SimpleFreeFieldHRIR", {}, "has the SOFA convention SimpleFreeFieldHRIR. Expected"),
        ("SingleRoomSRIR", {"ListenerView": np.zeros((2, 3))}, "ListenerView and ListenerUp"),
        ("SingleRoomSRIR", {"Data_SamplingRate": 1.0}, "Data.SamplingRate is"),
    ],
)
def test_an_unusable_sofa_file_is_refused(tmp_path, convention, values, message):
    given = {**_srir(), **values} if convention == "SingleRoomSRIR" else {}
    _write_sofa(tmp_path / "a.sofa", convention, **given)
    with pytest.raises(DataError, match=f"line 2: .*{message}"):
        read_sofa(tmp_path / "a.sofa", "metadata.csv, line 2")


def test_a_file_that_is_no_sofa_is_refused(tmp_path):
    pytest.importorskip("sofar")
    (tmp_path / "a.sofa").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="cannot be read as SOFA"):
        read_sofa(tmp_path / "a.sofa", "metadata.csv, line 2")
