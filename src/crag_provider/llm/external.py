"""A model server that somebody else runs on this machine."""

from __future__ import annotations

from crag_core.errors import CragError, Unreachable
from crag_provider.llm.interface import LlmEndpoint

CONNECT_SECONDS = 5.0
ASK_SECONDS = 30.0


def external(url: str, model: str, api_key: str) -> LlmEndpoint:
    """The OpenAI-compatible server at ``url`` (with or without ``/v1``), asked for its models.

    Raises:
        Unreachable: it doesn't answer.
        CragError: it refuses the key, or has no such model.
    """
    import httpx

    base = url if url.endswith("/v1") else f"{url}/v1"
    headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
    limits = httpx.Timeout(ASK_SECONDS, connect=CONNECT_SECONDS)
    try:
        with httpx.Client(trust_env=False, timeout=limits) as client:
            reply = client.get(f"{base}/models", headers=headers)
            names = [str(found["id"]) for found in reply.json()["data"]]
    except httpx.HTTPError as error:
        raise Unreachable(
            f"The model server at {base} does not answer ({type(error).__name__}).",
            hint="Start it, or correct --llm.",
        ) from None
    except (ValueError, KeyError, TypeError):
        raise CragError(
            f"The model server at {base} answered with status {reply.status_code} and no list of "
            "models.",
            hint="Check --llm, and --llm-api-key-file if it wants a key.",
        ) from None
    if (model and model not in names) or not names:
        raise CragError(
            f"The model server at {base} has no model {model!r}.",
            hint=f"It has: {', '.join(names) or 'none'}. Name one with --llm-model.",
        )
    return LlmEndpoint(base, model or names[0], api_key or "none")
