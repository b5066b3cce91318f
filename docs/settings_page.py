"""Writes the reference of all settings, from the schema of `params.yaml`.

python -m docs.settings_page docs/settings.md
"""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
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

<!-- Written by `python -m docs.settings_page docs/settings.md` from params.schema.json: change the classes instead. -->

Every setting of every family, from the classes that check them. A task of `params.yaml` names `family` and `system`,
or takes both from the task that it `inherits`; on the command line each key is written with dots, as in
`--set training.epochs=10`. Where a default is not given, the task must say it. With `params.schema.json` editors
complete and check the file; they show these texts, too.
"""

Schema = dict[str, Any]


def settings_page(schema: Schema) -> str:
    """Makes the page.

    Args:
        schema: of `params.yaml`, from `common.cli.schema.build_schema`.

    Returns:
        Markdown: a part for each family, in it a table for each section and each system's network.
    """
    definitions = schema["$defs"]
    parts = [INTRODUCTION]
    for family, title in FAMILIES.items():
        parts.append(f"## {title}: `{family}`\n")
        parts += _sections(definitions, family)
    return "\n".join(parts)


def _sections(definitions: Schema, family: str) -> Iterator[str]:
    properties = definitions[family]["properties"]
    parts = {name: _reference(entry) for name, entry in properties.items()}
    own = {
        name: entry
        for name, entry in properties.items()
        if parts[name] is None and name != "network"
    }
    yield f"### The task itself\n\n{_table(_rows(definitions, own, {}))}"
    for name, place in parts.items():
        if place is not None:
            yield _section(
                definitions, place, f"`{name}`", properties[name].get("default", {}), f"{name}."
            )
    for entry in properties["network"]["anyOf"]:
        place = entry["$ref"].removeprefix("#/$defs/")
        yield _section(
            definitions,
            place,
            f"`network` of `system: {place.removeprefix(f'{family}.')}`",
            {},
            "network.",
        )


def _section(definitions: Schema, place: str, title: str, defaults: Schema, prefix: str) -> str:
    section = definitions[place]
    about = section.get("description", "").split("\n")[0]
    return f"### {title}\n\n{about}\n\n{_table(_rows(definitions, section['properties'], defaults, prefix))}"


def _reference(entry: Schema) -> str | None:
    """The definition that a setting is, or has a list of; None for a plain value."""
    reference = entry.get("$ref") or entry.get("items", {}).get("$ref")
    return reference.removeprefix("#/$defs/") if reference else None


def _table(rows: Iterable[Sequence[str]]) -> str:
    lines = [
        " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) for row in rows
    ]
    head = ["key | type | default | meaning", "--- | --- | --- | ---"]
    return "".join(f"| {line} |\n" for line in [*head, *lines])


def _rows(
    definitions: Schema, properties: Schema, defaults: Schema, prefix: str = ""
) -> Iterator[Sequence[str]]:
    """A row for each setting, and for each of a section within the section."""
    for name, entry in properties.items():
        place = _reference(entry)
        if place is not None:
            yield from _rows(definitions, definitions[place]["properties"], {}, f"{prefix}{name}.")
        else:
            yield (
                f"`{prefix}{name}`",
                _type(entry),
                _default(name, entry, defaults),
                entry.get("description", ""),
            )


def _default(name: str, entry: Schema, defaults: Schema) -> str:
    if name not in defaults and "default" not in entry:
        return ""
    value = defaults.get(name, entry.get("default"))
    if isinstance(value, list) and len(value) > 12:
        return f"{len(value)} names"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _type(entry: Schema) -> str:
    """Says in words which values a setting may have."""
    if "anyOf" in entry:
        return ", or ".join(_type(each) for each in entry["anyOf"])
    if "enum" in entry:
        return " | ".join(f"`{json.dumps(value)}`".replace('"', "") for value in entry["enum"])
    if "const" in entry:
        return f"`{entry['const']}`"
    kind = entry.get("type")
    if isinstance(kind, list):
        return ", or ".join(kind)
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
    parser = argparse.ArgumentParser(description="Writes the reference of all settings.")
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    write_text(path, settings_page(json.loads(SCHEMA.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
