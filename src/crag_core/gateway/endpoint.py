"""Addresses: a host and a port that TNG or the guard listens on or connects to."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass

from crag_core.errors import UsageError

_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z"
)


def host_of(text: str) -> str | None:
    """The normal form of a host (lower-case name, IPv4, or IPv6 without brackets), or None.

    A name made only of digits and dots that is no IPv4 address is refused, so that no two programs
    read it as two different addresses.
    """
    if text.startswith("[") and text.endswith("]"):
        if "%" in text:  # a zone means something on one machine only
            return None
        try:
            return ipaddress.IPv6Address(text[1:-1]).compressed
        except ValueError:
            return None
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        pass
    lowered = text.lower()
    last_label = lowered.rsplit(".", 1)[-1]
    if not _NAME.match(lowered) or last_label.isdigit() or last_label.startswith("0x"):
        return None
    return lowered


def port_of(text: str) -> int | None:
    """A port number from 1 to 65535 in plain ASCII digits, or None."""
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        return None
    number = int(text)
    return number if 0 < number < 65536 else None


@dataclass(frozen=True)
class Endpoint:
    """A host in normal form and a port."""

    host: str
    port: int

    def __post_init__(self) -> None:
        bracketed = f"[{self.host}]" if ":" in self.host else self.host
        if host_of(bracketed) != self.host or not 0 < self.port < 65536:
            raise UsageError(
                f"{self.host!r} with port {self.port} is not an address.",
                hint="Write HOST:PORT, for example 127.0.0.1:41000.",
            )

    @classmethod
    def parse(cls, text: str, what: str = "address") -> Endpoint:
        """``HOST:PORT`` or ``[IPV6]:PORT``.

        Raises:
            UsageError: it is something else; the sentence names ``what``.
        """
        host_text, colon, port_text = text.rpartition(":")
        host, port = host_of(host_text), port_of(port_text)
        if not colon or host is None or port is None:
            raise UsageError(
                f"The {what} {text!r} is not HOST:PORT.",
                hint="Write for example 127.0.0.1:41000 or [::1]:41000.",
            )
        return cls(host, port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """``http://host:port`` without a slash at the end."""
        return f"http://{self}"

    @property
    def loopback(self) -> bool:
        """Whether the host is a literal loopback address; a name never is."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def as_config(self) -> dict[str, str | int]:
        """The form that TNG's configuration has for addresses."""
        return {"host": self.host, "port": self.port}


def listen_endpoint(text: str) -> Endpoint:
    """The address to listen on: as :meth:`Endpoint.parse`, and port 0 takes a free one.

    Raises:
        UsageError: it is no address.
    """
    if text.endswith(":0"):
        return free_endpoint(Endpoint.parse(f"{text[:-1]}1", "address to listen on").host)
    return Endpoint.parse(text, "address to listen on")


def free_endpoint(host: str = "127.0.0.1") -> Endpoint:
    """An address nobody listens on at this moment; whoever binds it must bear its being taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return Endpoint(host, int(probe.getsockname()[1]))


def require_loopback(endpoint: Endpoint, what: str) -> None:
    """Refuse an address that other machines could reach.

    Raises:
        UsageError: ``endpoint`` is not a literal loopback address.
    """
    if not endpoint.loopback:
        raise UsageError(
            f"The {what} {endpoint} is not on this machine's loopback interface.",
            hint="Use 127.0.0.1 or [::1]: what passes there is not encrypted yet.",
        )
