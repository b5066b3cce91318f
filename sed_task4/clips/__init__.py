"""Clips of SED datasets: layouts, annotations, labels, groups, parts of batches."""
