"""Benchmarks of speed and size: one module each; `benchmarks.run` writes all into BENCHMARKS.md."""
