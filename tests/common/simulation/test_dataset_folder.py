"""The folder of a simulated dataset."""

import pytest

from common.errors import DataError
from common.simulation.dataset_folder import (
    SETTINGS_FILE,
    as_stored,
    check_finished,
    finish_root,
    prepare_root,
    read_settings,
    scratch_folder,
    source_digest,
    text_digest,
)

SETTINGS = {"seed": 1, "clips": 3}


def _prepare(root, settings=SETTINGS, **options):
    prepare_root(root, settings, [root / "audio"], "a real dataset", **options)


def test_a_new_folder_stores_its_settings_and_a_readme(tmp_path):
    _prepare(tmp_path / "new")
    assert "SIMULATED" in (tmp_path / "new" / "README.md").read_text()
    assert "a real dataset" in (tmp_path / "new" / "README.md").read_text()
    assert read_settings(tmp_path / "new" / SETTINGS_FILE) == SETTINGS


def test_same_settings_keep_recordings_and_remove_temporaries(tmp_path):
    _prepare(tmp_path)
    (tmp_path / "audio").mkdir()
    whole, half = tmp_path / "audio" / "a.wav", tmp_path / "audio" / ".b.wav.9.tmp"
    whole.touch()
    half.touch()
    _prepare(tmp_path)
    assert whole.exists() and not half.exists()


def test_a_dataset_is_finished_after_its_simulation_only(tmp_path):
    check_finished(tmp_path)  # not simulated
    _prepare(tmp_path)
    with pytest.raises(
        DataError, match=r"was not finished: recordings are missing. Run the same `simulate.py`"
    ):
        check_finished(tmp_path)
    finish_root(tmp_path, SETTINGS)
    check_finished(tmp_path)
    _prepare(tmp_path)  # more recordings of the same settings
    with pytest.raises(DataError, match="was not finished"):
        check_finished(tmp_path)


def test_scratch_is_hidden_and_removed_after_killed_runs(tmp_path):
    left = tmp_path / ".sounds.left.tmp"
    left.mkdir()
    (left / "bank.npy").touch()
    with scratch_folder(tmp_path) as scratch:
        (scratch / "bank.npy").touch()
        assert scratch.parent == tmp_path and scratch.name[0] == "." and not left.exists()
    assert not list(tmp_path.iterdir())
    with pytest.raises(DataError), scratch_folder(tmp_path / "new"):
        raise DataError("before anything is written")
    assert not (tmp_path / "new").exists()


def test_other_settings_are_refused_without_overwrite(tmp_path):
    _prepare(tmp_path)
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "a.wav").touch()
    with pytest.raises(DataError, match=r"seed: 1 there, 2 wanted"):
        _prepare(tmp_path, {"seed": 2, "clips": 3})
    _prepare(tmp_path, {"seed": 2, "clips": 3}, overwrite=True)
    assert not (tmp_path / "audio" / "a.wav").exists()
    assert read_settings(tmp_path / SETTINGS_FILE) == {"seed": 2, "clips": 3}


@pytest.mark.parametrize("overwrite", [False, True])
def test_recordings_that_were_not_simulated_are_never_touched(tmp_path, overwrite):
    (tmp_path / "audio").mkdir()
    (tmp_path / "audio" / "a.wav").touch()
    with pytest.raises(DataError, match=r"not simulated, such as .*a\.wav"):
        _prepare(tmp_path, overwrite=overwrite)
    assert (tmp_path / "audio" / "a.wav").exists() and not (tmp_path / SETTINGS_FILE).exists()


@pytest.mark.parametrize("content", ["{", "[1]", '{"other": 1}', '{"settings": 1}', "[" * 9999])
def test_unreadable_settings_are_refused(tmp_path, content):
    (tmp_path / SETTINGS_FILE).write_text(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_settings(tmp_path / SETTINGS_FILE)


def test_settings_are_compared_as_json_stores_them():
    assert as_stored({"range": (1, 2), "splits": {1: 2}}) == {"range": [1, 2], "splits": {"1": 2}}


def test_digests_differ_for_other_texts_and_recordings(tmp_path):
    assert text_digest([]) is None and source_digest(None) is None
    assert text_digest(["a", "b"]) != text_digest(["b", "a"])
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "1.wav").write_bytes(b"12")
    before = source_digest(tmp_path)
    (tmp_path / "dog" / "1.wav").write_bytes(b"123")
    assert source_digest(tmp_path) != before
