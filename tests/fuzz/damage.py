"""Strategies that damage valid files: bytes, tables, trees of values, zip archives."""

import copy
import functools
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import yaml
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy], Any]

BOMB_BYTES = 1 << 30  # what a small archive would become
_LARGE = (
    0,
    1,
    0x7F,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
# Values that stand where a number, a name or a label was.
ODD_TEXTS = (
    "",
    " ",
    "nan",
    "inf",
    "-inf",
    "1e300",
    "-1e300",
    "1e400",
    "-1",
    "-0.0",
    "+1",
    "1e-320",
    "99999999999999999999",
    "0x10",
    "1_000",
    "１２",
    "1,5",
    "1:30",
    "12.5.1",
    "ü",
    "音",
    "🎵",
    "e\u0301",
    "../../x",
    "../outside.txt",
    "/etc/passwd",
    "..",
    ".",
    "a/../b",
    "C:\\x",
    "..\\x",
    "~",
    "$HOME",
    "\x00",
    "a\x00b",
    "\u2028",
    "\x1c",
    "\x0b",
    "\x85",
    "'",
    '"',
    '"unclosed',
    "=1+1",
    "true",
    "null",
    "None",
    "[]",
    "{}",
    "%s",
    "{0}",
    "\ufeff",
    "9" * 5000,
    "x" * 200_000,
)
ODD_VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    2**63,
    -(2**63) - 1,
    10**30,
    "@huge",
    0.5,
    -0.5,
    1e300,
    1e-300,
    float("nan"),
    float("inf"),
    float("-inf"),
    [],
    {},
    [[]],
    [None],
    {"": ""},
    {"a": {"a": {}}},
    "@deep",
    *ODD_TEXTS,
)


@st.composite
def damaged_bytes(draw: Draw, valid: bytes, most: int = 4, header: int = 64) -> bytes:
    """Flips, cuts, inserts, doubles or replaces bytes, half of them in the header, or none."""
    content = bytearray(valid)
    for _ in range(draw(st.integers(0, most))):
        _damage(draw, content, header)
    return bytes(content)


def _damage(draw: Draw, content: bytearray, header: int) -> None:
    start = draw(st.integers(0, min(header, len(content))) | st.integers(0, len(content)))
    length = draw(st.integers(1, 16) | st.integers(1, max(len(content), 1)))
    kind = draw(
        st.sampled_from(["flip", "set", "cut", "end", "insert", "double", "number", "zero"])
    )
    if kind == "flip" and start < len(content):
        content[start] ^= 1 << draw(st.integers(0, 7))
    elif kind == "set":
        content[start : start + 1] = draw(st.binary(min_size=1, max_size=1))
    elif kind == "cut":
        del content[start : start + length]
    elif kind == "end":
        del content[start:]
    elif kind == "insert":
        content[start:start] = draw(st.binary(min_size=1, max_size=12))
    elif kind == "double":
        content[start:start] = content[start : start + length]
    elif kind == "number":
        form = draw(st.sampled_from(["<H", "<I", "<Q", ">H", ">I", ">Q"]))
        size = struct.calcsize(form)
        number = draw(st.sampled_from(_LARGE) | st.integers(0, 2**64 - 1)) % 2 ** (8 * size)
        content[start : start + size] = struct.pack(form, number)
    else:
        content[start : start + length] = bytes(min(length, len(content) - start))


def garbage(size: int = 200) -> st.SearchStrategy[bytes]:
    """Bytes of no kind at all, and text of none."""
    return st.binary(max_size=size) | st.text(max_size=size).map(
        lambda text: text.encode("utf-8", "replace")
    )


@st.composite
def damaged_table(
    draw: Draw, header: Sequence[str], rows: Sequence[Sequence[str]], separator: str
) -> bytes:
    """Changes fields, rows, columns, line ends, encoding, and sometimes bytes of a table."""
    table = [list(header), *map(list, rows)]
    for _ in range(draw(st.integers(0, 3))):
        _damage_table(draw, table)
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    text = end.join(separator.join(row) for row in table) + draw(
        st.sampled_from([end, end, "", end * 3])
    )
    encoding = draw(st.sampled_from(["utf-8"] * 8 + ["utf-8-sig", "utf-16", "latin-1"]))
    content = text.encode(encoding, "replace")
    return draw(damaged_bytes(content, 2)) if draw(st.integers(0, 3)) == 3 else content


def _damage_table(draw: Draw, table: list[list[str]]) -> None:
    row = table[draw(st.integers(0, len(table) - 1))] if table else []
    place = draw(st.integers(0, max(len(row) - 1, 0)))
    kind = draw(
        st.sampled_from(
            ["value", "value", "value", "swap", "double", "twice", "less", "more", "lost", "order"]
        )
    )
    if kind == "value" and row:
        row[place] = draw(st.sampled_from(ODD_TEXTS) | st.floats().map(str) | st.text(max_size=8))
    elif kind == "swap" and row:
        row[0], row[place] = row[place], row[0]
    elif kind == "double" and table:
        table.insert(draw(st.integers(0, len(table))), list(row))
    elif kind == "twice" and table:  # a column of the same name
        for each in table:
            each.append(each[min(place, len(each) - 1)] if each else "")
    elif kind == "less" and row:
        del row[place:]
    elif kind == "more":
        row.extend(draw(st.lists(st.sampled_from(ODD_TEXTS), min_size=1, max_size=3)))
    elif kind == "lost" and table:
        del table[draw(st.integers(0, len(table) - 1))]
    elif kind == "order" and table:
        order = draw(st.permutations(range(len(table[0]))))
        table[:] = [[each[k] for k in order if k < len(each)] for each in table]


