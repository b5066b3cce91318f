"""Findings about datasets, and their reports."""

import numpy as np
import pytest
import soundfile

from common.audio.files import write_wav
from common.datasets.checks import (
    DatasetReport,
    bandwidth_hz,
    check_audio,
    check_bandwidths,
    check_classes,
    check_copies,
    count_classes,
    examine,
    polyphony,
    same_class_overlaps,
)
from common.settings.parallel import ParallelConfig

RATE = 8000
ONE = ParallelConfig(jobs=1)


def noise(seconds=1.0, channels=2, level=0.1):
    return np.random.default_rng(0).uniform(-level, level, (round(seconds * RATE), channels))


def report_of(folder, files, deep=True, **wanted):
    """Writes files by name; returns the findings of `check_audio`."""
    for name, audio in files.items():
        write_wav(folder / name, audio, RATE)
    report = DatasetReport()
    check_audio(report, examine(sorted(folder.iterdir()), deep, ONE), "dev", **wanted)
    return report


def test_good_files_give_a_table_and_no_finding(tmp_path):
    report = report_of(
        tmp_path,
        {"a.wav": noise(), "b.wav": noise()},
        sample_rate_hz=RATE,
        channels=2,
        duration_s=1.0,
    )
    assert report.usable and not report.findings
    assert report.tables[0].rows == [["2", "0.00", "1.00", "1.00", "1.00", "8000", "2"]]
    assert report.to_text().splitlines()[-1] == "The dataset can be used: 0 error(s), 0 warning(s)."


@pytest.mark.parametrize("deep", [False, True])
def test_rate_channels_and_lengths_show_in_the_headers(tmp_path, deep):
    files = {"long.wav": noise(1.5), "mono.wav": noise(channels=1), "short.wav": noise(0.5)}
    report = report_of(tmp_path, files, deep, sample_rate_hz=16000, channels=2, duration_s=1.0)
    assert [(each.level, each.text.split(":")[-1].strip()) for each in report.findings] == [
        ("error", "long.wav, mono.wav, short.wav."),
        ("error", "mono.wav."),
        ("warning", "short.wav."),
        ("warning", "long.wav."),
    ]
    assert "16000 Hz, as in `dataset.sample_rate_hz`, but 8000" in report.findings[0].text


def test_unreadable_files_are_counted_with_the_first_reason(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"no sound")
    write_wav(tmp_path / "b.wav", noise(), RATE)
    (tmp_path / "b.wav").write_bytes((tmp_path / "b.wav").read_bytes()[:-100])
    (tmp_path / "c.wav").touch()
    report = report_of(tmp_path, {}, deep=False)
    (finding,) = report.findings
    assert finding.level == "error" and "3 file(s) cannot be read" in finding.text
    assert "Not a readable sound file" in finding.text and finding.text.endswith(
        "a.wav, b.wav, c.wav."
    )


@pytest.mark.parametrize("deep", [False, True])
def test_oddities_of_used_files_are_one_warning_each(tmp_path, deep):
    for name in ("a", "b"):
        write_wav(tmp_path / f"{name}.wav", noise(), RATE)
        content = bytearray((tmp_path / f"{name}.wav").read_bytes())
        content[40:44] = b"\xff\xff\xff\xff"  # as a stream
        (tmp_path / f"{name}.wav").write_bytes(content)
    report = report_of(tmp_path, {}, deep)
    (finding,) = report.findings
    assert (
        finding.level == "warning"
        and "2 recording(s), such as" in finding.text
        and "as of a stream" in finding.text
    )


def test_decoding_finds_silence_dead_or_equal_channels_clipping_nan(tmp_path):
    half = noise()
    half[:, 1] = 0
    soundfile.write(tmp_path / "nan.wav", np.full((100, 2), np.nan), RATE, subtype="FLOAT")
    files = {
        "silent.wav": np.zeros((100, 2)),
        "half.wav": half,
        "equal.wav": np.repeat(noise(channels=1), 2, axis=1),
        "clipped.wav": np.clip(noise(level=1.2), -1, 1),
        "good.wav": noise(),
    }
    report = report_of(tmp_path, files)
    found = {each.text.split(":")[-1].strip(): each.level for each in report.findings}
    assert found == {
        "nan.wav.": "error",
        "silent.wav.": "warning",
        "half.wav.": "warning",
        "equal.wav.": "warning",
        "clipped.wav.": "warning",
    }
    assert not report_of(tmp_path, {}, deep=False).findings


