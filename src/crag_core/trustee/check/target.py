"""The Trustee that is looked at, and how it is spoken to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crag_core.errors import CragError
from crag_core.trustee.dialects import Server
from crag_core.trustee.http import Deadline, Http, Reply, problem

PROBE_SECONDS = 15.0
_TOO_MANY = 429


@dataclass(frozen=True)
class Target:
    """One Trustee: ``base`` is where its key broker was found, ``server`` what it is."""

    http: Http
    base: str
    server: Server

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """GET a path, below the key broker's base (``kbs/v0/...``) or the gateway's ``/api``."""
        return self.send("GET", path, headers=headers)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """POST a JSON body."""
        return self.send("POST", path, json_body=body, headers=headers)

    def send(self, method: str, path: str, **arguments: Any) -> Reply:
        """One request; nothing is tried twice, and no credentials are sent.

        Raises:
            Unreachable: no answer within 15 s.
            CragError: the server answers that it is asked too often, which says nothing.
        """
        gateway = f"{self.base.removesuffix('/api')}/api"
        root = self.base if path.startswith("kbs/") else gateway
        url = f"{root}/{path}"
        reply = self.http.request(method, url, deadline=Deadline(PROBE_SECONDS), **arguments)
        if reply.status == _TOO_MANY:
            raise CragError(f"{url} answers that it is asked too often (429)")
        return reply

    @staticmethod
    def absent(reply: Reply) -> bool:
        """Whether there is nothing at a path: no such route, or not with this method."""
        return reply.status in (404, 405, 501) and problem(reply).kind in (
            *("", "PluginNotFound", "InvalidRequestPath"),
        )
