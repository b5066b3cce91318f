"""Scores of events with their locations, and the files that hold them."""
