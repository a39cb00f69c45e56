"""HTTP to a Trustee: bounded in time and size, no proxies, no redirects, errors told apart.

Trustee's statuses are not portable between versions (a refusal is 401, 403, 500 or 502); the
``type`` of the error body is. :func:`problem` reads it.
"""

from __future__ import annotations

import json
import queue
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from crag_core.errors import BadInput, CragError, Unreachable
from crag_core.trustee.urls import server_url

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 30.0
MAX_REPLY_BYTES = 8 * 1024 * 1024
RETRY_PAUSES = (0.3, 1.0)
_TRANSIENT = frozenset({502, 503, 504})
_TOO_MANY = 429


@dataclass
class Deadline:
    """The moment at which an operation gives up, however many requests it takes."""

    seconds: float = TOTAL_SECONDS
    started: float = field(default_factory=time.monotonic)

    def remaining(self) -> float:
        """Seconds left; not below zero."""
        return max(0.0, self.started + self.seconds - time.monotonic())

    def elapsed(self) -> float:
        """Seconds gone."""
        return time.monotonic() - self.started


@dataclass(frozen=True)
class Reply:
    """A complete answer: status, headers in lower case, body."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            CragError: it is none; the body is not shown, it might be anything.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise CragError(
                f"{self.url} answered {self.status} with something that is not JSON.",
                hint="Check that the URL is a Trustee's.",
                code="not-a-trustee",
            ) from None


@dataclass(frozen=True)
class Problem:
    """What an error body says. ``kind``: the last part of ``type``, or Trustee's ``code``."""

    kind: str
    detail: str
    retryable: bool = False


def problem(reply: Reply) -> Problem:
    """The error in ``reply``; kind ``""`` where its body has none of Trustee's forms."""
    try:
        body = json.loads(reply.body)
    except (ValueError, RecursionError):
        return Problem("", "", reply.status in _TRANSIENT)
    if not isinstance(body, dict):
        return Problem("", "", reply.status in _TRANSIENT)
    kind = body.get("code") or body.get("type")
    detail = body.get("detail") or body.get("error")
    if isinstance(kind, str) and kind:
        named = printable(kind.rsplit("/", 1)[-1][:64])
        return Problem(named, printable(detail), body.get("retryable") is True)
    forwarding = isinstance(detail, str) and detail.startswith("Failed to forward")
    return Problem("", printable(detail), forwarding or reply.status in _TRANSIENT)


def printable(text: object, limit: int = 300) -> str:
    """A server's text, safe for a terminal: one line, printable characters, at most ``limit``."""
    if not isinstance(text, str):
        return ""
    line = "".join(character if character.isprintable() else " " for character in text[: 2 * limit])
    return line if len(line) <= limit else f"{line[:limit]}..."


