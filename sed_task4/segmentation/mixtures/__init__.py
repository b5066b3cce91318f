"""Mixtures of sounds and scenes: dataset, lists, ideal masks, example outputs."""
