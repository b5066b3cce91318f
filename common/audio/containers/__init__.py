"""Sound files as bytes: where their sound lies, and whether all of it is there.

A header is never believed without looking at what follows it. Each module knows the files of one
kind, and gives a `Layout`: the parts of a file that libsndfile decodes one after another, headers
corrected where they say what is not so.
"""
