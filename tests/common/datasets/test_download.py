"""Fetching datasets: only from a local server, with stubs for missing libraries."""

import functools
import hashlib
import http.server
import sys
import threading
import urllib.request
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from common.cli.download import main
from common.datasets import download
from common.datasets.download import Package, Source, fetch_all, sources_of, with_sizes
from common.errors import ConfigError, DataError
from common.settings.tasks import load_task
from tests.split_zip import write_split_zip

PARAMS = Path(__file__).parents[3] / "params.yaml"


def load(task_id: str, *overrides: str):
    return load_task(PARAMS, task_id, overrides)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Logs nothing."""


@pytest.fixture
def server(tmp_path):
    """A folder and the address that it is served at."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def install(monkeypatch, name: str, **contents) -> None:
    """Makes a module with these contents importable."""
    module = ModuleType(name)
    vars(module).update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def soundata_download(remote, save_dir, force_overwrite):
    """Substitute for soundata's function: fetches missing files, then compares checksums."""
    path = Path(save_dir) / remote.filename
    path.parent.mkdir(parents=True, exist_ok=True)
    if force_overwrite or not path.exists():
        urllib.request.urlretrieve(remote.url, path)
    if hashlib.md5(path.read_bytes()).hexdigest() != remote.checksum:
        raise OSError(f"{path} has an MD5 checksum differing from expected")
    return str(path)


@pytest.fixture
def tau(server, monkeypatch):
    """A small TAU 2019 on the server, as soundata lists it."""
    folder, address = server
    audio = {f"foa_dev/split1_ir0_ov1_{n}.wav": bytes([n]) * 600 for n in range(3)}
    parts = write_split_zip(folder / "foa_dev.zip", audio, (500, 1100))
    with zipfile.ZipFile(folder / "metadata_dev.zip", "w") as archive:
        archive.writestr("metadata_dev/split1_ir0_ov1_0.csv", "sound_event_recording\n")

    def remote(path):
        checksum = hashlib.md5(path.read_bytes()).hexdigest()
        return SimpleNamespace(
            filename=path.name, url=f"{address}/{path.name}?download=1", checksum=checksum
        )

    remotes = {
        "foa_dev": [remote(part) for part in parts],
        "metadata_dev": remote(folder / "metadata_dev.zip"),
    }
    install(monkeypatch, "soundata.datasets.tau2019sse", REMOTES=remotes)
    install(monkeypatch, "soundata.download_utils", download_from_remote=soundata_download)
    return folder


def test_tau_2019_comes_in_parts_with_checksums_and_is_unpacked(tau, tmp_path, capsys):
    target = tmp_path / "tau2019"
    assert main(["1", "--yes", "--folder", str(target), "--params", str(PARAMS)]) == 0
    assert (
        len(list((target / "foa_dev").glob("*.wav"))) == 3
        and len(list((target / "metadata_dev").iterdir())) == 1
    )
    text = capsys.readouterr().out
    assert "foa_dev.z01" in text and "unpacked about 9.2 GB" in text
    assert f"python -m common.cli.check_dataset 1 --set dataset_dir={target}" in text


def test_an_interrupted_download_is_fetched_again(tau, tmp_path):
    (source,) = sources_of(load("1"))
    (tmp_path / "foa_dev.z01").write_bytes(b"half")
    source.fetch(tmp_path)
    assert (tmp_path / "foa_dev" / "split1_ir0_ov1_2.wav").stat().st_size == 600


def test_a_file_with_another_checksum_is_an_error(tau, tmp_path):
    sources = sources_of(load("1"))
    (tau / "foa_dev.z02").write_bytes(b"something else")
    with pytest.raises(
        DataError, match=r"TAU Spatial Sound Events 2019.*fetching failed .*MD5 checksum"
    ):
        fetch_all([Source(each.title, fetch=each.fetch) for each in sources], tmp_path)


def test_the_dry_run_prints_sizes_and_downloads_nothing(tau, tmp_path, capsys):
    assert main(["1", "--dry-run", "--folder", str(tmp_path / "to"), "--params", str(PARAMS)]) == 0
    text = capsys.readouterr().out
    assert (
        "0.0 MB  http://127.0.0.1" in text
        and "size not known" not in text
        and "Nothing was fetched" in text
    )
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    ("answer", "fetched"), [("n", False), ("", False), (None, False), ("y", True)]
)
def test_nothing_is_fetched_without_a_yes(tau, tmp_path, monkeypatch, answer, fetched):
    def reply(question):
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", reply)
    assert main(["1", "--folder", str(tmp_path / "to"), "--params", str(PARAMS)]) == 0
    assert (tmp_path / "to" / "foa_dev").is_dir() == fetched


def test_a_server_without_response_leaves_the_size_unknown():
    source = Source("x", (Package("http://127.0.0.1:9/a"), Package("http://127.0.0.1:9/b")))
    assert [package.n_bytes for package in with_sizes(source).packages] == [None, None]


def test_too_little_space_is_reported_before_any_download(tmp_path):
    calls = []
    with pytest.raises(DataError, match=r"too little room. Expected: 1000000000\.0 GB"):
        fetch_all(
            [Source("x", unpacked_bytes=10**18, fetch=calls.append)], tmp_path / "new" / "folder"
        )
    assert not calls


