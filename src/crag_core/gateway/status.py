"""Ask a running TNG, over its control interface, whether it is ready and whom it verified."""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass

from crag_core.errors import CragError, Unreachable
from crag_core.gateway.endpoint import Endpoint

KEYS_PATH = "/status/ingress/0/ohttp/keys"
READY_PATH = "/readyz"
_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True)
class AttestedServer:
    """A server whose key the ingress holds.

    Attributes:
        url: the egress, ``http://host:port`` without a slash at the end.
        key: its HPKE public key in hex.
        token: the Attestation Service's verdict that TNG checked; empty where there was none.
    """

    url: str
    key: str
    token: str


def parse_servers(body: bytes) -> list[AttestedServer]:
    """The servers in TNG's answer to ``/status/ingress/0/ohttp/keys``.

    Raises:
        CragError: the answer has another shape.
    """
    try:
        servers = [
            AttestedServer(
                str(entry["url"]).rstrip("/"),
                str(entry["server_public_key"]),
                str(entry.get("server_attestation") or ""),
            )
            for entry in json.loads(body)["servers"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CragError(
            "The gateway's status has a shape that crag does not know.",
            hint="Check that CRAG_TNG names TNG 2.12.",
        ) from None
    return servers


def attested_servers(control: Endpoint, timeout: float = 5.0) -> list[AttestedServer]:
    """The servers that the ingress at ``control`` has verified.

    Raises:
        Unreachable: the control interface does not answer within ``timeout`` seconds.
        CragError: it answers something else.
    """
    status, body = get(control, KEYS_PATH, timeout)
    if status != 200:
        raise CragError(f"The gateway answers {status} when asked whom it verified.")
    return parse_servers(body)


def ready(control: Endpoint, timeout: float = 1.0) -> bool:
    """Whether TNG has bound its addresses; says nothing about the other side."""
    try:
        return get(control, READY_PATH, timeout)[0] == 200
    except Unreachable:
        return False


def get(control: Endpoint, path: str, timeout: float) -> tuple[int, bytes]:
    """Status and body of a GET on the control interface.

    Raises:
        Unreachable: it does not answer within ``timeout`` seconds.
    """
    connection = http.client.HTTPConnection(control.host, control.port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_LIMIT)
    except (OSError, http.client.HTTPException):
        raise Unreachable(
            f"The gateway's control interface did not answer within {timeout:g} s.",
            hint="Try again; if it stays so, the gateway has crashed.",
        ) from None
    finally:
        connection.close()
