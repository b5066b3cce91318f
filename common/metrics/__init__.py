"""Metrics that know no task: activity or events in, numbers out."""
