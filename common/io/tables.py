"""Tables of text: their reader, with the numbers in them, for all families, and two writers.

A table is UTF-8 text with a header. The separator (tab, comma or semicolon) is found from the
header; fields may stand in double quotes, as Excel writes them; empty lines, separators at the end
of a line and columns that nobody asked for, such as the index of pandas, are ignored. A number is
written in ASCII with a decimal point: 1, -0.5, 2.5e-3.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DataError

SEPARATORS = ("\t", ",", ";")
_NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons"}
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_EXCEL_SEPARATOR = re.compile(r"sep=(.)\r?\n?")  # a first line that Excel writes and obeys
_AFTER_QUOTE = re.compile(r'" +(?=[\t,;\r\n]|\Z)')  # spaces that the csv module takes for text
_GAP = "  "  # between aligned columns
_SHOWN = 200  # characters of a row in an error
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff")

Header = Sequence[str]


@dataclass(frozen=True)
class TextTable:
    """Some columns of a table, stripped of spaces, without its empty rows.

    Attributes:
        source: origin of the table, for errors.
        header: all names of the header that are not empty; none where the file has no header.
        lines: line of the file, from 1, in which each row begins.
        columns: text of each row by the name of the column.
    """

    source: str
    header: tuple[str, ...]
    lines: list[int]
    columns: Mapping[str, list[str]]

    def __len__(self) -> int:
        return len(self.lines)

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Yields the line and the fields of each row."""
        for line, *fields in zip(self.lines, *self.columns.values(), strict=True):
            yield line, dict(zip(self.columns, fields, strict=True))


