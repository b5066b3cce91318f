"""Simulation of sounds, rooms, ambience and scenes, independent of tasks and class lists."""
