"""Requests to the service through a proxy of ours; its refusals keep their exit codes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from crag_core.errors import BadInput, CragError, PolicyDenied, Unreachable
from crag_core.gateway.endpoint import Endpoint
from crag_user.guard.replies import REFUSED_HEADER, error_from
from crag_user.service import Service
from crag_user.show import clean

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 5.0
MAX_ANSWER_BYTES = 8 * 1024 * 1024
_KINDS: dict[int, type[CragError]] = {
    400: BadInput,
    401: PolicyDenied,
    403: PolicyDenied,
    413: BadInput,
    422: BadInput,
    429: Unreachable,
    502: Unreachable,
    503: Unreachable,
    504: Unreachable,
}


class ServiceClient:
    """Talks JSON to one service, only through ``proxy``."""

    def __init__(self, client: httpx.AsyncClient, service: Service, proxy: Endpoint) -> None:
        self._client = client
        self._service = service
        self._proxy = proxy

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(
        cls, service: Service, proxy: Endpoint, seconds: float
    ) -> AsyncIterator[ServiceClient]:
        """A client that waits at most ``seconds`` for each piece of an answer."""
        import httpx

        async with httpx.AsyncClient(
            proxy=proxy.url,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(seconds, connect=CONNECT_SECONDS),
            headers={"user-agent": "crag-user", "accept": "application/json"},
        ) as client:
            yield cls(client, service, proxy)

    async def json(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The JSON object that the service answers with.

        Args:
            path: path and query.
            body: sent as JSON unless None.

        Raises:
            CragError: the guard or the service refused (with the matching exit code), the proxy
                does not answer, or the answer is not a JSON object.
        """
        import httpx

        url = f"{self._service.url}{path}"
        try:
            async with self._client.stream(method, url, json=body) as answer:
                raw = await _limited(answer)
        except httpx.ConnectError:
            raise Unreachable(
                f"The proxy {self._proxy.url} does not answer.",
                hint="Start it with 'crag-user connect', or leave --proxy out.",
            ) from None
        except httpx.TimeoutException:
            raise Unreachable(
                f"{self._service.url} did not answer in time.",
                hint="Try again, or raise --timeout.",
            ) from None
        except httpx.HTTPError:
            raise Unreachable(
                f"The connection to {self._service.url} broke off.", hint="Try again."
            ) from None
        if REFUSED_HEADER.decode() in answer.headers:
            raise error_from(raw)
        if answer.status_code != 200:
            raise _refused(self._service, answer.status_code, raw)
        return _object(raw, self._service)


async def _limited(answer: httpx.Response) -> bytes:
    raw = bytearray()
    async for piece in answer.aiter_bytes():
        raw += piece
        if len(raw) > MAX_ANSWER_BYTES:
            raise CragError(
                f"The service's answer is larger than {MAX_ANSWER_BYTES // 2**20} MiB.",
                hint="Ask for fewer citations.",
            )
    return bytes(raw)


def _object(raw: bytes, service: Service) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise CragError(
            f"{service.url} does not answer as a crag service.",
            hint="Check that the URL is that of 'crag-provider serve'.",
        )
    return document


def _refused(service: Service, status: int, raw: bytes) -> CragError:
    """The error of an OpenAI-shaped error body ``{"error": {"message", "code"}}``."""
    error: object = None
    with contextlib.suppress(ValueError, RecursionError):
        document = json.loads(raw)
        error = document.get("error") if isinstance(document, Mapping) else None
    told = (
        clean(error["message"])[:300] if isinstance(error, Mapping) and "message" in error else ""
    )
    kind = _KINDS.get(status, CragError)
    return kind(
        f"{service.url} refused ({status}){': ' + told if told else '.'}",
        hint="Ask its provider if the reason is not clear.",
        details={"status": status},
    )
