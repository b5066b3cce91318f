"""The wheel, in an environment of its own and an empty folder, gives working console commands."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from common.__main__ import VERBS
from tests.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    "setup.cfg",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "params.yaml",
    "params.schema.json",
)
PACKAGES = ("common", "seld", "sed_task4")


def _run(*command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    # No setting of the outer environment may lead the commands back to the checkout, or to the
    # network.
    variables = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_"))
    }
    variables |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return subprocess.run(
        [*map(str, command)],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def _checked(*command: str | Path, folder: Path) -> str:
    result = _run(*command, folder=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Builds the wheel from a copy of the sources, so that the checkout stays clean."""
    sources, wheels = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheels")
    for name in SOURCES:
        shutil.copy(ROOT / name, sources)
    for name in filter(lambda name: (ROOT / name).is_dir(), PACKAGES):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-build-isolation", "--no-deps", "--wheel-dir", str(wheels)]
    _checked(sys.executable, "-m", "pip", "wheel", *options, sources, folder=wheels)
    (built,) = wheels.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def commands(wheel, tmp_path_factory) -> Path:
    """Installs the wheel with this environment's packages; returns the folder of commands."""
    home = tmp_path_factory.mktemp("installed") / "env"
    _checked(sys.executable, "-m", "venv", "--without-pip", home, folder=home.parent)
    places = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})
    dependencies = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(places["purelib"]) / "dependencies.pth").write_text(
        "\n".join(sorted(dependencies)) + "\n"
    )
    pip = [sys.executable, "-m", "pip", "--python", home / "bin" / "python"]
    _checked(*pip, "install", "--no-deps", "--force-reinstall", wheel, folder=home.parent)
    return home / "bin"


def test_wheel_is_for_any_platform_and_has_only_the_packages(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name.endswith("-py3-none-any.whl")
    assert {name.split("/")[0].split("-")[0] for name in names} <= {*PACKAGES, "dcase_keras"}


def test_the_installed_packages_are_those_of_the_wheel(commands, tmp_path):
    code = "import common, seld; print(common.__file__); print(seld.__file__)"
    for line in _checked(commands / "python", "-c", code, folder=tmp_path).split():
        assert Path(line).is_relative_to(commands.parent)


def test_training_lists_the_tasks_of_the_params_it_carries(commands, tmp_path):
    listed = {
        line.split()[0]
        for line in _checked(commands / "dcase", "train", "--list", folder=tmp_path).splitlines()
        if line
    }
    assert {"seldnet-foa", "seldnet-mic-published", "seldnet-quick", "demo"} <= listed


def test_training_writes_its_params_once_and_never_over_others(commands, tmp_path):
    _checked(commands / "dcase", "train", "--write-params", folder=tmp_path)
    assert (tmp_path / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()
    again = _run(commands / "dcase", "train", "--write-params", folder=tmp_path)
    assert again.returncode == 2
    assert "exists and is not overwritten" in again.stderr


def test_the_schema_is_found_where_it_was_installed(commands, tmp_path):
    code = "from common.cli.base import packaged_file; print(packaged_file('params.schema.json'))"
    found = Path(_checked(commands / "python", "-c", code, folder=tmp_path).strip())
    assert found.is_relative_to(commands.parent)
    assert found.read_bytes() == (ROOT / "params.schema.json").read_bytes()


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(commands, tmp_path, verb):
    text = _checked(commands / "dcase", verb, "--help", folder=tmp_path)
    assert text.startswith(f"usage: dcase {verb} ")
    assert not list(tmp_path.iterdir())


def test_the_command_prints_its_verbs_and_version(commands, tmp_path):
    listed = _checked(commands / "dcase", "--help", folder=tmp_path)
    assert all(f"  {verb} " in listed and meaning in listed for verb, meaning in VERBS.items())
    assert _checked(commands / "dcase", "--version", folder=tmp_path) == "dcase-keras 0.1.0\n"


def test_the_templates_of_pages_are_installed(commands, tmp_path):
    code = "from common.display.page import Page, render; print(len(render(Page('a', 'b'))))"
    assert int(_checked(commands / "python", "-c", code, folder=tmp_path)) > 5000


def test_an_unknown_task_is_one_clear_line(commands, tmp_path):
    result = _run(commands / "dcase", "train", "17", "x", folder=tmp_path)
    assert result.returncode == 2
    assert "Unknown task id" in result.stderr and "--list" in result.stderr
    assert "Traceback" not in result.stderr
