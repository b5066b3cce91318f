"""Layout of any sound file, found from its first bytes."""

from pathlib import Path

from common.audio.containers import chunks
from common.audio.containers.flac import flac_layout
from common.audio.containers.layout import Bytes, Layout, Part
from common.audio.containers.mpeg import JOINED, mp3_tag, mpeg_layout
from common.audio.containers.ogg import ogg_layout
from common.io.notes import Note

_MAX_PARTS = 10_000


def layout_of(path: Path) -> Layout:
    """Finds the layout of a sound file without decoding it.

    Args:
        path: the file.

    Returns:
        Its parts. Files of unknown formats are one part.

    Raises:
        DataError: it is truncated, or its header contradicts its content.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = Bytes(path, file)
        head = data.at(0, 64)
        if head[:4] == b"OggS":
            return ogg_layout(data)
        tag = mp3_tag(data)
        if data.at(tag, 4) == b"fLaC":
            return flac_layout(data, tag)
        if tag or head[:1] == b"\xff":
            return mpeg_layout(data, 0, data.size) or _as_it_is(data)
        if chunks.form_of(head) is not None or head[:4] in (b".snd", b"dns."):
            return _sized_layout(data)
        return chunks.fixed_layout(data, head) or _as_it_is(data)


def _as_it_is(data: Bytes) -> Layout:
    return Layout((Part(((0, data.size),)),), is_known=False)


def layout_of_mpeg(path: Path) -> Layout:
    """Finds the layout of a file that the decoder takes for MPEG audio despite its first bytes.

    Raises:
        DataError: see `layout_of`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = Bytes(path, file)
        return mpeg_layout(data, 0, data.size) or _as_it_is(data)


def _sized_layout(data: Bytes) -> Layout:
    """Layout of files whose header has a size; joined files are further parts."""
    parts: list[Part] = []
    notes: list[Note] = []
    position = 0
    for _ in range(_MAX_PARTS):
        layout, end = _one_sized(data, position)
        parts += layout.parts
        notes += layout.notes
        head = data.at(end, 64)
        is_sized = chunks.form_of(head) is not None or head[:4] in (b".snd", b"dns.")
        is_joined = head[:4] == data.at(0, 4) and is_sized
        if not is_joined or end <= position:
            break
        position = end
    notes += chunks.trailing_note(data, end)
    notes += [Note(data.path, JOINED, len(parts), "recordings")] if len(parts) > 1 else []
    return Layout(tuple(parts), tuple(notes))


def _one_sized(data: Bytes, start: int) -> tuple[Layout, int]:
    form = chunks.form_of(data.at(start, 64))
    if form is None:
        return chunks.au_layout(data, start)
    layout, end, sound = chunks.chunked_layout(data, start, form)
    if sound is not None and chunks.holds_mpeg(data, start, form):
        return mpeg_layout(data, sound.start, sound.start + sound.size) or layout, end
    return layout, end
