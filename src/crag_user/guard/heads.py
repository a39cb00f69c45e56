"""Which requests may pass the guard, and with which headers. Pure: bytes in, decision out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crag_core.errors import CragError, PolicyDenied, UsageError
from crag_user.service import Service

Headers = list[tuple[bytes, bytes]]

MAX_HEADERS = 100
MAX_TARGET = 16 * 1024
# Hop-by-hop headers (RFC 9110 section 7.6.1), framing that each hop makes anew, and what only a
# gateway may say.
_DROPPED = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"via",
        b"x-real-ip",
    }
)
_DROPPED_PREFIXES = (b"proxy-", b"x-forwarded-", b"x-tng-", b"x-crag-")
_FROM_SERVICE = (b"proxy-", b"x-tng-", b"x-crag-evidence", b"x-crag-refused")


class NotProxied(UsageError):
    """A request that is not one to a proxy."""

    slug = "not-a-proxy-request"


class OtherDestination(PolicyDenied):
    """A request to anything but the one service."""

    slug = "other-destination"


class BadRequest(UsageError):
    """A request that different programs could read differently, or that is too large."""

    slug = "bad-request"


@dataclass(frozen=True)
class Head:
    """A request that may pass.

    Attributes:
        method: as sent.
        path: path and query, starting with a slash.
        headers: what is forwarded; without Host and framing.
        length: the body's length in bytes; None when it is chunked.
    """

    method: bytes
    path: str
    headers: Headers
    length: int | None


def values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    """All values of the header ``name`` (lower case)."""
    return [value for key, value in headers if key.lower() == name]


def check_connect(service: Service, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Let a CONNECT to the service pass.

    Raises:
        OtherDestination: it, or its Host header, names something else.
    """
    _check_size(target, headers)
    if not service.is_connect_target(_text(target)):
        raise _elsewhere(service)
    _check_host(service, headers)


def check_request(
    service: Service,
    method: bytes,
    target: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    *,
    tunnelled: bool,
) -> Head:
    """Let a request to the service pass, with the headers that may go on.

    Args:
        headers: names in any case, values as sent.
        tunnelled: whether it came inside a CONNECT, where the path alone is usual.

    Raises:
        NotProxied: an origin-form request: whoever sent it does not use us as a proxy.
        OtherDestination: target or Host header name anything but the service.
        BadRequest: ambiguous framing, too many headers, or a method that is not forwarded.
    """
    _check_size(target, headers)
    if method.upper() in (b"TRACE", b"CONNECT"):
        raise BadRequest("This method is not forwarded.", hint="Use another one.")
    text = _text(target)
    if text.startswith("/") and tunnelled:
        path: str | None = text
    elif text.startswith(("/", "*")) or "://" not in text.partition("?")[0]:
        raise NotProxied(
            f"This is a proxy for {service.url}, not a web server.",
            hint=f"Set it as HTTP proxy and open {service.url}/.",
        )
    else:
        path = service.path_of_absolute(text)
    if path is None:
        raise _elsewhere(service)
    _check_host(service, headers)
    return Head(method, path, forwarded(headers), _length(headers))


def forwarded(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    """Request headers without those that end at this hop or that only gateways may set."""
    named = _named_by_connection(headers)
    return [
        (name, value)
        for name, value in headers
        if (low := name.lower()) not in _DROPPED
        and low not in named
        and not low.startswith(_DROPPED_PREFIXES)
    ]


def returned(headers: Sequence[tuple[bytes, bytes]], *, insecure: bool) -> Headers:
    """Response headers for the client, with ``x-crag-evidence`` where the evidence is insecure.

    A chunked response loses any Content-Length; otherwise the length stays.
    """
    named = _named_by_connection(headers) - {b"content-length"}
    chunked = bool(values(headers, b"transfer-encoding"))
    kept = [
        (name, value)
        for name, value in headers
        if (low := name.lower()) not in (_DROPPED - {b"content-length", b"via"})
        and low not in named
        and not low.startswith(_FROM_SERVICE)
        and not (chunked and low == b"content-length")
    ]
    return kept + marks(insecure=insecure)


def marks(*, insecure: bool) -> Headers:
    """The header that every response carries when the evidence is insecure."""
    return [(b"x-crag-evidence", b"insecure")] if insecure else []


def _text(target: bytes) -> str:
    try:
        return target.decode("ascii")
    except UnicodeDecodeError:
        raise BadRequest("The request target is not ASCII.", hint="Percent-encode it.") from None


def _elsewhere(service: Service) -> CragError:
    return OtherDestination(
        f"This proxy reaches {service.url} and nothing else.",
        hint="Use no proxy, or another one, for other addresses.",
    )


def _check_host(service: Service, headers: Sequence[tuple[bytes, bytes]]) -> None:
    hosts = values(headers, b"host")
    if any(not service.is_host(host.decode("latin-1").strip()) for host in hosts):
        raise _elsewhere(service)


def _check_size(target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    if len(target) > MAX_TARGET or len(headers) > MAX_HEADERS:
        raise BadRequest(
            "The request's head is too large.",
            hint=f"At most {MAX_TARGET} bytes of target and {MAX_HEADERS} headers pass.",
        )


def _length(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    coding, lengths = values(headers, b"transfer-encoding"), values(headers, b"content-length")
    if coding:
        if lengths or len(coding) > 1 or coding[0].lower().strip() != b"chunked":
            raise BadRequest(
                "The request has two lengths, or a transfer coding other than chunked.",
                hint="Send either Content-Length or Transfer-Encoding: chunked.",
            )
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 15:
        raise BadRequest("The request's Content-Length is not one number.", hint="Send one.")
    return int(lengths[0])


def _named_by_connection(headers: Sequence[tuple[bytes, bytes]]) -> set[bytes]:
    listed = b",".join(values(headers, b"connection")).lower()
    return {name.strip() for name in listed.split(b",") if name.strip()}
