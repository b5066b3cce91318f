"""Tables of own sounds that every simulator refuses before any work."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile


def bad_tables(label: str) -> list[tuple[list[str], str]]:
    """Rows of file, label, group and split for two sounds of a class, and the error of each."""
    first, lone = f"a.wav,{label},g,train", rf"{label} has 1 group\(s\).*none for"
    return [
        ([first, f"b.wav,{label},g,test"], r"'g' in .*\.wav\) and in .*\.wav\)"),
        ([first, f"b.wav,{label},h,test"], lone),
        ([first, f"c.wav,{label},h,test"], r"line 3: there is no file 'c\.wav'"),
    ]


def write_table(folder: Path, rows: Sequence[str], sound: np.ndarray, rate_hz: int) -> Path:
    """Writes the sounds a.wav and b.wav, and a table with some rows; returns their folder."""
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        soundfile.write(folder / name, sound, rate_hz)
    (folder / "metadata.csv").write_text("\n".join(["file,label,group,split", *rows]) + "\n")
    return folder
