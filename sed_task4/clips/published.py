"""Recognition of annotations that a challenge published, and their known flaws.

They are the input of the published systems and are read with their flaws; a user's own file with
such a flaw is refused, since its author can fix it.
"""

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

CHALLENGE_CLASSES = (
    "Alarm_bell_ringing",
    "Blender",
    "Cat",
    "Dishes",
    "Dog",
    "Electric_shaver_toothbrush",
    "Frying",
    "Running_water",
    "Speech",
    "Vacuum_cleaner",
)
# Clips in the strong annotations of 2018 and 2019: test, evaluation, synthetic, validation, public.
_LENGTHS = frozenset((288, 880, 2045, 1168, 692))
_NAME = re.compile(r"Y[A-Za-z0-9_-]{11}_[0-9]+\.[0-9]{3}_[0-9]+\.[0-9]{3}\.wav")  # of AudioSet
_BACKWARD = frozenset(((8.826, 8.677),))  # onset, offset: public evaluation set of 2019


def is_own(classes: Collection[str]) -> bool:
    """True if a class of the challenges is lacking, so that the clips are a user's own."""
    return not set(CHALLENGE_CLASSES) <= set(classes)


def is_published(events: "pd.DataFrame", names: Collection[str], classes: Sequence[str]) -> bool:
    """True if strong annotations are those of DCASE 2018 or 2019 task 4, or a part of them.

    They have the ten classes of the challenge, and: as many clips as a published file, or only
    names of AudioSet's clips, or only the known flaws.

    Args:
        events: columns onset and offset.
        names: the clips in the file.
        classes: the class list.
    """
    if set(classes) != set(CHALLENGE_CLASSES) or not names:
        return False
    if len(set(names)) in _LENGTHS or all(map(_NAME.fullmatch, names)):
        return True
    backward = events[events["offset"] < events["onset"]]
    pairs = set(zip(backward["onset"], backward["offset"], strict=True))
    return bool(pairs) and pairs <= _BACKWARD
