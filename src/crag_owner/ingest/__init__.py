"""``crag-owner ingest``: files to encrypted rows, one transaction for each batch of documents.

command.py    options in, report out
running.py    one run, from the opened database to the report
pipeline.py   parses, embeds and writes at the same time
admission.py  which files are new or changed
preparing.py  from bytes to chunks, in threads
room.py       how much may be under way
writer.py     the thread that commits
progress.py   how far it is, how long the rest takes
target.py     the collection, made when the first document needs it
report.py     what happened
"""
