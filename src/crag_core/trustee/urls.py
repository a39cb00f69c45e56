"""Where the parts of a Trustee are, given the one URL that a person names."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from crag_core.errors import BadInput


def server_url(url: str) -> str:
    """``url`` without a trailing slash.

    Raises:
        BadInput: not http(s), no host, or it has a user, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.password or parts.query or parts.fragment:
        raise BadInput(
            "The Trustee's URL is not usable: it must be http(s)://HOST[:PORT][/PATH], without "
            "user, query or fragment.",
            hint="For example --trustee http://127.0.0.1:8081/api.",
        )
    return url.rstrip("/")


def require_private(url: str) -> None:
    """Refuse a way on which others could read keys and take the admin's token for themselves.

    Raises:
        BadInput: plain http to another machine.
    """
    parts = urlsplit(server_url(url))
    host = parts.hostname or ""
    try:
        here = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if parts.scheme != "https" and not here:
        raise BadInput(
            f"{url} is plain http to another machine: everybody on the way could read the keys "
            "that are pushed, and administer the Trustee.",
            hint="Give the Trustee https, or a tunnel that ends here: "
            "ssh -L 8081:127.0.0.1:8081 HOST, then --trustee http://127.0.0.1:8081/api.",
        )


def kbs_bases(url: str) -> tuple[str, ...]:
    """Where the key broker of ``url`` may be: a gateway's ``/api`` is tried when no path is given.

    Raises:
        BadInput: as :func:`server_url`.
    """
    base = server_url(url)
    return (base,) if urlsplit(base).path else (base, f"{base}/api")


def as_base(url: str) -> str:
    """The base URL of the attestation service behind ``url``, as TNG's ``as_addr`` wants it.

    A gateway's URL, with or without ``/api``, becomes ``.../api/attestation-service``; any other
    path is taken to be the attestation service's own.

    Raises:
        BadInput: as :func:`server_url`.
    """
    base = server_url(url)
    path = urlsplit(base).path
    if not path:
        return f"{base}/api/attestation-service"
    return f"{base}/attestation-service" if path.endswith("/api") else base