@st.composite
def damaged_json(draw: Draw, valid: Any) -> bytes:
    """Changes values and keys of a tree, doubles keys, nests deeply, sometimes damages bytes."""
    text = json.dumps(draw(damaged_tree(valid)))
    depth = draw(st.sampled_from([5, 500, 100_000]))
    text = text.replace('"@deep"', "[" * depth + "]" * depth).replace('"@huge"', "9" * 5000)
    if draw(st.integers(0, 5)) == 5 and '": ' in text:
        key, rest = text.split('": ', 1)
        text = f'{key}": null, {key[key.rindex(chr(34)) :]}": {rest}'
    content = text.encode()
    return draw(damaged_bytes(content, 3)) if draw(st.integers(0, 3)) == 3 else content


@st.composite
def damaged_tree(draw: Draw, valid: Any, odd: Sequence[Any] = ()) -> Any:
    """Replaces, removes, renames and exchanges parts of nested dicts and lists."""
    odd = odd or ODD_VALUES
    root = [copy.deepcopy(valid)]
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(root))
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        kind = draw(
            st.sampled_from(["odd", "odd", "odd", "number", "lost", "renamed", "more", "swap"])
        )
        if kind == "odd" or (holder is root and kind != "swap"):
            holder[key] = copy.deepcopy(draw(st.sampled_from(odd)))
        elif kind == "number":
            holder[key] = draw(st.integers(-3, 70_000) | st.floats())
        elif kind == "lost":
            del holder[key]
        elif isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == "renamed":
            holder[draw(st.sampled_from(ODD_TEXTS))] = holder.pop(key)
        elif kind == "more":
            holder[f"{key}x"] = draw(st.sampled_from(odd))
        else:
            other, name = places[draw(st.integers(0, len(places) - 1))]
            holder[key] = copy.deepcopy(other[name])
    return root[0]


def _places(value: Any) -> Any:
    """All (holder, key) in a tree."""
    entries = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in list(entries):
        yield value, key
        yield from _places(each)


