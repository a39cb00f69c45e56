"""The one service that a user means: its URL, and whether a request is for it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from crag_core.errors import UsageError
from crag_core.gateway.endpoint import Endpoint, host_of, port_of

_HTTP_PORT = 80
_ABSOLUTE = re.compile(r"(?i:http)://(?P<authority>[^/?#]*)(?P<rest>[/?][^#]*)?\Z")


def authority_of(text: str, default_port: int | None = None) -> Endpoint | None:
    """The address that ``HOST[:PORT]`` names, or None; without ``default_port`` PORT must be there.

    Credentials, empty ports and forms of numbers that programs read differently are refused.
    """
    host_text, colon, port_text = text.rpartition(":")
    if not colon or text.endswith("]"):
        if default_port is None:
            return None
        host_text, port_text = text, str(default_port)
    host, port = host_of(host_text), port_of(port_text)
    return None if host is None or port is None else Endpoint(host, port)


@dataclass(frozen=True)
class Service:
    """A provider's TNG egress, as users address it."""

    endpoint: Endpoint

    @classmethod
    def parse(cls, url: str) -> Service:
        """The service at ``url``: ``http://HOST[:PORT]``, nothing behind it but a slash.

        Raises:
            UsageError: it is something else.
        """
        match = _ABSOLUTE.match(url)
        endpoint = authority_of(match["authority"], _HTTP_PORT) if match else None
        if match is None or endpoint is None or match["rest"] not in (None, "/"):
            hint = "Write http://HOST:PORT, the address of the provider's gateway."
            if url.lower().startswith("https:"):
                hint += " Encryption is the gateway's own; there is no TLS around it."
            raise UsageError(f"{url!r} is not the URL of a confidential service.", hint=hint)
        return cls(endpoint)

    @property
    def url(self) -> str:
        """``http://host:port`` without a slash at the end, the port always written."""
        return self.endpoint.url

    @property
    def authority(self) -> str:
        """``host:port``, the port always written."""
        return str(self.endpoint)

    def is_host(self, header: str) -> bool:
        """Whether a Host header names this service."""
        return authority_of(header, _HTTP_PORT) == self.endpoint

    def is_connect_target(self, target: str) -> bool:
        """Whether the target of a CONNECT request names this service."""
        return authority_of(target) == self.endpoint

    def path_of_absolute(self, target: str) -> str | None:
        """Path and query of an absolute ``http://`` URL of this service; None for any other."""
        match = _ABSOLUTE.match(target)
        if match is None or authority_of(match["authority"], _HTTP_PORT) != self.endpoint:
            return None
        rest = match["rest"] or "/"
        return rest if rest.startswith("/") else f"/{rest}"
