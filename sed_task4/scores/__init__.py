"""Score files and submissions, and scores over all thresholds."""
