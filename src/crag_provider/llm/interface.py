"""What the RAG chain needs to know about a language model that is up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LlmEndpoint:
    """An OpenAI-compatible server on loopback.

    ``url``: base with ``/v1``. ``model``: the name to ask for. ``api_key``: never printed.
    ``alive``: whether it still runs.
    """

    url: str
    model: str
    api_key: str = field(repr=False)
    alive: Callable[[], bool] = field(default=lambda: True, repr=False)
