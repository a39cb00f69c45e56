"""The compiled kernel of crag's vector cipher: optional, and bit-equal to numpy.

:mod:`crag_core.vectors.kernel` finds and calls it; nothing else does.
"""
