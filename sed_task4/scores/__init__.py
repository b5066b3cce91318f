"""Tables of scores, score files, and scores over all thresholds."""