def test_files_of_an_earlier_try_need_no_space_again(tmp_path, monkeypatch):
    (tmp_path / "archive.zip").write_bytes(bytes(600))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=500))
    calls = []
    fetch_all([Source("x", (Package("http://127.0.0.1:9/a", 600),), 400, calls.append)], tmp_path)
    assert calls == [tmp_path]


def test_a_missing_library_is_named_with_the_command():
    with pytest.raises(ConfigError, match=r"needs the package soundata.*pip install 'soundata>=1'"):
        download.library("soundata.no_such_module", "soundata", ">=1")


def test_simulated_data_are_not_fetched():
    with pytest.raises(ConfigError, match="simulated, there is nothing to fetch"):
        sources_of(load("demo"))


def test_datasets_without_a_library_are_named(capsys):
    assert main(["crnn", "--params", str(PARAMS)]) == 0
    text = capsys.readouterr().out
    assert (
        "DCASE-REPO/dcase2018_baseline" in text and "82 GB" in text and "fetch it by hand" in text
    )


def test_desed_fetches_the_clips_into_their_folder_only(tmp_path, monkeypatch):
    calls = []

    def data(folder, **which):
        calls.append((folder, which))
        Path("tmp").mkdir()  # as it does, and then removes

    def clips(table, folder):
        calls.append((table, folder))

    install(
        monkeypatch,
        "desed.download",
        download_audioset_data=data,
        download_audioset_files_from_csv=clips,
    )
    monkeypatch.chdir(tmp_path)
    source, synthetic = (
        sources_of(load("cnn9-synthetic-weak"))[0],
        sources_of(load("cnn9-synthetic-weak"))[-1],
    )
    source.fetch(Path("desed"))
    folder = tmp_path / "desed"
    assert calls[0] == (
        str(folder),
        {"weak": True, "unlabel_in_domain": False, "validation": False},
    )
    assert calls[1] == (
        str(folder / "metadata/validation/validation.tsv"),
        str(folder / "audio/validation"),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["desed"] and not list(
        folder.iterdir()
    )
    assert synthetic.fetch is None and "10.5281/zenodo.2583796" in synthetic.remark


def test_dcase_util_fetches_the_scenes_where_they_are_read(server, tmp_path, monkeypatch):
    from dcase_util.datasets import TUTUrbanAcousticScenes_2018_DevelopmentSet as Scenes

    scenes, sounds = sources_of(load("segmentation"))
    assert sum(package.n_bytes for package in scenes.packages) == pytest.approx(21.4e9, rel=0.01)
    assert sounds.fetch is None and "10.5281/zenodo.2552860" in sounds.remark
    folder, address = server
    name = "TUT-urban-acoustic-scenes-2018-development"
    with zipfile.ZipFile(folder / "scenes.zip", "w") as archive:
        archive.writestr(
            f"{name}/meta.csv",
            "filename\tscene_label\tidentifier\tsource_label\naudio/a.wav\tbus\tx\ta\n",
        )
        archive.writestr(f"{name}/audio/a.wav", b"RIFF")
    package = {
        "content_type": ["audio", "meta"],
        "remote_file": f"{address}/scenes.zip",
        "remote_md5": hashlib.md5((folder / "scenes.zip").read_bytes()).hexdigest(),
        "filename": str(tmp_path / "data" / name / "scenes.zip"),
    }
    monkeypatch.setattr(
        Scenes, "download_packages", _with_packages([package], Scenes.download_packages)
    )
    scenes.fetch(tmp_path / "data")
    assert (tmp_path / "data" / name / "audio" / "a.wav").read_bytes() == b"RIFF"
    assert (tmp_path / "data" / name / "meta.csv").is_file()


def _with_packages(packages, method):
    """The method of a dataset, with other packages in place of the published ones."""

    def call(self):
        self.package_list = packages
        return method(self)

    return call


@pytest.mark.parametrize(
    ("task_id", "module", "gigabytes"),
    [
        ("seldnet2020-foa", "tau2020sse_nigens", "6.9"),
        ("seldnet2021-foa", "tau2021sse_nigens", "6.9"),
        ("seldnet2022-foa-multi", "starss2022", "3.5"),
    ],
)
def test_later_datasets_come_from_their_module(monkeypatch, task_id, module, gigabytes):
    names = ("foa_dev", "metadata_dev")
    remotes = {
        name: SimpleNamespace(filename=f"{name}.zip", url=f"http://a/{name}.zip") for name in names
    }
    install(monkeypatch, f"soundata.datasets.{module}", REMOTES=remotes)
    source, *by_hand = sources_of(load(task_id))
    assert [package.url for package in source.packages] == [
        "http://a/foa_dev.zip",
        "http://a/metadata_dev.zip",
    ]
    assert f"{source.unpacked_bytes / 1e9:.1f}" == gigabytes and source.fetch is not None
    assert all(each.fetch is None and "dev-train-synth" in each.remark for each in by_hand)
    assert len(by_hand) == (task_id == "seldnet2022-foa-multi")


@pytest.mark.parametrize("task_id", ["seldnet2023-foa-multi", "seldnet2025-stereo"])
def test_datasets_that_no_library_offers_are_fetched_by_hand(task_id):
    source, *_ = sources_of(load(task_id))
    assert source.fetch is None and "metadata_dev/" in source.remark