class Http:
    """A client of one server; use as a context manager, or call :meth:`close`.

    Args:
        url: where the server is, for messages and for relative paths.
        ca: PEM file of what to trust for https instead of the system's authorities: an authority,
            or the server's own certificate.
    """

    def __init__(self, url: str, *, ca: Path | None = None) -> None:
        self.url = server_url(url)
        self._ca = ca
        self._client: httpx.Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def request(
        self,
        method: str,
        path: str,
        *,
        json_body: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
    ) -> Reply:
        """Send one request and read the whole answer, whatever its status.

        Args:
            path: appended to the server's URL, or a full URL.
            json_body: sent as JSON; ``content``: sent as it is.
            deadline: bounds connecting, sending and reading together; 30 s by default.

        Raises:
            Unreachable: no complete answer in time; names the URL and the seconds.
            CragError: the answer is larger than 8 MiB.
        """
        limit = deadline or Deadline()
        url = path if "://" in path else f"{self.url}{path}"
        sent = dict(headers or {})
        if json_body is not None:
            content = json.dumps(json_body, ensure_ascii=False).encode()
            sent["content-type"] = "application/json"
        client = self._open()
        done: queue.SimpleQueue[Reply | Exception] = queue.SimpleQueue()

        def work() -> None:
            try:
                done.put(_exchange(client, method, url, content, sent, limit))
            except Exception as error:  # noqa: BLE001 - handed to the caller's thread
                done.put(error)

        # httpx bounds each read, not their sum: a server that drips bytes would hold us for ever.
        threading.Thread(target=work, name="trustee-http", daemon=True).start()
        try:
            outcome = done.get(timeout=limit.remaining() + 0.05)
        except queue.Empty:
            self.close()
            raise _unreachable(url, limit, "it did not finish its answer") from None
        if isinstance(outcome, Reply):
            return outcome
        raise _named(outcome, url, limit) from None

    def patient(self, method: str, path: str, *, deadline: Deadline, **arguments: Any) -> Reply:
        """:meth:`request`, tried three times where the server cannot be reached or says so itself.

        Only for requests that may be sent twice. A refusal (an error with a ``type``) is returned
        at once: it would not change; but for 429, which says that it may.

        Raises:
            Unreachable: the last try failed.
        """
        for pause in (*RETRY_PAUSES, None):
            last = pause is None or deadline.remaining() <= pause
            try:
                reply = self.request(method, path, deadline=deadline, **arguments)
            except Unreachable:
                if last:
                    raise
            else:
                later = reply.status >= 500 and problem(reply).retryable
                if not later and reply.status != _TOO_MANY:
                    return reply
                if last:
                    raise _unreachable(reply.url, deadline, f"it answers {reply.status}")
            time.sleep(pause or 0)
        raise AssertionError("the last try returns or raises")

    def _open(self) -> httpx.Client:
        if self._client is None:
            import httpx

            self._client = httpx.Client(
                trust_env=False,
                follow_redirects=False,
                verify=_tls(self.url, self._ca),
                timeout=httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS),
                headers={"user-agent": "crag", "accept-encoding": "identity"},
                cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=[])),
            )
        return self._client


def _exchange(
    client: httpx.Client,
    method: str,
    url: str,
    content: bytes | None,
    headers: Mapping[str, str],
    deadline: Deadline,
) -> Reply:
    import httpx

    left = max(0.01, deadline.remaining())
    timeout = httpx.Timeout(left, connect=min(CONNECT_SECONDS, left))
    with client.stream(
        method, url, content=content, headers=dict(headers), timeout=timeout
    ) as response:
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > MAX_REPLY_BYTES:
                raise CragError(
                    f"{url} answered with more than {MAX_REPLY_BYTES} bytes.",
                    hint="Check that the URL is a Trustee's.",
                    code="not-a-trustee",
                )
        return Reply(url, response.status_code, dict(response.headers.items()), bytes(body))


def _tls(url: str, ca: Path | None) -> ssl.SSLContext:
    if not url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and costs no reading
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError):
        raise BadInput(
            f"The certificate file {ca} cannot be used.",
            hint="It must be a PEM file: the server's certificate, or that of the authority that "
            "issued it.",
        ) from None
    if ca:
        # What is pinned is trusted as it is: also a server's own certificate, whose issuer nobody
        # named. (Python 3.13 has this as its default.)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _named(error: Exception, url: str, deadline: Deadline) -> Exception:
    import httpx

    if isinstance(error, httpx.InvalidURL):
        return BadInput(f"The URL {url} is not usable.", hint="Check how it is written.")
    if not isinstance(error, httpx.TransportError):
        return error
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return CragError(
            f"{url} is not trusted: its TLS certificate is not from an authority that we know.",
            hint="Name the authority's certificate, or check who answers at that address.",
            code="tls-untrusted",
        )
    return _unreachable(url, deadline, _reason(error))


def _reason(error: Exception) -> str:
    import httpx

    if isinstance(error, httpx.ConnectTimeout):
        return "the connection was not accepted"
    if isinstance(error, httpx.ConnectError):
        refused = "refused" in str(error).lower()
        return "the connection was refused" if refused else "the connection failed"
    return "it did not answer" if isinstance(error, httpx.TimeoutException) else "it broke off"


def _unreachable(url: str, deadline: Deadline, why: str) -> Unreachable:
    return Unreachable(
        f"{url} cannot be reached: {why} (gave up after {deadline.elapsed():.1f} s).",
        hint="Check that the Trustee runs and that the URL is right, then run the same command.",
        details={"url": url, "seconds": round(deadline.elapsed(), 1)},
    )