def to_csv(rows: Iterable[Sequence[Any]]) -> str:
    """Writes rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def to_text(
    table: Sequence[Sequence[str]], markdown: bool = False, columns: int | None = None
) -> str:
    """Writes a table in aligned columns, or in Markdown.

    Args:
        table: rows of as many cells each, the heading first.
        markdown: True for Markdown.
        columns: of the terminal; a wider table is cut into some under each other, which all have
            the first column, and cells that have no room beside it are shortened. None: any.
    """
    if markdown:
        rule = ["---", *["---:"] * (len(table[0]) - 1)]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in [table[0], rule, *table[1:]])
    parts = [table] if columns is None else _parts(table, columns)
    return "\n\n".join(map(_aligned, parts))


def _aligned(table: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [zip(row, widths, strict=True) for row in table]
    return "\n".join(_GAP.join(cell.rjust(width) for cell, width in line) for line in lines)


def _parts(table: Sequence[Sequence[str]], columns: int) -> Iterator[list[list[str]]]:
    """Yields tables that are at most so wide, of the first column and some of the others."""
    turned = zip(*table, strict=True)
    first, *others = [[_short(cell, columns // 2) for cell in column] for column in turned]
    beside = columns - max(map(len, first)) - len(_GAP)
    part: list[list[str]] = []
    room = beside
    for column in ([_short(cell, beside) for cell in other] for other in others):
        width = max(map(len, column))
        if part and width > room:
            yield list(map(list, zip(first, *part, strict=True)))
            part, room = [], beside
        part.append(column)
        room -= width + len(_GAP)
    yield list(map(list, zip(first, *part, strict=True)))


def _short(cell: str, width: int) -> str:
    return cell if len(cell) <= width else f"{cell[: width - 1]}…"


def to_number(text: str) -> float | None:
    """Reads a finite decimal number in ASCII; None for others, such as 1_0, 1,5, nan and 0x10.

    Args:
        text: may have spaces around it.
    """
    if not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def to_numbers(texts: Iterable[str]) -> np.ndarray:
    """Reads many numbers, float64 (n,); NaN for those that `to_number` refuses."""
    is_number = _NUMBER.fullmatch
    read = [float(text) if is_number(text.strip()) else math.nan for text in texts]
    values = np.array(read, np.float64)
    return np.where(np.isfinite(values), values, math.nan)


def to_whole(text: str) -> int | None:
    """Reads a whole number of at most 18 digits in ASCII; None for anything else."""
    return int(text) if _WHOLE.fullmatch(text.strip()) else None


def number_hint(*texts: str) -> str:
    """Remedy for texts that are no numbers, after a space; empty if there is none."""
    for text in map(str.strip, texts):
        if to_number(text) is not None:
            continue
        if to_number(text.replace(",", ".", 1)) is not None:
            return f" {text!r} has a decimal comma: write it with a point."
        plain = text.replace("_", "")
        if plain != text and to_number(plain) is not None:
            return f" Numbers are written without underscores: {text!r}."
        if not text.isascii() and any(character.isdigit() for character in text):
            return f" Numbers are written with the digits 0 to 9: {text!r}."
    return ""


def read_text(path: Path, missing: str, remedy: str) -> str:
    """Reads a file of text in UTF-8, with or without a byte order mark.

    Args:
        path: the file.
        missing: the error where it is not there.
        remedy: the end of the error where it cannot be read.

    Raises:
        DataError: no such file, or it is not UTF-8: UTF-16 and Windows-1252, which Excel writes,
            are named.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(missing) from error
    except OSError as error:
        problem = f"{path} cannot be read as text ({error.strerror or error})."
        raise DataError(f"{problem} {remedy}") from error
    if content.startswith(_WIDE_BOMS) or content[:400].count(0) > len(content[:400]) // 3:
        raise DataError(
            f"{path} cannot be read as text in UTF-8: it is UTF-16, as Excel's 'Unicode Text'. Save"
            f" it as 'CSV UTF-8', or: {remedy}"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: the file cannot be read as text in UTF-8 (byte"
            f" 0x{content[error.start]:02x}); it may be Latin-1 or Windows-1252, as Excel's 'CSV'."
            f" Save it as 'CSV UTF-8', or: {remedy}"
        ) from error
    return text


def parse_table(
    text: str,
    columns: Header,
    source: str,
    *,
    optional: Header = (),
    pad: bool = False,
    aliases: Mapping[str, str] | None = None,
    headerless: Callable[[Sequence[str]], Header | None] | None = None,
    hint: Callable[[Header], str | None] | None = None,
) -> TextTable:
    """Reads some columns of a table.

    Args:
        text: the table; its separator is the one with which the header has the most of `columns`.
        columns: that must be there once each, in any order, in letters of any case.
        source: origin of the table, for errors.
        optional: that may be there as well.
        pad: True if a row may end before the last of `columns`; the rest is empty.
        aliases: other names by lower-case name, where the column itself is not there.
        headerless: for files without a header: from a row to its columns, None if unknown;
            unnamed ones are "".
        hint: remedy for a header in which columns are missing; None: the usual one.

    Raises:
        DataError: names the line.
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{source}, line {line}: a NUL character. {_AGAIN}")
    first, skipped = _first_line(text)
    separator, header = _header(first, (*columns, *optional), aliases or {})
    found = any(column in header for column in columns)
    named = headerless and not found and _without_header(text, headerless)
    if named:
        separator, header, skipped = *named, skipped - 1
    else:
        _check_header(header, columns, source, skipped, hint)
    wanted = [name for name in (*columns, *optional) if name in header]
    needed = 0 if pad else 1 + max(header.index(name) for name in columns)
    kept_lines, kept = [], []
    for line, row in _body(text, separator, skipped, source):
        if len(row) != len(header):
            row = _fitted(row, len(header))
            if not needed <= len(row) <= len(header) and any(row):
                raise DataError(_odd_length(source, line, row, header, separator))
            row += [""] * (len(header) - len(row))
        if any(map(str.strip, row)):
            kept_lines.append(line)
            kept.append(tuple(row))  # the garbage collector looks at lists again and again
    by_column = list(zip(*kept, strict=True)) if kept else [()] * len(header)
    read = {name: list(map(str.strip, by_column[header.index(name)])) for name in wanted}
    return TextTable(source, () if named else tuple(filter(None, header)), kept_lines, read)


def _fitted(row: Sequence[str], width: int) -> list[str]:
    """Stripped fields of a row without the empty ones beyond the last column."""
    fields = [field.strip() for field in row]
    while len(fields) > width and not fields[-1]:
        fields.pop()
    return fields


_AGAIN = "Write the file again as text in UTF-8."


def header_of(text: str, columns: Header) -> tuple[str, ...]:
    """Names in the header of a table, without empty ones; not checked."""
    line, _ = _first_line(text.removeprefix("\ufeff"))
    return tuple(filter(None, _header(line, columns, {})[1]))


def split_row(line: str, separator: str | None = None) -> list[str]:
    """Splits one line into stripped fields; without a separator, by the most frequent one.

    Raises:
        ValueError: quotes that do not fit.
    """
    if separator is None:
        separator = max(SEPARATORS, key=line.count)
    lines = [_AFTER_QUOTE.sub('"', line)]
    try:
        rows = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
        fields = next(rows, [])
    except csv.Error as error:
        raise ValueError(str(error)) from error
    return [field.strip() for field in fields]


def _first_line(text: str) -> tuple[str, int]:
    """First line that is not empty, and its number."""
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if line.strip() and not _EXCEL_SEPARATOR.fullmatch(line):
            return line.rstrip("\r\n"), number
    return "", 1


def _header(line: str, columns: Header, aliases: Mapping[str, str]) -> tuple[str, list[str]]:
    """Separator and names of a header; wanted columns are spelt as in `columns`."""
    candidates = []
    for separator in SEPARATORS:
        try:
            fields = split_row(line, separator)
        except ValueError:
            fields = [field.strip() for field in line.split(separator)]
        while fields and not fields[-1]:
            fields.pop()
        candidates.append((separator, _canonical(fields, columns, aliases)))
    # max keeps the first of equals: a table of one column has its fields whole
    return max(candidates, key=lambda each: len(set(each[1]) & set(columns)))


def _canonical(fields: Sequence[str], columns: Header, aliases: Mapping[str, str]) -> list[str]:
    known = {name.casefold(): name for name in columns}
    names = [known.get(field.casefold(), field) for field in fields]
    for number, name in enumerate(names):
        other = aliases.get(name.casefold())
        if other in columns and other not in names:
            names[number] = str(other)
    return names


def _without_header(
    text: str, headerless: Callable[[Sequence[str]], Header | None]
) -> tuple[str, list[str]] | None:
    """Separator and columns of a table without a header; None if no row has a known form."""
    for number, line in enumerate(io.StringIO(text, newline="")):
        if number >= 1000:
            break
        if not line.strip():
            continue
        for separator in SEPARATORS:
            try:
                columns = headerless(split_row(line.rstrip("\r\n"), separator))
            except ValueError:
                continue
            if columns:
                return separator, list(columns)
    return None


def _body(text: str, separator: str, skipped: int, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yields the first line number of each row below the header, and its fields."""
    stream = io.StringIO(_AFTER_QUOTE.sub('"', text) if '" ' in text else text, newline="")
    for _ in range(skipped):
        next(stream, None)
    reader = csv.reader(stream, delimiter=separator, skipinitialspace=True, strict=True)
    end = 0
    try:
        for row in reader:
            yield skipped + end + 1, row
            end = reader.line_num
    except csv.Error as error:
        problem = str(error)
        if problem == "unexpected end of data":
            problem = "a quote is opened and never closed"
        elif "expected after" in problem:
            problem = "a field continues after its closing quote"
        raise DataError(
            f"{source}, line {skipped + end + 1}: {problem}. A field in quotes begins and ends with"
            " them, and has each quote inside doubled. Correct the row."
        ) from error


def _check_header(
    header: Header,
    columns: Header,
    source: str,
    line: int,
    hint: Callable[[Header], str | None] | None,
) -> None:
    named = [name for name in header if name]
    problem = header_problem(named, columns)
    if problem is None and len(set(named)) < len(named):
        repeated = sorted({name for name in named if named.count(name) > 1})
        problem = f"column(s) {', '.join(repeated)[:_SHOWN]} twice"
    if problem is None:
        return
    remedy = "Remove all but one of each."
    if not problem.startswith("column"):
        usual = "Put the header back as the first line, with tabs, commas or semicolons."
        remedy = (hint and hint(named)) or usual
    raise DataError(
        f"{source}, line {line}: {problem}. Expected: {', '.join(columns)}. Received: "
        f"{', '.join(named)[:_SHOWN] or 'nothing'}. {remedy}"
    )


def _odd_length(
    source: str, line: int, fields: Sequence[str], header: Header, separator: str
) -> str:
    more, quotes = len(fields) > len(header), ""
    if more and separator != "\t":
        quotes = f" Put fields that hold {_NAMES[separator]} in double quotes."
    return (
        f"{source}, line {line}: {len(fields)} fields, {'more' if more else 'fewer'} than the"
        f" header has columns. Expected: as many as the header has columns, {len(header)}."
        f" Received: {separator.join(fields)[:_SHOWN]!r}.{quotes} Correct the row."
    )


def header_problem(header: Sequence[str], columns: Sequence[str]) -> str | None:
    """Problem of a header that must name each of some columns once; None if there is none."""
    missing = [column for column in columns if column not in header]
    if missing:
        return f"missing column(s) {', '.join(missing)}"
    repeated = [column for column in columns if header.count(column) > 1]
    return f"column(s) {', '.join(repeated)} twice" if repeated else None