def test_silence_is_an_error_where_it_is_refused(tmp_path):
    assert not report_of(tmp_path, {"a.wav": np.zeros((9, 1))}, silence_is_refused=True).usable


def test_only_copies_in_different_parts_are_errors(tmp_path):
    for name in ("a", "b", "c"):
        write_wav(tmp_path / f"{name}.wav", noise(), RATE)
    a, b, c = examine(sorted(tmp_path.iterdir()), True, ONE)
    report = DatasetReport()
    check_copies(report, {"split 1": [a, b], "split 2": []})
    assert report.usable
    check_copies(report, {"split 1": [a], "split 2": [c]})
    assert "c.wav (split 2) = a.wav (split 1)" in report.findings[0].text and not report.usable


def test_classes_are_counted_and_absent_ones_named():
    counts = count_classes(np.array([0, 2, 0]), np.array([1.0, 2.0, 0.5]), 3)
    assert [list(numbers) for numbers in counts] == [[2, 0, 1], [1.5, 0.0, 2.0]]
    report = DatasetReport()
    check_classes(report, ["a", "b", "c"], {"train": counts, "tags": (np.array([1, 1, 1]), None)})
    assert report.tables[0].rows == [
        ["a", "2 / 2 s", "1"],
        ["b", "0 / 0 s", "1"],
        ["c", "1 / 2 s", "1"],
    ]
    assert [each.text.split(":")[0] for each in report.findings] == ["train"]
    assert report.findings[0].text.endswith(": b.")


def test_overlaps_and_polyphony_are_counted_by_hand():
    onset, offset = np.array([0.0, 1.0, 2.0, 2.5]), np.array([3.0, 2.0, 2.5, 4.0])
    assert (
        polyphony(onset, offset) == 2
    )  # of the second, third and fourth event only one sounds at a time
    assert polyphony(np.zeros(0), np.zeros(0)) == 0
    assert same_class_overlaps(np.array([0, 0, 1, 1]), onset, offset) == 1
    assert (
        same_class_overlaps(np.array([0, 0, 0, 1]), onset, offset) == 2
    )  # both lie within the first


def test_a_report_names_few_files_and_lists_errors_first():
    report = DatasetReport()
    report.warn("some:", list("abcdefg"))
    report.error("bad.")
    assert report.to_text().splitlines() == [
        "error: bad.",
        "warning: some: a, b, c, d, e and 2 more.",
        "",
        "The dataset cannot be used as it is: 1 error(s), 1 warning(s).",
    ]
    assert report.to_dict()["findings"][0] == {
        "level": "warning",
        "text": "some: a, b, c, d, e and 2 more.",
    }


def low_passed(cutoff_hz: float, seed: int = 0) -> np.ndarray:
    """White noise of two seconds without anything above a frequency, by its spectrum."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).normal(size=32000))
    spectrum[np.fft.rfftfreq(32000, 1 / 16000) > cutoff_hz] = 0
    return 0.1 * np.fft.irfft(spectrum)


@pytest.mark.parametrize("cutoff_hz", [2000, 4000, 6500])
def test_a_cut_off_is_found_within_its_fall(cutoff_hz):
    assert bandwidth_hz(low_passed(cutoff_hz), 16000) == pytest.approx(cutoff_hz, abs=200)


def test_spectra_that_fall_slowly_have_no_cut_off():
    spectrum = np.fft.rfft(np.random.default_rng(1).normal(size=32000))
    frequencies = np.maximum(np.fft.rfftfreq(32000, 1 / 16000), 50)
    steep = np.fft.irfft(spectrum / frequencies**2)  # 12 dB an octave
    assert bandwidth_hz(steep, 16000) == 8000
    assert bandwidth_hz(np.zeros(16000), 16000) == 8000


def test_classes_of_different_bandwidth_are_told_with_their_counts(tmp_path):
    sounds = {}
    for name, cutoff_hz in (("full", 8000), ("narrow", 4000)):
        paths = [tmp_path / f"{name}{number}.wav" for number in range(2)]
        for number, path in enumerate(paths):
            write_wav(path, low_passed(cutoff_hz, number)[:, None], 16000)
        sounds[name] = examine(paths, True, ONE)
    report = DatasetReport()
    check_bandwidths(report, sounds, 8000.0)
    assert len(report.findings) == 1
    assert "full 0 of 2, narrow 2 of 2 (median 4" in report.findings[0].text
    alike = DatasetReport()
    check_bandwidths(alike, {"a": sounds["narrow"], "b": sounds["narrow"]}, 8000.0)
    check_bandwidths(alike, sounds, 3500.0)
    assert not alike.findings
