"""Losses of the systems: angles, vectors, vectors that tell the activity, and tracks."""
