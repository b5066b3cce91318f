"""Small datasets on disk, for tests of readers."""

from pathlib import Path


def write_files(root: Path, texts: dict[str, str], audio: tuple[str, ...] = ()) -> Path:
    """Writes texts by their names below a folder, and empty sound files; returns the folder."""
    for name, text in (texts | dict.fromkeys(audio, "")).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root
