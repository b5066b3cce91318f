"""README and `docs/`: every command is understood by its program and run, every link works."""

import contextlib
import json
import os
import re
from pathlib import Path

import pytest

import seld.systems
from docs.settings_page import SCHEMA, settings_page
from tests.document_runs import SHORT, in_folder, is_listed, prepare_folder, without_python
from tests.documents import PAGES, ROOT, Command, blocks, commands, problem, program_of, run_program

COMMANDS = commands()
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of small tasks, with the system of the page among those of its family."""
    folder = tmp_path_factory.mktemp("documents")
    prepare_folder(folder)
    page = (ROOT / "docs" / "adding-a-system.md").read_text(encoding="utf-8")
    (folder / "systems").mkdir()
    source = next(content for language, content in blocks(page) if language == "python")
    (folder / "systems" / "small_cnn.py").write_text(source, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setattr(seld.systems, "__path__", [*seld.systems.__path__, str(folder / "systems")])
        yield folder


def test_the_pages_hold_commands():
    assert {command.page.name for command in COMMANDS} > {
        "README.md",
        "CONTRIBUTING.md",
        "BENCHMARKS.md",
        "index.md",
    }


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_is_in_one_of_the_lists_of_runs(command):
    assert is_listed(command), "add it to tests/document_runs.py"


def test_every_command_is_understood_by_its_program(folder):
    problems = {str(command): problem(command, folder / "params.yaml") for command in COMMANDS}
    assert {
        text: said for text, said in problems.items() if said and "conformance.py" not in text
    } == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("python seld.py 1 a --sett seed=1", "unrecognized arguments"),
        ("python seld.py no-task a", "Unknown task id"),
        ("python seld.py 1 a --set training.epocs=1", "training.epochs"),
        ("python -m seld.scorer A B", "no module"),
        ("python -m seld.score PRED REF --jsn F", "--jsn"),
        ("dcase trian 1 a", "no verb trian"),
        ("dcase train 1 a --sett seed=1", "unrecognized arguments"),
        ("dcase report --sett a=1", "--sett"),
        ("make everything", "everything"),
        ("pip install .[none]", "none"),
    ],
)
def test_a_wrong_command_is_found(folder, text, said):
    assert said in str(problem(Command(ROOT / "README.md", text), folder / "params.yaml"))


@pytest.mark.parametrize("pattern", SHORT)
def test_a_short_command_runs(folder, pattern):
    shown = next(
        command for command in COMMANDS if re.fullmatch(pattern, without_python(command.text))
    )
    program, arguments = program_of(Command(ROOT, in_folder(shown.text)).words)
    assert run_program(program, arguments) == 0


def test_the_system_that_a_page_shows_is_trained_and_scored(folder):
    scores = json.loads((folder / "runs" / "small_a" / "scores.json").read_text())
    assert 0 <= scores["rows"][0]["scores"]["dcase2019"]["frame_recall"] <= 1


def test_links_lead_to_files_and_headings():
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in LINK.findall(page.read_text(encoding="utf-8"))
        if not target.startswith("http") and not _leads_somewhere(page, target)
    ]
    assert broken == []


def _leads_somewhere(page: Path, target: str) -> bool:
    path, _, heading = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    if not there.exists():
        return False
    titles = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.M) if heading else []
    return not heading or heading in {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles
    }


def test_every_page_is_in_the_contents():
    listed = re.findall(
        r"^([a-z0-9-]+)$", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), re.M
    )
    assert sorted(listed) == sorted(
        page.stem for page in PAGES if page.parent.name == "docs" and page.stem != "index"
    )


@pytest.fixture(scope="module")
def schema():
    """The schema of `params.yaml`; tests/common/cli/test_schema.py compares it with the classes."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def test_the_reference_of_settings_is_that_of_the_schema(schema):
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page(schema)


def test_every_setting_has_a_meaning(schema):
    sections = {place: part["properties"] for place, part in schema["$defs"].items()}
    silent = [
        f"{place}.{name}"
        for place, properties in sections.items()
        for name, entry in properties.items()
        if "description" not in entry
        and "$ref" not in entry
        and "$ref" not in entry.get("items", {})
    ]
    assert silent == []


def test_figures_of_pages_are_small():
    images = list((ROOT / "docs" / "images").iterdir())
    assert images and all(os.path.getsize(image) < 150_000 for image in images)
