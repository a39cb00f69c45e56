"""``crag-owner ingest``: files to encrypted rows, one transaction for each batch of documents.

command.py    options in, report out
pipeline.py   the way of one file: read, compare, parse, chunk, embed, put
target.py     the collection, made when the first document needs it
report.py     what happened
"""
