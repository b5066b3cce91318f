"""A family or system that lacks a part of its contract is refused when it is loaded."""

import inspect
import sys

import pytest

from common.errors import ConfigError
from common.family import FAMILIES, PARTS, contract_names, is_family, load
from common.settings.tasks import check_task
from common.training.system import load_system, systems

CONFIG = """
from common.settings.tasks import BaseTask

class TaskConfig(BaseTask):
    known_sets = property(lambda self: ["all"])
    set_names = property(lambda self: ["all"])
"""
SYSTEM = "NetworkConfig = check_network = build_model = stages = object\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes the modules of a family "choir" and makes it importable."""

    def write(modules: dict[str, str]) -> None:
        for name, text in modules.items():
            path = tmp_path / "choir" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for name in [each for each in sys.modules if each.split(".")[0] == "choir"]:
        del sys.modules[name]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_satisfies_the_contract(family, part):
    module, contract = load(family, part), PARTS[part]
    for name in contract_names(contract):
        if inspect.isfunction(vars(contract).get(name)):
            _, *expected = inspect.signature(vars(contract)[name]).parameters
            assert [*inspect.signature(getattr(module, name)).parameters][
                : len(expected)
            ] == expected


def test_a_module_without_a_function_is_refused_by_name(package):
    package({"extraction": "def run(): ...\ndef open_store(): ...\n"})
    with pytest.raises(
        ConfigError, match=r"choir/extraction\.py does not define is_extracted, all_items: see docs"
    ):
        load("choir", "extraction")


def test_a_missing_module_is_named(package):
    package({"config": CONFIG})
    with pytest.raises(ConfigError, match=r"choir has no module choir\.simulation\.simulator"):
        load("choir", "simulation.simulator")


def test_a_missing_library_is_not_taken_for_a_familys_module(package):
    package({"figures": "import no_such_library"})
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        load("choir", "figures")


def test_an_experiment_that_lacks_a_method_is_refused(package):
    package(
        {"experiment": "class Experiment:\n    task: int\n    prepare = run = decisive_score = 0\n"}
    )
    with pytest.raises(
        ConfigError, match=r"Experiment\.system, Experiment\.network, .*new_network"
    ):
        load("choir", "experiment")


def test_a_task_that_does_not_name_its_sets_is_refused(package):
    package(
        {
            "config": CONFIG.replace("    set_names", "    other_names"),
            "extraction": "",
            "experiment": "",
        }
    )
    with pytest.raises(ConfigError, match=r"config\.py does not define TaskConfig\.set_names"):
        check_task({"family": "choir"}, "here")


def test_any_package_with_the_modules_of_a_family_is_one(package):
    package({"config": CONFIG, "extraction": "", "experiment": ""})
    with pytest.raises(ConfigError, match="`description` is missing"):
        check_task({"family": "choir"}, "here")


@pytest.mark.parametrize(
    "name", ["choir", "os", "numpy", "__main__", "seld.", "../seld", "", 3, None]
)
def test_other_packages_are_no_families_and_are_not_loaded(name, package):
    package({"__init__": "raise SystemExit", "config": "", "experiment": ""})
    assert not is_family(name)
    with pytest.raises(ConfigError, match="`family` must be one of: seld, sed_task4"):
        check_task({"family": name}, "here")


@pytest.mark.parametrize(
    "part", ["NetworkConfig", "check_network", "build_model", "stages", "sing"]
)
def test_a_system_without_a_part_is_refused_by_name(part, package):
    text = f"{SYSTEM}sing = object\ndel {part}\n"
    package({"systems/__init__": 'REQUIRED = ("sing",)', "systems/hum": text})
    with pytest.raises(ConfigError, match=rf"systems/hum\.py does not define {part}: see"):
        load_system("choir", "hum")


def test_a_family_without_a_list_for_its_systems_is_refused(package):
    package({"systems/__init__": "", "systems/hum": SYSTEM})
    with pytest.raises(ConfigError, match="does not define REQUIRED"):
        systems("choir")
