"""Packages that only some commands need: checked before any work, and named with a remedy."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from common.cli import download, export, extract, import_torch, predict, simulate, tune
from common.errors import ConfigError
from common.runtime import optional
from common.runtime.optional import leave_out_unused, optional_module, unused_left_out
from sed_task4 import cli as clips
from sed_task4.segmentation import cli as segmentation
from sed_task4.segmentation import mixing, segmenter
from seld import cli as seld
from tests.runs import CNN, PARAMS, SEGMENTATION, task_of, write_run

ROOT = Path(__file__).parents[3]
DASK = ("--set", "parallel.backend=dask")
TORCH, JAX = ("--set", "run.backend=torch"), ("--set", "run.backend=jax")
# By name of the case: command, its arguments, the package, and what installs it.
COMMANDS = {
    "train on torch": (seld.main, ["demo", "x", *TORCH], "torch", '".[torch]"'),
    "train on jax": (seld.main, ["demo", "x", *JAX], "jax", '".[jax]"'),
    "train clips on torch": (clips.main, ["crnn-demo", "x", *TORCH], "torch", '".[torch]"'),
    "segmentation on jax": (segmentation.main, ["segmentation-demo", "x", *JAX], "jax", '".[jax]"'),
    "search on torch": (
        tune.main,
        ["demo", "--over", "network.dropout=0:1", *TORCH],
        "torch",
        '".[torch]"',
    ),
    "search": (tune.main, ["demo", "--over", "network.dropout=0:1"], "optuna", '".[tune]"'),
    "predict": (predict.main, ["{run}", "{run}/a.wav"], "torch", '".[torch]"'),
    "separate": (segmenter.main, ["{segmented}", "{run}/a.wav"], "torch", '".[torch]"'),
    "export to onnx": (export.main, ["{run}", "--format", "onnx"], "tf2onnx", '".[export]"'),
    "import": (
        import_torch.main,
        ["a.pt", "--task", "cnn9", "--out", "a.keras"],
        "torch",
        '".[torch]"',
    ),
    "export to torch": (
        import_torch.main,
        ["--export", "a.keras", "--task", "cnn9", "--out", "a.pt"],
        "torch",
        '".[torch]"',
    ),
    "extract on dask": (extract.main, ["demo", *DASK], "distributed", "dask[distributed]"),
    "simulate on dask": (simulate.main, ["demo", *DASK], "distributed", "dask[distributed]"),
    "mix on dask": (mixing.main, ["segmentation", *DASK], "distributed", "dask[distributed]"),
    "download": (download.main, ["1", "--dry-run"], "soundata", "pip install 'soundata"),
}
STATES = ("missing", "broken")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    tasks = {"run": ("cnn9-demo", CNN), "segmented": ("segmentation-demo", SEGMENTATION)}
    for name, (task_id, sizes) in tasks.items():
        settings = {"run.backend": "torch", "run.device": "cpu"} | sizes
        write_run(task_of(task_id, folder, **settings), folder / name)
        soundfile.write(folder / name / "a.wav", np.zeros(32000), 32000)
    return {name: str(folder / name) for name in tasks}


@pytest.fixture(params=STATES)
def without(request, monkeypatch, tmp_path):
    """Makes a package missing, or fail while it is imported."""

    def remove(package: str) -> str:
        if request.param == "missing":
            monkeypatch.setitem(sys.modules, package, None)  # Python then takes it for missing
            return "is not installed"
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        (tmp_path / f"{package}.py").write_text(
            "raise OSError('libodd.so.7: cannot open shared object file')\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        return (
            "is installed but cannot be imported (OSError: libodd.so.7: cannot open shared object"
            " file)"
        )

    return remove


@pytest.mark.parametrize("case", COMMANDS)
def test_a_command_names_the_package_it_lacks(case, runs, without, tmp_path, monkeypatch, capsys):
    for name in ("KERAS_BACKEND", "CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS"):  # put back afterwards
        monkeypatch.setenv(name, "")
    main, arguments, package, extra = COMMANDS[case]
    problem = without(package)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here/params.yaml").write_text(PARAMS.read_text())
    assert main([part.format(**runs) for part in arguments]) == ConfigError.status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and f"needs the package {package}, which {problem}" in line
    assert (extra if "not installed" in problem else f"--force-reinstall {package}") in line
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["params.yaml"], (
        "nothing was begun"
    )


def test_a_missing_dependency_is_not_reported_as_the_package(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        ConfigError, match=r"is installed but cannot be imported .*surely_not_installed"
    ):
        optional_module("half_there", "This test", "Install it.")
    with pytest.raises(ConfigError, match=r"half_there_too, which is not installed\. Install it\."):
        optional_module("half_there_too.part", "This test", "Install it.")


@pytest.fixture
def small_package(tmp_path, monkeypatch):
    """A package that is among those to leave out; what this process does is put back."""
    (tmp_path / "seldom_used.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(optional, "_UNUSED", ("seldom_used",))
    monkeypatch.setattr(optional, "_process", {"leaves out": False})
    yield "seldom_used"
    sys.modules.pop("seldom_used", None)


def test_an_unused_package_is_missing_only_while_others_load(small_package):
    leave_out_unused()
    with pytest.raises(RuntimeError, match="stopped"), unused_left_out():
        with pytest.raises(ImportError):
            importlib.import_module(small_package)
        raise RuntimeError("stopped")
    assert small_package not in sys.modules
    importlib.import_module(small_package)
    with unused_left_out():  # what is loaded stays
        assert importlib.import_module(small_package) is sys.modules[small_package]
    assert sys.modules[small_package] is not None


def test_programs_that_import_the_project_keep_all_packages(small_package):
    with unused_left_out():
        importlib.import_module(small_package)


COMMAND = """
import importlib, sys
from common.cli.base import run_safely

def work(arguments):
    from common.runtime.backend import start_backend
    from common.settings.tasks import RunConfig
    start_backend(RunConfig(device="cpu"))
    print(*({"jax", "matplotlib", "pandas", "sklearn"} & set(sys.modules)))
    import tensorflow as tf
    doubled = tf.function(lambda x: 2.0 * x).get_concrete_function(tf.TensorSpec((1, 3)))
    print(len(tf.lite.TFLiteConverter.from_concrete_functions([doubled]).convert()) > 500)
    for name in ("jax.numpy", "matplotlib.pyplot", "pandas", "sklearn.metrics"):
        importlib.import_module(name)

run_safely(work, [])
"""


def test_a_command_loads_keras_alone_and_can_load_the_rest():
    command = [sys.executable, "-c", COMMAND]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    loaded, *_, has_converted = done.stdout.splitlines()
    assert (loaded, has_converted) == ("", "True")
