"""Windows of long recordings, as MAESTRO real is cut: their names and their times.

A window is named `<recording>-<begin>-<end>`, times in hundredths of a second with six digits or
more, and a recording `<scene>_<number>`: cafe_restaurant_00-000500-001500.
"""

import re
from dataclasses import dataclass

from common.audio.formats import stem_of
from common.errors import DataError

TICKS_PER_S = 100  # of the times in names
_NAME = re.compile(r"(.+)-(\d{6,})-(\d{6,})")
_RECORDING = re.compile(r"(.+)_\d+")


@dataclass(frozen=True)
class Window:
    """Window of a recording.

    Attributes:
        recording: name of the recording.
        begin_s: seconds from its start.
        end_s: as well.
    """

    recording: str
    begin_s: float
    end_s: float

    @classmethod
    def find(cls, name: str) -> "Window | None":
        """Reads the name of a window, with or without a suffix; None: it is another name."""
        match = _NAME.fullmatch(stem_of(name) if "." in name else name)
        if match is None or int(match[2]) >= int(match[3]):
            return None
        return cls(match[1], int(match[2]) / TICKS_PER_S, int(match[3]) / TICKS_PER_S)

    @classmethod
    def of(cls, name: str) -> "Window":
        """Reads the name of a window, with or without a suffix.

        Raises:
            DataError: it has another form.
        """
        window = cls.find(name)
        if window is None:
            raise DataError(
                f"{name!r} is not a window of a recording. Expected: <recording>-<begin>-<end>,"
                " times in hundredths of a second, such as cafe_restaurant_00-000000-001000. Rename"
                " it, or use the tables that MAESTRO real was published with."
            )
        return window

    @property
    def name(self) -> str:
        """Name of the window, without a suffix."""
        ticks = (round(TICKS_PER_S * each) for each in (self.begin_s, self.end_s))
        return "-".join([self.recording, *(f"{each:06d}" for each in ticks)])

    @property
    def length_s(self) -> float:
        """Its length in seconds."""
        return self.end_s - self.begin_s

    @property
    def scene(self) -> str | None:
        """Scene in the name of the recording; None: that has another form."""
        match = _RECORDING.fullmatch(self.recording)
        return match[1] if match else None


def windows_of(recording: str, length_s: float, window_s: float, hop_s: float) -> list[Window]:
    """Cuts a recording into windows; the last one is shorter if the hop does not fit, as published.

    Args:
        recording: its name.
        length_s: its length in seconds.
        window_s: length of a window.
        hop_s: from the begin of one window to that of the next: in MAESTRO real 1 s for training.
    """
    n_whole = int((length_s - window_s) / hop_s + 1 + 1e-9) if length_s >= window_s else 0
    begins_s = [number * hop_s for number in range(n_whole)]
    covered_s = begins_s[-1] + window_s if begins_s else 0.0
    if covered_s < length_s and n_whole * hop_s < length_s:
        begins_s.append(n_whole * hop_s)
    return [Window(recording, each, min(each + window_s, length_s)) for each in begins_s]
