"""Sounds, rooms, ambience and scenes: arrays in, arrays out; knows no task, no class list and no
file layout."""
