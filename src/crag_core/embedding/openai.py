"""Any server with OpenAI's ``/v1/embeddings``: vLLM, Text Embeddings Inference, llama.cpp.

The server sees every passage and question in the clear. It must run where the caller trusts it:
on the same machine, or behind TLS. Plain HTTP to another machine is refused.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
from numpy.typing import NDArray

from crag_core.embedding.tokens import estimate_tokens
from crag_core.embedding.vectors import unit_rows
from crag_core.errors import BadInput, CragError, Unreachable

BATCH = 32
CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 30.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024


def endpoint(url: str) -> str:
    """The address of ``/v1/embeddings`` for a base with or without ``/v1``.

    Raises:
        BadInput: no HTTP address, one with credentials in it, or plain HTTP to another machine.
    """
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise BadInput(
            "The address of the embedding server is no http or https URL.",
            hint="Write it like http://127.0.0.1:8000/v1.",
        )
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadInput(
            "The address of the embedding server holds more than a host and a path.",
            hint="Give the key with --embedder-api-key-file.",
        )
    if parts.scheme == "http" and not _is_loopback(host):
        raise BadInput(
            f"Plain http to {host} would carry every document readable over the network.",
            hint="Use https, or a tunnel that ends on 127.0.0.1.",
        )
    path = parts.path.rstrip("/").removesuffix("/embeddings").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}/v1/embeddings"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class OpenAIEmbedder:
    """Client of one model on one server; vectors float32[n, d] of norm 1.

    Args:
        model: the model's name as the server knows it.
        url: base of the server.
        api_key: bearer token.
        query_prefix: put before each question.
        passage_prefix: put before each passage.
        workers: requests under way at once.
        timeout: seconds for one request, connecting included.

    Raises:
        BadInput: the URL cannot be used.
    """

    def __init__(
        self,
        model: str,
        url: str,
        *,
        api_key: str | None = None,
        query_prefix: str = "",
        passage_prefix: str = "",
        workers: int = 1,
        timeout: float = TOTAL_SECONDS,
    ) -> None:
        self.name = f"openai:{model}"
        self._model = model
        self._endpoint = endpoint(url)
        self._query_prefix = query_prefix
        self._passage_prefix = passage_prefix
        self._workers = max(1, workers)
        self._timeout = timeout
        self._dimension: int | None = None
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(CONNECT_SECONDS, timeout)),
            trust_env=False,
            follow_redirects=False,
        )

    @property
    def dimension(self) -> int:
        """Length of a vector; asks the server once."""
        if self._dimension is None:
            self._request(["dimension"])
        assert self._dimension is not None  # noqa: S101 - set by every successful request
        return self._dimension

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed passages in requests of 32; float32[n, d], norm 1.

        Raises:
            Unreachable: the server does not answer in time, or is overloaded.
            CragError: it refuses the key or the request, or answers something else than vectors.
        """
        if not texts:
            return np.empty((0, self.dimension), dtype=np.float32)
        inputs = [self._passage_prefix + text for text in texts]
        batches = [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]
        if self._workers == 1 or len(batches) == 1:
            return np.concatenate([self._request(batch) for batch in batches])
        with ThreadPoolExecutor(self._workers) as pool:
            return np.concatenate(list(pool.map(self._request, batches)))

    def query(self, text: str) -> NDArray[np.float32]:
        """Embed a question; float32[d], norm 1. Raises as :meth:`passages`."""
        first: NDArray[np.float32] = self._request([self._query_prefix + text])[0]
        return first

    def count_tokens(self, text: str) -> int:
        """An upper estimate: servers share no endpoint for their tokenizers."""
        return estimate_tokens(text)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _request(self, inputs: list[str]) -> NDArray[np.float32]:
        body = {"model": self._model, "input": inputs, "encoding_format": "float"}
        try:
            with self._client.stream("POST", self._endpoint, json=body) as response:
                status = response.status_code
                raw = self._read(response) if status == httpx.codes.OK else b""
        except httpx.TimeoutException:
            raise Unreachable(
                f"The embedding server at {self._endpoint} did not answer within "
                f"{self._timeout:g} s.",
                hint="Run the same command again when it is up; what is stored stays.",
            ) from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise Unreachable(
                f"The embedding server at {self._endpoint} cannot be reached "
                f"({type(error).__name__}).",
                hint="Start it, then run the same command again; what is stored stays.",
            ) from None
        except UnicodeEncodeError:
            raise BadInput("A text is not valid Unicode and cannot be embedded.") from None
        self._refuse(status)
        return self._vectors(raw, len(inputs))

    def _read(self, response: httpx.Response) -> bytes:
        raw = bytearray()
        deadline = time.monotonic() + self._timeout
        for block in response.iter_bytes():
            raw += block
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the answer drips")
            if len(raw) > MAX_ANSWER_BYTES:
                raise CragError(f"The answer of {self._endpoint} is larger than 64 MiB.")
        return bytes(raw)

    def _refuse(self, status: int) -> None:
        """Raise for a status that is not 200; the body is not shown, it may repeat the text."""
        if status == httpx.codes.OK:
            return
        where = f"The embedding server at {self._endpoint}"
        if status in (401, 403):
            raise CragError(
                f"{where} refuses the key (HTTP {status}).",
                hint="Give the right one with --embedder-api-key-file.",
                code="authentication-failed",
            )
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
            raise Unreachable(
                f"{where} cannot serve now (HTTP {status}).",
                hint="Run the same command again later; what is stored stays.",
            )
        if status == httpx.codes.NOT_FOUND:
            raise CragError(
                f"{where} knows no model {self._model!r}, or has no /v1/embeddings (HTTP 404).",
                hint="Ask its /v1/models for the names.",
            )
        raise CragError(
            f"{where} refuses the request (HTTP {status}).",
            hint="See the server's log; the passages may be longer than its model takes.",
        )

    def _vectors(self, raw: bytes, expected: int) -> NDArray[np.float32]:
        wrong = f"The embedding server at {self._endpoint} answered something else than vectors"
        try:
            items: list[dict[str, Any]] = json.loads(raw)["data"]
            by_index = {int(item["index"]): item["embedding"] for item in items}
            matrix = unit_rows([by_index[index] for index in range(expected)])
        except (KeyError, TypeError, ValueError, RecursionError):
            raise CragError(
                f"{wrong}.", hint="Check that the address belongs to an embedding model."
            ) from None
        if self._dimension is None:
            self._dimension = matrix.shape[1]
        if matrix.shape[1] != self._dimension:
            raise CragError(f"{wrong} of {self._dimension} dimensions: {matrix.shape[1]}.")
        return matrix
