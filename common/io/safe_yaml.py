"""Loads YAML without objects, duplicate keys or alias bombs."""

from typing import Any

import yaml

from common.io.files import TOO_DEEP, is_too_deep

_MOST_VALUES = 100_000  # of a text with aliases, each counted with all of its values
# Raised in PyYAML by `!!int ''`, `!!timestamp x` and the like.
_OF_CONSTRUCTORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


# The parser in C, where there is one, is ten times faster.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Loader):
    """Loader that refuses duplicate keys, of which YAML would keep one silently."""


def _mapping_without_repeats(loader: _StrictLoader, node: yaml.MappingNode) -> dict:
    nodes = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
    keys = [loader.construct_object(key, deep=True) for key in nodes]
    if len(set(keys)) < len(keys):
        repeated = sorted({str(key) for key in keys if keys.count(key) > 1})
        line = f"line {node.start_mark.line + 1}"
        raise ValueError(f"{line}: key given twice: {', '.join(repeated)}. Keep one of them")
    return _Loader.construct_mapping(loader, node, deep=True)


_MAPPING = yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG
_StrictLoader.add_constructor(_MAPPING, _mapping_without_repeats)


def read_yaml(text: str) -> Any:
    """Reads a text of YAML.

    Args:
        text: one document.

    Raises:
        ValueError: it is not YAML, asks for anything but plain values, gives a key twice, or its
            aliases unfold to too many values or to themselves; with the line.
    """
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        if node is not None and "*" in text and _unfolded(node, {}) > _MOST_VALUES:
            raise ValueError(f"its aliases stand for more than {_MOST_VALUES} values")
        content = None if node is None else loader.construct_document(node)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    except (yaml.YAMLError, *_OF_CONSTRUCTORS) as error:
        raise ValueError(" ".join(str(error).split())) from error
    if is_too_deep(content):
        raise ValueError(TOO_DEEP)
    return content


def _unfolded(node: yaml.Node, counts: dict[int, int]) -> int:
    """Counts the values below a node, those of an alias each time it is used."""
    if id(node) not in counts:
        counts[id(node)] = 0  # until it is known
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        pairs = [part if isinstance(part, tuple) else (part,) for part in parts]
        counts[id(node)] = 1 + sum(_unfolded(each, counts) for pair in pairs for each in pair)
    elif not counts[id(node)]:
        raise ValueError(f"line {node.start_mark.line + 1}: it contains itself")
    return counts[id(node)]
