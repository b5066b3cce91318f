"""Inputs of a model, computed block by block with the same values as of the whole audio."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from common.errors import DataError
from common.features.frontend import AUDIO, Frontend

Inputs = dict[str, np.ndarray]
Compute = Callable[[np.ndarray, slice], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Framing:
    """Positions of feature frames in the audio, in samples.

    Attributes:
        hop: hop length.
        longest: samples that a frame depends on.
        lead_frames: frames that need samples before their own hop, whose number is the same at the
            start of each block.
        n_frames: from the number of samples of a recording to that of its frames.
        min_samples: shorter recordings are padded with digital silence to so many samples, as in
            training.
        is_local: False: frames depend on others far away, so that all wait for the recording's end.
    """

    hop: int
    longest: int
    lead_frames: int
    n_frames: Callable[[int], int]
    min_samples: int = 0
    is_local: bool = True

    @classmethod
    def of(
        cls, frontend: Frontend, n_frames: Callable[[int], int], min_samples: int = 0
    ) -> "Framing":
        """Framing of features that are described as a frontend, wherever they are computed."""
        centred = frontend.entry.is_centred
        lead = -(-(frontend.longest // 2) // frontend.hop_samples) if centred else 0
        sizes = frontend.hop_samples, frontend.longest, lead
        return cls(*sizes, n_frames, min_samples, frontend.is_local)


class FrameStream:
    """Computes features block by block, each frame from the same samples as in the whole recording.

    Edges are padded as by the features, but only at the beginning and end of the recording.

    Args:
        compute: from audio (S, C) that begins at a frame to `features` (T, F, C'), and `audio` (T +
            context, hop, C) where the model computes them, see
            `common.data.extraction.input_arrays`. It also gets the frames of these that are new,
            for features that depend on all earlier frames: each frame is new once, in order.
        framing: positions of the frames.
    """

    def __init__(self, compute: Compute, framing: Framing):
        self._compute, self._framing = compute, framing
        self._audio: np.ndarray | None = None  # from frame `_start` on
        self._start = 0
        self._given = 0  # frames given so far
        self.n_samples = 0

    def feed(self, audio: np.ndarray) -> Inputs | None:
        """Takes in samples (S, C); returns the frames that are certain now, None without any."""
        framing = self._framing
        self.n_samples += len(audio)
        self._audio = audio if self._audio is None else np.concatenate([self._audio, audio])
        end = (self.n_samples - framing.longest) // framing.hop
        if end <= self._given or not framing.is_local:
            return None
        known = (end - self._start) * framing.hop + framing.longest
        arrays = self._arrays(self._audio[:known], end)
        kept_from = max(0, end - framing.lead_frames)
        self._audio = self._audio[(kept_from - self._start) * framing.hop :]
        self._start, self._given = kept_from, end
        return arrays

    def finish(self) -> Inputs:
        """Returns the last frames, and the audio of their context.

        Raises:
            DataError: there was no audio.
        """
        if self._audio is None:
            raise DataError("The audio is shorter than one sample at the rate of the model.")
        framing = self._framing
        missing = max(0, framing.min_samples - self.n_samples)
        audio = np.pad(self._audio, ((0, missing), (0, 0)))
        end = framing.n_frames(self.n_samples + missing)
        return self._arrays(audio, end, with_context=True)

    def _arrays(self, audio: np.ndarray, end: int, with_context: bool = False) -> Inputs:
        """Computes the frames from `_given` to `end` of audio that begins at frame `_start`."""
        part = slice(self._given - self._start, end - self._start)
        computed = self._compute(audio, part)
        arrays = {name: array[part] for name, array in computed.items()}
        if AUDIO in computed and with_context:
            context = len(computed[AUDIO]) - len(computed["features"])
            arrays[AUDIO] = computed[AUDIO][part.start : part.stop + context]
        return arrays
