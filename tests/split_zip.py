"""A zip archive in several parts, as Info-ZIP's `zip -s` writes it."""

import io
import struct
import zipfile
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_split_zip(path: Path, contents: Mapping[str, bytes], cuts: Sequence[int]) -> list[Path]:
    """Writes `path` (.zip, the last part) and its parts .z01, .z02 ...; returns them in order.

    Args:
        path: of the last part.
        contents: the files in it, which are stored as they are.
        cuts: where the parts after the first begin; never inside a header.
    """
    whole = io.BytesIO()
    whole.write(b"PK\x07\x08")  # the mark of split archives
    with zipfile.ZipFile(whole, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    text, starts = bytearray(whole.getvalue()), [0, *cuts]
    table, end = archive.start_dir, len(text) - 22
    position = table
    for entry in archive.infolist():
        part = bisect_right(starts, entry.header_offset) - 1
        struct.pack_into("<H", text, position + 34, part)
        struct.pack_into("<I", text, position + 42, entry.header_offset - starts[part])
        position += 46 + len(entry.filename) + len(entry.extra) + len(entry.comment)
    last = len(starts) - 1
    struct.pack_into(
        "<HHHHII",
        text,
        end + 4,
        last,
        last,
        len(contents),
        len(contents),
        end - table,
        table - starts[-1],
    )
    parts = [path.with_suffix(f".z{number:02d}") for number in range(1, len(starts))] + [path]
    for part, start, stop in zip(parts, starts, [*cuts, len(text)], strict=True):
        part.write_bytes(text[start:stop])
    return parts
