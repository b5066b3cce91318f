"""Rooms, imports and sizes of functions as the sources have them.

    python -m tests.architecture

prints a summary; `tests/test_layering.py` checks the same numbers.
"""

import ast
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("common", "seld", "sed_task4")
# From the roof down: a room may import what stands below it. Single modules stand at both ends.
ROOMS = (
    "__main__",
    "api",
    "cli",
    "reports",
    "search",
    "inference",
    "training",
    "data",
    "models",
    "features",
    "display",
    "simulation",
    "datasets",
    "metrics",
    "events",
    "audio",
    "runtime",
    "settings",
    "io",
    "family",
    "errors",
)
TENSORFLOW = ("common/data/", "common/runtime/distribution.py", "common/inference/export.py")
MOST_MODULES, MOST_LINES, MOST_PARAMETERS = 15, 60, 8
Arrows = dict[str, set[str]]  # by module, the modules that it imports


def sources(*folders: str) -> list[Path]:
    """Source files of packages or rooms, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """Path of a file from the top of the repository."""
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """Dotted name of a module; that of a package for its `__init__.py`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree_of(path: Path) -> ast.Module:
    """Syntax tree of a file."""
    with tokenize.open(path) as file:
        return ast.parse(file.read(), filename=str(path))


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Dotted names that a module imports anywhere in it, by a statement or by `import_module`."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            levels = package.split(".") if node.level else []
            base = levels[: len(levels) - node.level + 1]
            parent = ".".join([*base, *([node.module] if node.module else [])])
            yield parent
            yield from (f"{parent}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (each.value for each in node.args if _is_text(each))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def arrows(packages: Iterable[str] = PACKAGES) -> Arrows:
    """Imports between the modules of some packages; packages themselves are left out."""
    files = {module_of(path): path for path in sources(*packages) if path.name != "__init__.py"}
    return {name: {*imports(path)} & files.keys() - {name} for name, path in files.items()}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, directly or through others."""
    reached = {name: _reachable(graph, name) for name in graph}
    groups = {
        frozenset(other for other in found if name in reached[other])
        for name, found in reached.items()
        if name in found
    }
    return sorted(map(sorted, groups))


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [*graph[start]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += graph[name]
    return found


def room_of(module: str) -> str:
    """Room of a module of `common`, also of a folder within it: its first name below `common`."""
    return module.split(".")[1]


def upward(graph: Mapping[str, set[str]]) -> list[str]:
    """Imports within `common` from a room to one above it, as "module -> module"."""
    height = {room: -number for number, room in enumerate(ROOMS)}
    return sorted(
        f"{name} -> {other}"
        for name, found in graph.items()
        for other in found
        if name.startswith("common.") and other.startswith("common.")
        if height[room_of(other)] > height[room_of(name)]
    )


def modules_by_room() -> Counter[str]:
    """Number of modules in each folder of `common`, without packages and single modules."""
    paths = [path for path in sources("common") if path.name != "__init__.py"]
    return Counter(name_of(path.parent) for path in paths if path.parent != ROOT / "common")


def _functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sources(*PACKAGES):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module_of(path)}.{node.name}", node


def long_functions() -> dict[str, int]:
    """Functions of more than 60 lines, docstrings not counted."""
    lengths = {name: _n_lines(node) for name, node in _functions()}
    return {name: length for name, length in lengths.items() if length > MOST_LINES}


def _n_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    has_docstring = ast.get_docstring(node) is not None
    start = node.body[0].end_lineno if has_docstring else node.body[0].lineno - 1
    return (node.end_lineno or 0) - (start or 0)


def wide_functions() -> dict[str, int]:
    """Functions with more than 8 parameters; `self` and `cls` are not counted."""
    widths = {name: _n_parameters(node.args) for name, node in _functions()}
    return {name: width for name, width in widths.items() if width > MOST_PARAMETERS}


def _n_parameters(given: ast.arguments) -> int:
    named = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return len(named) - (named[:1] in (["self"], ["cls"]))


def _room(module: str) -> str:
    top, *rest = module.split(".")
    return f"{top}/{rest[0]}" if top == "common" else top


def summary() -> str:
    """Rooms, arrows between them, and what must not be."""
    graph, modules = arrows(), modules_by_room()
    between: dict[str, Counter[str]] = {}
    for name, found in graph.items():
        others = Counter(_room(other) for other in found if _room(other) != _room(name))
        between.setdefault(_room(name), Counter()).update(others)
    lines = []
    for room in (*(f"common/{each}" for each in ROOMS), *PACKAGES[1:]):
        inside = {
            name: count for name, count in modules.items() if f"{name}/".startswith(f"{room}/")
        }
        counted = " + ".join(map(str, inside.values())) or str(len(sources(room)) or 1)
        arrow = ", ".join(
            f"{other.removeprefix('common/')} {n}" for other, n in between[room].most_common()
        )
        lines.append(f"{room:<18} {counted:>7} modules -> {arrow or 'nothing'}")
    for title, found in {
        "arrows up": upward(graph),
        "circles": [" <-> ".join(each) for each in circles(graph)],
        "functions over 60 lines": [f"{name} {n}" for name, n in long_functions().items()],
        "functions over 8 parameters": [f"{name} {n}" for name, n in wide_functions().items()],
    }.items():
        lines += [f"{title}: {len(found)}", *(f"  {each}" for each in found)]
    return "\n".join(lines)


if __name__ == "__main__":
    print(summary())
