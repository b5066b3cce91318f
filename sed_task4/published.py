"""Annotations that a challenge published: how they are told from a user's own, and which flaws are
known.

They are the input of the published systems, flaws included, and are read as they are; a user's own
file with such a flaw is refused, since its author can mend it.
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
# Clips that the strong annotations of 2018 and 2019 list: test, evaluation, synthetic, validation,
# public evaluation.
_LENGTHS = frozenset((288, 880, 2045, 1168, 692))
_NAME = re.compile(
    r"Y[A-Za-z0-9_-]{11}_[0-9]+\.[0-9]{3}_[0-9]+\.[0-9]{3}\.wav"
)  # of a clip of AudioSet
_BACKWARD = frozenset(((8.826, 8.677),))  # onset, offset: public evaluation set of 2019


def is_published(events: "pd.DataFrame", names: Collection[str], classes: Sequence[str]) -> bool:
    """Whether strong annotations are those of DCASE 2018 or 2019 task 4, or a part of them.

    They have the ten classes of the challenge, and: as many clips as a published file, or names of
    AudioSet's clips alone, or no flaw but those known.

    Args:
        events: columns onset and offset.
        names: the clips that the file lists.
        classes: the class list.
    """
    if set(classes) != set(CHALLENGE_CLASSES) or not names:
        return False
    if len(set(names)) in _LENGTHS or all(map(_NAME.fullmatch, names)):
        return True
    backward = events[events["offset"] < events["onset"]]
    return (
        len(backward) > 0
        and set(zip(backward["onset"], backward["offset"], strict=True)) <= _BACKWARD
    )
