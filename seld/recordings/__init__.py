"""Recordings of SELD datasets: layouts, annotations, frames, directions."""
