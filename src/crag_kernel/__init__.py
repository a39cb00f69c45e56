"""The compiled kernel of crag's vector cipher and of its searches: optional, bit-equal to numpy.

:mod:`crag_core.vectors.kernel` finds it; nothing else looks for it.
"""
