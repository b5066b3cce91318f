"""Divides recordings, also those whose end is unknown so far, into windows of a network."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """Frames [start, stop) of one input of a network, of which [first, end) count."""

    start: int
    stop: int
    first: int
    end: int


@dataclass(frozen=True)
class Windows:
    """Windows of equal length; where two overlap, each counts up to the middle of what they share.

    Attributes:
        frames: of a window; a recording that is not longer is one window.
        overlap: frames shared by neighbours, shorter than a window.
        last_is_whole: the last window is moved back, so that it is as long as the others; otherwise
            it ends early.
        after: frames at the end of a window that do not count, in place of half the overlap; at
            most the overlap.
        grow: the first windows are shorter, each by one step, so that the latency is the same from
            the start.
    """

    frames: int
    overlap: int = 0
    last_is_whole: bool = False
    after: int | None = None
    grow: bool = False

    @property
    def lengths(self) -> list[int]:
        """Frames of all windows but the last one, which may be shorter."""
        return [*range(self._first_stop, self.frames, self.frames - self.overlap), self.frames]

    @property
    def _after(self) -> int:
        return self.overlap // 2 if self.after is None else self.after

    @property
    def _first_stop(self) -> int:
        return self.frames - self.overlap + self._after if self.grow else self.frames

    def next_after(self, last: Window | None, n_frames: int, ended: bool) -> Window | None:
        """The window after another.

        Args:
            last: the window before; None: there is none yet.
            n_frames: frames that are known so far, at least 1 where the recording has ended.
            ended: True if those are all.

        Returns:
            None if too few frames are known, and after the last one.
        """
        if last is not None and ended and last.end == n_frames:
            return None
        first, stop = 0, self._first_stop
        if last is not None:
            first, stop = last.end, last.stop + self.frames - self.overlap
        start = max(0, stop - self.frames)
        if n_frames > stop:
            return Window(start, stop, first, stop - self._after)
        if not ended:
            return None
        start = max(0, n_frames - self.frames) if self.last_is_whole else start
        return Window(start, n_frames, first, n_frames)

    def of(self, n_frames: int) -> Iterator[Window]:
        """All windows of a recording of at least one frame."""
        window = self.next_after(None, n_frames, True)
        while window is not None:
            yield window
            window = self.next_after(window, n_frames, True)
