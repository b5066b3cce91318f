"""Recordings of SELD datasets: layouts, csv formats, rows, frames, lengths, preconditions."""
