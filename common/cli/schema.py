"""JSON schema of `params.yaml`, with which editors complete and check it.

python -m common.cli.schema params.schema.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

from common.family import families, load
from common.io.files import write_text
from common.settings.section import Section
from common.training.system import load_system, systems

SCALAR = {"type": ["string", "integer"]}


def build_schema() -> dict[str, Any]:
    """Builds the schema from the settings of all families and systems.

    Returns:
        A JSON schema (draft 2020-12). No key of a task is required, since it may be inherited.
    """
    definitions: dict[str, Any] = {}
    for family in families():
        definitions[family] = _task_schema(family, definitions)
    task = {"anyOf": [{"$ref": f"#/$defs/{family}"} for family in families()]}
    aliases = {
        "description": "Further names of tasks: task id by alias.",
        "type": "object",
        "additionalProperties": SCALAR,
    }
    tasks = {"type": "object", "additionalProperties": task}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "params.yaml of dcase-keras",
        "type": "object",
        "required": ["tasks"],
        "additionalProperties": False,
        "properties": {"aliases": aliases, "tasks": tasks},
        "$defs": dict(sorted(definitions.items())),
    }


def _task_schema(family: str, definitions: dict[str, Any]) -> dict[str, Any]:
    task = _section_schema(load(family, "config").TaskConfig, family, definitions)
    networks = []
    for name in systems(family):
        key = f"{family}.{name}"
        network = load_system(family, name).NetworkConfig
        definitions[key] = _section_schema(network, key, definitions)
        networks.append({"$ref": f"#/$defs/{key}"})
    task["properties"]["network"] = {"description": "Sizes of the network.", "anyOf": networks}
    description = "Id or alias of the task whose settings this one inherits."
    task["properties"]["inherits"] = SCALAR | {"description": description}
    return task


def _section_schema(
    section: type[Section], key: str, definitions: dict[str, Any]
) -> dict[str, Any]:
    """Returns the schema of a section; adds those of its sections to `definitions` below `key`."""
    text = json.dumps(section.model_json_schema()).replace('"#/$defs/', f'"#/$defs/{key}.')
    schema = json.loads(text)
    for name, part in schema.pop("$defs", {}).items():
        definitions[f"{key}.{name}"] = _optional(part)
    return _optional(schema)


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in ("required", "title")}


def main() -> None:
    """Writes the schema to the file named on the command line."""
    parser = argparse.ArgumentParser(description="Writes the JSON schema of params.yaml.")
    parser.add_argument("path", type=Path)
    write_text(parser.parse_args().path, json.dumps(build_schema(), indent=1) + "\n")


if __name__ == "__main__":
    main()
