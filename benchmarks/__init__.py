"""Measurements of speed and size: each module alone, or all of them into BENCHMARKS.md by
`benchmarks.run`."""
