"""Imports point one way, rooms stay small, and TensorFlow keeps to its rooms."""

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from common.family import FAMILIES
from tests.architecture import (
    MOST_MODULES,
    PACKAGES,
    ROOMS,
    ROOT,
    TENSORFLOW,
    arrows,
    circles,
    imports,
    long_functions,
    modules_by_room,
    name_of,
    sources,
    summary,
    tree_of,
    upward,
    wide_functions,
)

SOURCES = sources(*PACKAGES)


def _forbidden(files: Iterable[Path], modules: Iterable[str]) -> dict[str, set[str]]:
    """Returns, for each of the files that imports one of the top-level modules, which ones."""
    tops = {path: {name.split(".")[0] for name in imports(path)} for path in files}
    return {name_of(path): found for path, top in tops.items() if (found := top & set(modules))}


def test_rooms_import_only_what_stands_below_them():
    assert upward(arrows()) == []


def test_no_modules_import_each_other_in_a_circle():
    assert circles(arrows()) == []


def test_every_module_of_common_stands_in_a_room():
    top = {path.stem for path in (ROOT / "common").iterdir() if path.name != "__init__.py"}
    assert top - {"__pycache__"} == set(ROOMS)


def test_a_room_has_at_most_15_modules():
    assert {room: n for room, n in modules_by_room().items() if n > MOST_MODULES} == {}


def test_no_function_is_longer_than_60_lines():
    assert long_functions() == {}


def test_no_function_has_more_than_8_parameters():
    assert wide_functions() == {}


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"common.io.a": {"common.cli.b"}, "common.cli.b": set()}, (1, 0)),
        ({"common.cli.b": {"common.io.a"}, "common.io.a": {"common.errors"}}, (0, 0)),
        ({"common.io.a": {"common.io.b"}, "common.io.b": {"common.io.a"}}, (0, 1)),
        ({"seld.a": {"seld.b"}, "seld.b": {"seld.c"}, "seld.c": {"seld.a"}}, (0, 1)),
    ],
)
def test_arrows_up_and_circles_are_found(graph, found):
    graph = {"common.errors": set(), **graph}
    assert (len(upward(graph)), len(circles(graph))) == found


def test_imports_of_any_kind_count(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.architecture.ROOT", tmp_path)
    path = tmp_path / "common" / "io" / "a.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "from . import b\nfrom ..cli import c\n"
        "if TYPE_CHECKING:\n    import common.data.d\n"
        "def f():\n    from common.models.e import g\n    importlib.import_module('common.f')\n"
    )
    wanted = {"common.io.b", "common.cli.c", "common.data.d", "common.models.e", "common.f"}
    assert wanted <= set(imports(path))


def test_the_summary_names_every_room():
    text = summary()
    assert all(f"common/{room}" in text for room in ROOMS)


def test_common_imports_no_family():
    assert not _forbidden(sources("common"), FAMILIES)


@pytest.mark.parametrize("family", PACKAGES[1:])
def test_a_family_imports_no_other_family(family):
    assert not _forbidden(sources(family), {*PACKAGES[1:]} - {family})


def test_task_4_proper_imports_nothing_of_segmentation():
    room = "sed_task4.segmentation"
    graph = {name: found for name, found in arrows().items() if not name.startswith(room)}
    assert not [name for name, found in graph.items() if any(x.startswith(room) for x in found)]


def test_nothing_imports_scripts_tests_or_benchmarks():
    scripts = {path.stem for path in ROOT.glob("*.py")} - {*PACKAGES}  # seld.py starts the package
    assert not _forbidden(SOURCES, scripts | {"tests", "benchmarks"})


def test_tensorflow_is_imported_in_its_rooms_only():
    found = _forbidden(SOURCES, {"tensorflow"})
    assert [name for name in found if not name.startswith(TENSORFLOW)] == []


def test_models_layers_and_losses_name_no_backend():
    rooms = {"systems", "losses"}
    files = [path for path in SOURCES if path.parent.name in rooms or path.name == "losses.py"]
    files += [path for path in sources("common/models") if "torch" not in path.name]
    assert not _forbidden(files, {"tensorflow", "jax", "torch", "tf_keras"})


def _is_command_line(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name in {"main", "_run"}  # `main` passes `_run` to `run_safely`
    return isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)


def test_only_command_lines_print_or_exit():
    speaking = {"print", "exit", "quit", "sys.exit"}
    wrong = []
    for path in SOURCES:
        if path.name != "cli.py" and path.parent.name != "cli":
            parts = [node for node in tree_of(path).body if not _is_command_line(node)]
            calls = [
                node for part in parts for node in ast.walk(part) if isinstance(node, ast.Call)
            ]
            wrong += [
                (name_of(path), call.lineno) for call in calls if ast.unparse(call.func) in speaking
            ]
    assert not wrong


def test_each_module_says_what_it_is_for():
    assert not [
        name_of(path)
        for path in SOURCES
        if path.read_text().strip() and not ast.get_docstring(tree_of(path))
    ]


def test_settings_are_checked_before_any_large_library_is_loaded():
    code = """
import sys
from pathlib import Path
from common.settings.tasks import load_task
for task_id in ("demo", "crnn", "segmentation"):
    load_task(Path("params.yaml"), task_id)
large = {"tensorflow", "keras", "jax", "torch", "librosa", "matplotlib", "sklearn"}
print(*sorted(large & set(sys.modules)))
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
