"""Sound files as bytes: position of the samples, and a check that all of them are present.

A header is always compared with the bytes that follow. Each module reads one group of formats and
returns a `Layout`: the parts of a file that libsndfile decodes one after another, with corrected
headers.
"""
