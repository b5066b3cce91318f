"""The JSON schema of `params.yaml`, with which editors complete and check it.

python -m common.cli.schema params.schema.json
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.cli.setting_meanings import meanings
from common.family import families, load
from common.io.files import write_text
from common.settings.section import Section
from common.settings.tasks import section_in
from common.training.system import load_system, systems


def build_schema() -> dict[str, Any]:
    """Builds the schema from the section classes of all families and systems.

    Returns:
        A JSON schema (draft 2020-12). No key is required, since a task may inherit it.
    """
    definitions: dict[str, Any] = {}
    for family in families():
        definitions[family] = _task_schema(family, definitions)
    task = {"anyOf": [{"$ref": f"#/$defs/{family}"} for family in families()]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "params.yaml of dcase-keras",
        "type": "object",
        "required": ["tasks"],
        "additionalProperties": False,
        "properties": {"tasks": {"type": "object", "additionalProperties": task}},
        "$defs": dict(sorted(definitions.items())),
    }


def _task_schema(family: str, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _named(load(family, "config").TaskConfig, family, definitions)
    networks = []
    for name in systems(family):
        place = f"{family}.{name}"
        definitions[place] = _named(load_system(family, name).NetworkConfig, place, definitions)
        networks.append({"$ref": f"#/$defs/{place}"})
    schema["properties"]["network"] = {
        "description": "sizes of the system's network",
        "anyOf": networks,
    }
    parent = {"description": "id of the task laid under this one", "type": ["string", "integer"]}
    schema["properties"]["inherits"] = parent
    return schema


def _named(section: type[Section], place: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a section; its parts go into `definitions` under names that no other place
    has."""
    text = json.dumps(section.model_json_schema()).replace('"#/$defs/', f'"#/$defs/{place}.')
    schema = json.loads(text)
    parts = schema.pop("$defs", {})
    classes = {part.__name__: part for part in _sections_in(section)}
    definitions.update(
        {
            f"{place}.{name}": _optional(_described(part, classes[name]))
            for name, part in parts.items()
        }
    )
    return _optional(_described(schema, section))


def _sections_in(section: type[Section]) -> Iterator[type[Section]]:
    """The sections that a section has within it, at any depth."""
    for field in section.model_fields.values():
        part = section_in(field.annotation)
        if isinstance(part, type) and issubclass(part, Section):
            yield part
            yield from _sections_in(part)


def _described(schema: dict[str, Any], section: type[Section]) -> dict[str, Any]:
    """Adds what the settings mean, which editors show beside them."""
    for name, text in meanings(section).items():
        schema["properties"][name].setdefault("description", text)
    return schema


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in ("required", "title")}


def main() -> None:
    """Writes the schema to the file named on the command line."""
    parser = argparse.ArgumentParser(description="Writes the JSON schema of params.yaml.")
    parser.add_argument("path", type=Path)
    write_text(parser.parse_args().path, json.dumps(build_schema(), indent=1) + "\n")


if __name__ == "__main__":
    main()
