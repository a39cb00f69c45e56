"""Small servers that answer an admin as openanolis Trustee 1.5.2 and 1.9.0 and upstream do.

Written from their sources (``kbs/src/api_server.rs``, ``rvps/src/lib.rs``, ``trustee-gateway``):
which paths there are, who may use them, what is answered. They verify the admin's token and keep
what they are given; they release nothing.
"""

from __future__ import annotations

import base64
import json
import threading
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crag_core.trustee.local import jws
from support.small_as import Http

KBS = "https://github.com/confidential-containers/kbs/errors/"
Answer = tuple[int, str, bytes]
_BOTH = {"auth", "resource", "resource-policy", "attestation-policy"}
_FORKS = _BOTH | {"resources", "attestation-policies"}
PLUGINS = {
    "openanolis-1.5": _FORKS,
    "openanolis-1.9": _FORKS | {"rvps"},
    "upstream": _BOTH | {"reference-value"},
}


class ForeignTrustee(Http):
    """One server of ``kind`` (a name of :data:`crag_core.trustee.dialects.SERVERS`).

    Args:
        gateway: whether its gateway answers, or its key broker itself; upstream has no gateway.
        early: of those in a kind, one of the first: 1.6, whose key broker has no reference values
            of its own and whose refused handshakes are 500.
    """

    def __init__(self, kind: str, *, gateway: bool = True, early: bool = False) -> None:
        super().__init__()
        self.early = early
        self.kind = kind
        self.gateway = gateway and kind != "upstream"
        self.admin = Ed25519PrivateKey.generate()
        self.resources: dict[str, bytes] = {}
        self.references: dict[str, Any] = {}
        self.attestation: dict[str, str] = {}
        self.resource_policy = ""
        self.audit: dict[str, list[dict[str, Any]] | None] = {"resources": None}
        self.seen: list[tuple[str, str]] = []
        self._authorization = threading.local()
        handler: Any = self.server.RequestHandlerClass
        serve = handler._serve

        def with_token(this: Any) -> None:
            self._authorization.value = this.headers.get("authorization", "")
            serve(this)

        for method in ("do_GET", "do_POST", "do_DELETE"):
            setattr(handler, method, with_token)

    @property
    def address(self) -> str:
        """As a person names it."""
        return f"{self.url}/api" if self.gateway else self.url

    @property
    def admin_pem(self) -> bytes:
        return self.admin.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        self.seen.append((method, path))
        split = urlsplit(path)
        prefix = "/api" if self.gateway else ""
        if self.gateway and split.path.startswith(f"{prefix}/kbs/v0/rvps"):
            return 404, "text/plain", b"404 page not found"  # it has no such route, in no version
        if split.path.startswith(f"{prefix}/kbs/v0/"):
            return self._kbs(method, split.path.removeprefix(f"{prefix}/kbs/v0/"), body)
        if not self.gateway:
            return 404, "text/plain", b""
        if split.path.startswith("/api/audit/"):
            found = self.audit.get(split.path.removeprefix("/api/audit/"))
            return _json({"data": _filtered(found, parse_qs(split.query)), "total": 1})
        if split.path.startswith("/api/rvps/"):
            if self.kind == "openanolis-1.9" and not self.early:  # forwarded to its key broker
                return self._kbs(method, split.path.removeprefix("/api/"), body)
            return self._rvps(method, split.path.removeprefix("/api/rvps/"), body)
        return 404, "text/plain", b"404 page not found"

    def _kbs(self, method: str, path: str, body: bytes) -> Answer:
        name, _, rest = path.partition("/")
        if name == "auth":
            return self._auth(json.loads(body))
        if name not in PLUGINS[self.kind] or (name == "rvps" and self.early):
            return self._refuse("PluginNotFound", 404)
        open_here = name in ("resources", "attestation-policy", "attestation-policies")
        if not (open_here and self.kind != "upstream") and not self._admitted():
            return self._refuse("AdminAuthAccess" if self.kind == "upstream" else "AdminAuth", 401)
        if name == "resource" and method == "POST":
            self.resources[rest] = body
            return 200, "text/xml", b""
        if name == "resource" and method == "DELETE":
            gone = self.resources.pop(rest, None)
            return (200, "text/xml", b"") if gone else self._refuse("PluginInternalError", 500)
        if name == "resources" and self.kind != "upstream":
            keys = ("repository_name", "resource_type", "resource_tag")
            parts = [dict(zip(keys, one.split("/"), strict=True)) for one in self.resources]
            return _json(parts)
        if name == "resource-policy":
            return self._resource_policy(method, body)
        if name == "attestation-policies":
            names = dict.fromkeys(self.attestation, "sha384")
            return _json(names) if self.kind != "upstream" else self._refuse("PluginNotFound", 401)
        if name == "attestation-policy":
            return self._attestation_policy(method, rest, body)
        if name == "rvps" and self.kind == "openanolis-1.9":
            return self._rvps(method, rest, body)
        if name == "reference-value" and self.kind == "upstream":
            return self._reference_value(method, rest, body)
        return self._refuse("PluginInternalError", 500)

    def _auth(self, request: dict[str, Any]) -> Answer:
        version, status = {
            "openanolis-1.5": ("0.1.0", 500),
            "openanolis-1.9": ("0.4.0", 502),
            "upstream": ("0.4.0", 401),
        }[self.kind]
        if request["version"] != version:
            why = f"expect ={version} while the request is {request['version']}"
            detail = f"RCAR handshake Auth failed: KBS Client Protocol Version Mismatch: {why}"
            return self._refuse("AttestationError", 500 if self.early else status, detail)
        return _json({"nonce": "A" * 44, "extra-params": ""})

    def _admitted(self) -> bool:
        token = self._authorization.value.removeprefix("Bearer ")
        try:
            claims = jws.verify(token, self.admin.public_key())
        except jws.BadToken:
            return False
        return self.kind != "upstream" or claims.get("role") == "admin"

    def _refuse(self, kind: str, status: int, detail: str = "no") -> Answer:
        body = {"type": KBS + kind, "detail": detail}
        return status, "application/json", json.dumps(body).encode()

    def _resource_policy(self, method: str, body: bytes) -> Answer:
        if method == "POST":
            self.resource_policy = _decoded(json.loads(body)["policy"])
            return 200, "text/xml", b""
        if self.kind == "upstream":
            return _json(["resource-policy"])
        return 200, "text/xml", _encoded(self.resource_policy)

    def _attestation_policy(self, method: str, name: str, body: bytes) -> Answer:
        if method == "POST":
            request = json.loads(body)
            self.attestation[request["policy_id"]] = _decoded(request["policy"])
            return 200, "text/xml", b""
        if self.kind == "upstream" or name not in self.attestation:
            return self._refuse("PluginNotFound", 401)
        if method == "DELETE":
            if name == "default":
                return self._refuse("AttestationError", 500)
            del self.attestation[name]
            return 200, "text/xml", b""
        return 200, "application/json", _encoded(self.attestation[name])

    def _rvps(self, method: str, path: str, body: bytes) -> Answer:
        if method == "GET":
            return _json(self.references)
        if method == "DELETE":
            if self.references.pop(path.removeprefix("delete/"), None) is None:
                return self._refuse("DeleteReferenceValue", 500)
            return 200, "text/plain", b""
        message = json.loads(json.loads(body)["message"])
        for name, values in json.loads(base64.b64decode(message["payload"])).items():
            # 1.9 extends a list of digests, 1.5 replaces it.
            kept = self.references.get(name, []) if self.kind == "openanolis-1.9" else []
            self.references[name] = [*kept, *(value for value in values if value not in kept)]
        return 200, "text/plain", b""

    def _reference_value(self, method: str, name: str, body: bytes) -> Answer:
        if method == "GET":
            if name not in self.references:
                return self._refuse("RvpsError", 401)
            return _json(self.references[name])
        message = json.loads(body)
        self.references.update(json.loads(base64.b64decode(message["payload"])))
        return 200, "application/json", b""


def _filtered(
    found: list[dict[str, Any]] | None, query: dict[str, list[str]]
) -> list[dict[str, Any]] | None:
    """The records that the gateway's query selects, as many as it wants."""
    if found is None:
        return None
    names = ("repository", "type", "tag", "method")
    kept = [one for one in found if all(one.get(n) == query.get(n, [one.get(n)])[0] for n in names)]
    if query.get("successful") == ["true"]:
        kept = [one for one in kept if one.get("successful") is True]
    return kept[: int(query["limit"][0])]


def _json(value: Any) -> Answer:
    return 200, "application/json", json.dumps(value).encode()


def _encoded(text: str) -> bytes:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=")


def _decoded(text: str) -> str:
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