def yaml_bomb(depth: int = 25, width: int = 9) -> str:
    """A short text whose aliases stand for `width` ** `depth` values."""
    lines = [f"a0: &a0 [{', '.join('x' * width)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    return "\n".join(lines) + "\n"


YAML_LINES = (
    "!!python/object/apply:os.system ['touch /tmp/run_by_yaml']",
    "!!python/name:os.system",
    "!!timestamp x",
    "!!int ''",
    "!!int x",
    "!!float ''",
    "!!bool x",
    "!!binary x",
    "2001-99-99",
    "2001-01-01 99:99:99",
    "? [a]\n: b",
    "&r [*r]",
    "&m {k: *m}",
    "<<: {a: 1}",
    "<<: [1]",
    "<<: x",
    "*nowhere",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "%YAML 9.9",
    "--- a\n--- b",
    "[" * 3000,
    "{a: " * 900,
    "[" * 400 + "]" * 400,
    "- " * 2000 + "x",
    "\t- x",
    "!x y",
    "!!null x",
    "1:1:1:1:1:1",
    "0b2",
    "0o9",
    ".inf",
    "1_0",
    "=",
    "a: 1\na: 2",
    "? ",
    "|\n  text",
    "'",
    "@x",
    "`x`",
)


@st.composite
def damaged_yaml(draw: Draw, valid: Any) -> bytes:
    """Damages the tree, then the text: lines of YAML's darker corners, bombs of aliases, bytes."""
    flow = draw(st.sampled_from([None, False, True]))
    text = yaml.safe_dump(
        draw(damaged_tree(valid)), sort_keys=False, allow_unicode=True, default_flow_style=flow
    )
    lines = text.split("\n")
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        place = draw(st.integers(0, len(lines) - 1))
        indent = " " * (len(lines[place]) - len(lines[place].lstrip()))
        new = draw(st.sampled_from(YAML_LINES))
        key, colon, _ = lines[place].partition(":")
        lines[place] = f"{key}: {new}" if colon and draw(st.booleans()) else indent + new
    if draw(st.integers(0, 12)) == 12:
        lines.insert(0, yaml_bomb())
    content = "\n".join(lines).encode()
    return draw(damaged_bytes(content, 3)) if draw(st.integers(0, 3)) == 3 else content


@functools.cache
def _bomb() -> bytes:
    """`BOMB_BYTES` zeros, compressed to a thousandth."""
    packer = zlib.compressobj(1, wbits=-15)
    block = bytes(1 << 20)
    return b"".join([*(packer.compress(block) for _ in range(BOMB_BYTES >> 20)), packer.flush()])


def zip_of(members: Mapping[str, bytes], deflated: bool = False) -> bytes:
    """An archive of these members."""
    written = io.BytesIO()
    with zipfile.ZipFile(
        written, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    ) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return written.getvalue()


def zip_bomb(name: str) -> bytes:
    """An archive of a megabyte, one member of which becomes `BOMB_BYTES`."""
    packed = _bomb()
    checksum = 0
    for _ in range(BOMB_BYTES >> 24):
        checksum = zlib.crc32(bytes(1 << 24), checksum)
    title, sizes = name.encode(), struct.pack("<III", checksum, len(packed), BOMB_BYTES)
    local = (
        struct.pack("<4s5H", b"PK\3\4", 20, 0, 8, 0, 0x21)
        + sizes
        + struct.pack("<HH", len(title), 0)
        + title
    )
    central = struct.pack("<4s6H", b"PK\1\2", 20, 20, 0, 8, 0, 0x21) + sizes
    central += struct.pack("<5HII", len(title), 0, 0, 0, 0, 0, 0) + title
    end = struct.pack("<4s4HIIH", b"PK\5\6", 0, 0, 1, 1, len(central), len(local) + len(packed), 0)
    return local + packed + central + end


@st.composite
def damaged_zip(
    draw: Draw,
    valid: bytes,
    inner: Mapping[str, st.SearchStrategy[bytes]] | None = None,
    bombs: bool = True,
) -> bytes:
    """Damages an archive as bytes, or its members: damaged, renamed, lost, doubled, inflated.

    Args:
        draw: of hypothesis.
        valid: the archive.
        inner: by member, what damages its content with knowledge of its form.
        bombs: also draw archives that become a gigabyte.
    """
    kind = draw(
        st.sampled_from(
            ["bytes", "bytes", "members", "members", "names", "bomb" if bombs else "bytes"]
        )
    )
    with zipfile.ZipFile(io.BytesIO(valid)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(sorted(members)))
    if kind == "bytes":
        return draw(damaged_bytes(valid, header=200))
    if kind == "bomb":
        return zip_bomb(name)
    if kind == "names":
        content = members.pop(name) if draw(st.booleans()) else members[name]
        new = [
            "../outside.txt",
            "/etc/x",
            "..\\x",
            "assets/../../x",
            "x" * 3000,
            "",
            "a/",
            f"{name}/x",
            "音.npy",
            name,
        ]
        members[draw(st.sampled_from(new))] = content
    else:
        within = (inner or {}).get(name)
        choices = [damaged_bytes(members[name]), garbage()]
        members[name] = draw(
            within if within is not None and draw(st.integers(0, 3)) else st.one_of(choices)
        )
    return zip_of(members, deflated=draw(st.booleans()))


@st.composite
def damaged_npy(draw: Draw, array: np.ndarray) -> bytes:
    """An array file whose header contradicts its data, or with unusual values."""
    kind = draw(st.sampled_from(["header", "values", "bytes"]))
    if kind == "values":
        odd = np.array(array, copy=True)
        if odd.dtype.kind == "f":
            odd.reshape(-1)[:1] = draw(st.sampled_from([np.nan, np.inf, -1.0, 1e30, 0.0]))
        elif odd.dtype.kind == "i":
            odd.reshape(-1)[:1] = draw(st.sampled_from([-1, 0, 2**62, -(2**63)]))
        types = [odd.dtype, "U"] if odd.dtype.kind in "US" else [odd.dtype, "U", "f4", "c16"]
        with np.errstate(all="ignore"):
            odd = odd.astype(draw(st.sampled_from(types)))
        return npy_of(draw(st.sampled_from([odd, odd[..., None], odd.reshape(-1)[:0]])))
    if kind == "bytes":
        return draw(damaged_bytes(npy_of(array), header=128))
    types = ["<f8", "|O", "<i4", "<U4", "S3", ">f2", "<M8[s]", "V8", "[('a', '<f8')]", "nonsense"]
    shapes = [
        array.shape,
        (10**12,),
        (10**30,),
        (-1,),
        (2**32, 2**32),
        (0,),
        (3,) * 40,
        "x",
        None,
        (1.5,),
    ]
    header = {
        "descr": draw(st.sampled_from(types)),
        "fortran_order": draw(st.sampled_from([False, True, 1, None])),
        "shape": draw(st.sampled_from(shapes)),
    }
    text = draw(
        st.sampled_from(
            [
                repr(header),
                repr(header)[:-1],
                "(" * 5000,
                "__import__('os')",
                "{}",
                "1L",
                repr(header) + " " * 20_000,
            ]
        )
    )
    raw = text.encode("latin-1") + b"\n"
    return (
        b"\x93NUMPY"
        + draw(st.sampled_from([b"\1\0", b"\1\0", b"\7\7"]))
        + struct.pack("<H", len(raw) % 65536)
        + raw
        + array.tobytes()
    )


def npy_of(array: np.ndarray) -> bytes:
    """The content of an array file."""
    written = io.BytesIO()
    np.save(written, array, allow_pickle=False)
    return written.getvalue()
