"""Where the stages before encryption run: in this process, or on the workers of a Ray cluster.

preparing.py      parse, cut and embed one file: all that a worker is given to do
ray_pool.py       the workers as Ray actors; a cluster on this machine where none is named
ray_preparing.py  what the ingest's pipeline has these workers do

Keys stay in the process that the owner started: it compares documents, encrypts and writes. A
worker sees the bytes of files and what a collection says about chunking and embedding, no more.
"""
