"""Scores of events with their locations, of runs and of folders of each year."""
