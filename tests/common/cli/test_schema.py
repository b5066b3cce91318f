"""The JSON schema of params.yaml."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from common.cli.schema import build_schema

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def schema():
    return json.loads((ROOT / "params.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def params():
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return {
        part: {str(key): value for key, value in entries.items()}
        for part, entries in content.items()
    }


def test_the_schema_file_is_that_of_the_settings_classes(schema):
    assert schema == build_schema(), "Run: python -m common.cli.schema params.schema.json"


def test_every_setting_and_section_has_a_description():
    for section, definition in build_schema()["$defs"].items():
        assert definition.get("description"), f"{section} has no docstring"
        for name, setting in definition["properties"].items():
            is_section = "$ref" in setting or "$ref" in setting.get("items", {})
            assert is_section or setting.get("description"), f"{section}: {name}"


def test_params_yaml_fits_the_schema(schema, params):
    jsonschema.validate(params, schema)


@pytest.mark.parametrize(
    "change",
    [
        {"epocs": 3},
        {"training": {"epochs": 0}},
        {"network": {"n_filter": 3}},
        {"folds": [{"name": "a", "train": "1"}]},
        {"dataset": {"format": "binaural"}},
    ],
)
def test_the_schema_finds_misspelt_keys_and_wrong_values(schema, params, change):
    changed = copy.deepcopy(params)
    changed["tasks"]["own"] = {"inherits": "seldnet-foa", **change}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, schema)
