"""Writes the page of all settings from the schema of `params.yaml`.

python -m docs.settings_page docs/settings.md
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import Any

from common.io.files import write_text

SCHEMA = Path(__file__).resolve().parents[1] / "params.schema.json"
FAMILIES = {
    "seld": "Localization and detection",
    "sed_task4": "Detection in clips",
    "sed_task4.segmentation": "Time-frequency segmentation",
}
INTRODUCTION = """# Settings

<!-- Written by `python -m docs.settings_page docs/settings.md`: change the classes instead. -->

All settings of all families. A task of `params.yaml` has a `family` and a `system`, or inherits
them with `inherits: <task-id>`; `aliases:` gives tasks further names. On the command line a key is
written with dots: `--set training.epochs=10`. A setting without a default must be set or inherited.
With `params.schema.json` editors complete and check the file, and show these descriptions.
"""

Schema = dict[str, Any]


def settings_page(schema: Schema) -> str:
    """Makes the page.

    Args:
        schema: of `params.yaml`, from `common.cli.schema.build_schema`.

    Returns:
        Markdown: for each family a table for each section and for the network of each system.
    """
    families = {family: list(_family_sections(schema["$defs"], family)) for family in FAMILIES}
    first, *others = families.values()
    shared = [section for section in first if all(section in each for each in others)]
    parts = [INTRODUCTION, "## All families\n", *shared]
    for family, title in FAMILIES.items():
        parts.append(f"## {title}: `{family}`\n")
        parts += [section for section in families[family] if section not in shared]
    return "\n".join(parts)


def _family_sections(definitions: Schema, family: str) -> Iterator[str]:
    """A heading with a table for each section of a family."""
    properties = definitions[family]["properties"]
    parts = {name: _reference(entry) for name, entry in properties.items()}
    own = {
        name: entry
        for name, entry in properties.items()
        if parts[name] is None and name != "network"
    }
    everywhere = set.intersection(*(set(definitions[each]["properties"]) for each in FAMILIES))
    yield f"### Task\n\n{_table(_rows(definitions, _only(own, everywhere), {}))}"
    if further := _only(own, set(own) - everywhere):
        yield f"### Task, further settings\n\n{_table(_rows(definitions, further, {}))}"
    for name, key in parts.items():
        if key is not None:
            defaults = properties[name].get("default", {})
            yield _section(definitions, key, f"`{name}`", defaults, f"{name}.")
    for entry in properties["network"]["anyOf"]:
        key = str(_reference(entry))
        system = key.removeprefix(f"{family}.")
        yield _section(definitions, key, f"`network` of `system: {system}`", {}, "network.")


def _only(properties: Schema, names: Set[str]) -> Schema:
    return {name: entry for name, entry in properties.items() if name in names}


def _section(definitions: Schema, key: str, title: str, defaults: Schema, prefix: str) -> str:
    section = definitions[key]
    about = section["description"].split("\n\n")[0].replace("\n", " ")
    rows = _rows(definitions, section["properties"], defaults, prefix)
    return f"### {title}\n\n{about}\n\n{_table(rows)}"


def _reference(entry: Schema) -> str | None:
    """The section that a setting is, or is a list of; None for a plain value."""
    reference = entry.get("$ref") or entry.get("items", {}).get("$ref")
    return reference.removeprefix("#/$defs/") if reference else None


def _table(rows: Iterable[Sequence[str]]) -> str:
    lines = [
        " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows
    ]
    head = ["key | type | default | description", "--- | --- | --- | ---"]
    return "".join(f"| {line} |\n" for line in [*head, *lines])


def _rows(
    definitions: Schema, properties: Schema, defaults: Schema, prefix: str = ""
) -> Iterator[Sequence[str]]:
    """A row for each setting, those of nested sections included."""
    for name, entry in properties.items():
        key = _reference(entry)
        if key is not None:
            yield from _rows(definitions, definitions[key]["properties"], {}, f"{prefix}{name}.")
        else:
            yield (
                f"`{prefix}{name}`",
                _type(entry),
                _default(name, entry, defaults),
                entry.get("description", ""),
            )
            if (optional := _optional(entry)) is not None:
                inner = definitions[optional]["properties"]
                yield from _rows(definitions, inner, {}, f"{prefix}{name}.")


def _optional(entry: Schema) -> str | None:
    """The section of a setting that is one or null."""
    choices = entry.get("anyOf", [])
    found = [each for each in map(_reference, choices) if each is not None]
    return found[0] if found and len(choices) == 2 and {"type": "null"} in choices else None


def _default(name: str, entry: Schema, defaults: Schema) -> str:
    if name not in defaults and "default" not in entry:
        return ""
    value = defaults.get(name, entry.get("default"))
    if isinstance(value, list) and len(value) > 12:
        return f"{len(value)} names"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _type(entry: Schema) -> str:
    """Words for the values that a setting may have."""
    if "anyOf" in entry:
        return ", or ".join(_type(each) for each in entry["anyOf"])
    if "enum" in entry:
        return " | ".join(f"`{json.dumps(value)}`".replace('"', "") for value in entry["enum"])
    if "const" in entry:
        return f"`{entry['const']}`"
    if "$ref" in entry:
        return "mapping"
    kind = entry.get("type")
    if isinstance(kind, list):
        return ", or ".join(_type({"type": each}) for each in kind)
    if kind == "array":
        return f"list of {_plural(entry)}"
    if kind == "object":
        return f"mapping to {_type(entry.get('additionalProperties') or {})}"
    if entry.get("format") == "path":
        return "path"
    return {"string": "text", "boolean": "true | false"}.get(kind or "", kind or "any") + _bounds(
        entry
    )


def _plural(entry: Schema) -> str:
    items = entry.get("prefixItems") or [entry.get("items") or {}]
    count = f"{len(items)} values: " if "prefixItems" in entry else ""
    return count + _type(items[0])


def _bounds(entry: Schema) -> str:
    words = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    said = [f"{word} {entry[key]:g}" for key, word in words.items() if key in entry]
    return f", {' and '.join(said)}" if said else ""


def main() -> None:
    """Writes the page to the file named on the command line."""
    parser = argparse.ArgumentParser(description="Writes the page of all settings.")
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    write_text(path, settings_page(json.loads(SCHEMA.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
