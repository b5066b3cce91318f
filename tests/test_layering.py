"""Imports point one way, and TensorFlow keeps to its rooms."""

import ast
import configparser
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = ("seld", "sed_task4")
TENSORFLOW_ROOMS = {
    f"common/{name}.py"
    for name in ("data/tfrecord", "data/pipeline", "runtime/distribution", "inference/export")
}


def _sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


PACKAGES = _sources("common", *FAMILIES)


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    with tokenize.open(path) as file:
        return ast.parse(file.read(), filename=str(path))


def _imports(tree: ast.Module, module: str) -> Iterator[str]:
    """Yields the dotted names that a module imports, wherever the statement stands, relative ones
    resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            parent = ".".join([*base, *([node.module] if node.module else [])])
            yield parent
            yield from (f"{parent}.{alias.name}" for alias in node.names)


def _top_imports(path: Path) -> set[str]:
    return {
        name.split(".")[0]
        for name in _imports(_tree(path), _name(path).removesuffix(".py").replace("/", "."))
    }


def _forbidden(files: Iterable[Path], modules: Iterable[str]) -> dict[str, set[str]]:
    """Returns, for each of the files that imports one of the modules, which ones."""
    return {_name(path): found for path in files if (found := _top_imports(path) & set(modules))}


def test_common_imports_no_family():
    assert not _forbidden(_sources("common"), FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_imports_no_other_family(family):
    assert not _forbidden(_sources(family), set(FAMILIES) - {family})


def test_task_4_proper_imports_nothing_of_segmentation():
    proper = [
        path for path in _sources("sed_task4") if "segmentation" not in path.relative_to(ROOT).parts
    ]
    modules = {_name(path): _name(path).removesuffix(".py").replace("/", ".") for path in proper}
    imported = {_name(path): set(_imports(_tree(path), modules[_name(path)])) for path in proper}
    room = "sed_task4.segmentation"
    assert not {
        name for name, found in imported.items() if any(each.startswith(room) for each in found)
    }


def test_nothing_imports_scripts_tests_or_benchmarks():
    scripts = {path.stem for path in ROOT.glob("*.py")} - set(
        FAMILIES
    )  # seld.py hands over to the package seld
    assert not _forbidden(PACKAGES, scripts | {"tests", "benchmarks"})


def test_tensorflow_is_imported_in_its_four_rooms_alone():
    assert _forbidden(PACKAGES, {"tensorflow"}).keys() <= TENSORFLOW_ROOMS


def test_models_layers_and_losses_name_no_backend():
    named = {"layers.py", "losses.py", "rank_pooling.py"}
    files = [path for path in PACKAGES if path.name in named or path.parent.name == "systems"]
    assert not _forbidden(files, {"tensorflow", "jax", "torch", "tf_keras"})


def _is_command_line(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name in {"main", "_run"}  # `main` hands `_run` to `run_safely`
    return isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)


def test_only_command_lines_print_or_exit():
    speaking = {"print", "exit", "quit", "sys.exit"}
    wrong = []
    for path in PACKAGES:
        if path.name != "cli.py" and path.parent.name != "cli":
            parts = [node for node in _tree(path).body if not _is_command_line(node)]
            calls = [
                node for part in parts for node in ast.walk(part) if isinstance(node, ast.Call)
            ]
            wrong += [
                (_name(path), call.lineno) for call in calls if ast.unparse(call.func) in speaking
            ]
    assert not wrong


def test_each_module_says_what_it_is_for():
    assert not [
        _name(path)
        for path in PACKAGES
        if path.read_text().strip() and not ast.get_docstring(_tree(path))
    ]


def test_settings_are_checked_before_any_large_library_is_loaded():
    code = """
import sys
from pathlib import Path
from common.config import load_task
load_task(Path("params.yaml"), "demo")
print(*sorted({"tensorflow", "keras", "jax", "torch", "librosa", "matplotlib", "sklearn"} & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == []


def test_the_lock_pins_every_package_that_the_project_needs():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    wanted = "\n".join([setup["options"]["install_requires"], extras["dev"], extras["jax"]])
    needed = {
        re.split(r"[\[<>=!~ ]", line)[0].lower().replace("_", "-")
        for line in wanted.splitlines()
        if line
    }
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pinned = [
        re.fullmatch(r"([a-z0-9.-]+)==[^ ;]+( ; .+)?", line)
        for line in lines
        if not line.startswith("#")
    ]
    assert all(pinned), "each line is an exact version with, at most, an environment marker"
    names = {match[1] for match in pinned if match}
    assert needed <= names
    assert "torch" not in names
