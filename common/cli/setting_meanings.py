"""What settings mean, as their classes say it: in `description`, in a comment at the field, or
under `Attributes`."""

import ast
import inspect
import re
import textwrap

from common.settings.section import Section

_ENTRY = re.compile(r"    (\w+): (.*)")


def meanings(section: type[Section]) -> dict[str, str]:
    """Collects what the fields of a section mean, those of its base classes included.

    Args:
        section: the class.

    Returns:
        Text by field, in one line; fields without any are missing. `None` is called `null`, as in
        YAML.
    """
    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if issubclass(base, Section) and base is not Section:
            found |= _attributes(base.__doc__ or "") | _comments(
                textwrap.dedent(inspect.getsource(base))
            )
    described = {
        name: field.description for name, field in section.model_fields.items() if field.description
    }
    found |= described
    return {
        name: re.sub(r"\bNone\b", "null", found[name])
        for name in section.model_fields
        if name in found
    }


def _attributes(docstring: str) -> dict[str, str]:
    """Reads the section `Attributes` of a Google docstring."""
    _, _, part = inspect.cleandoc(docstring).partition("\nAttributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in part.splitlines():
        if not line.startswith("    "):
            break
        entry = _ENTRY.fullmatch(line)
        if entry:
            name, text = entry.groups()
            found[name] = text
        elif name:
            found[name] += f" {line.strip()}"
    return {name: _sentence(text) for name, text in found.items()}


def _comments(source: str) -> dict[str, str]:
    """Reads the comments at the end of each field and in the lines right above it."""
    lines = source.splitlines()
    found: dict[str, str] = {}
    for node in ast.parse(source).body[0].body:  # type: ignore[attr-defined]
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        first, last = node.lineno - 1, node.end_lineno or node.lineno
        above: list[str] = []
        while lines[first - 1].strip().startswith("#"):
            first -= 1
            above.insert(0, lines[first].strip())
        beside = lines[last - 1][node.end_col_offset :].strip()
        texts = [
            text.removeprefix("#").strip() for text in [*above, beside] if text.startswith("#")
        ]
        texts = [text for text in texts if not text.startswith("fmt:")]
        if texts:
            found[node.target.id] = _sentence(" ".join(texts))
    return found


def _sentence(text: str) -> str:
    """Begins a text with a capital letter, where it is no name of a value, and ends it with a
    point."""
    begins_with_value = re.match(r"[a-z0-9_]+:|[a-z]+_", text) is not None
    text = text if begins_with_value else text[:1].upper() + text[1:]
    return text if text.endswith((".", "...")) else f"{text}."
