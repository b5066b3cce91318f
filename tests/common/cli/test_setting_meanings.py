"""Meanings of settings: where a class says them, and how they read."""

from pydantic import Field

from common.cli.setting_meanings import meanings
from common.settings.section import Section


class Base(Section):
    """Settings that others share.

    Attributes:
        size: how large it is,
            in metres; None: as it comes.
        depth: from the description of the base.
    """

    size: int | None = None
    depth: int = 1
    colour: str = "red"  # what it looks like


class Derived(Base):
    """Settings of its own."""

    # What it is for, if at all,
    use: str | None = None  # None: nothing
    names: tuple[str, ...] = ("a", "b")
    depth: int = Field(2, description="Its own description.")  # not this
    weight: int = 3


def test_meanings_come_from_attributes_comments_and_descriptions():
    assert meanings(Derived) == {
        "size": "How large it is, in metres; null: as it comes.",
        "depth": "Its own description.",
        "colour": "What it looks like.",
        "use": "What it is for, if at all, null: nothing.",
    }
