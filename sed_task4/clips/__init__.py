"""Clips of SED datasets: layouts, lengths, groups, windows, embeddings, parts of batches."""
