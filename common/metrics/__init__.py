"""Metrics, independent of any task: activity or events in, numbers out."""
