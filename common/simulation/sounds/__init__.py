"""Recipes of synthetic sounds."""

from typing import Literal

# plain: one mechanism a class; wide: several, each recorded by a microphone and room of its own.
Recipes = Literal["plain", "wide"]
RECIPES_TEXT = (
    "Synthetic sounds. plain: one mechanism for each class; wide: several for the classes of"
    " 2018 and 2019, recorded in rooms and by microphones that differ from sound to sound, from"
    " which more carries over to recorded ones."
)
