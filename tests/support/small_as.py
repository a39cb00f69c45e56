"""A small Attestation Service and attester for tests of the gateway: same wire, a switchable mind.

The local Trustee is what users run; this one exists to misbehave on request: a verdict that flips,
a refusal, a slow answer, a signer from another CA, claims of another TEE.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

PROFILE = "tag:github.com,2024:confidential-containers/Trustee"


def b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def b64url_decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Http:
    """A threaded server on a loopback port, a free one by default, whose handler is a method."""

    def __init__(self, port: int = 0) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: object) -> None:
                return

            def _body(self) -> bytes:
                if self.headers.get("transfer-encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length") or 0))
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def _serve(self) -> None:
                body = self._body()
                status, kind, answer = outer.answer(self.command, self.path, body)
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            do_GET = do_POST = do_HEAD = do_PUT = do_OPTIONS = _serve

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

        self.server = Server(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        raise NotImplementedError

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._thread.is_alive():
            self.server.shutdown()
            self._thread.join()
        self.server.server_close()


def certificate(
    subject: str, key: Any, issuer: Any = None, issuer_key: Any = None
) -> x509.Certificate:
    """A certificate over ``key``: a CA of its own, or a leaf of ``issuer``."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(issuer_key or key, hashes.SHA256())
    )


@dataclass
class Signer:
    """A CA and the leaf that signs tokens."""

    ca_key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.ca = certificate("test as ca", self.ca_key)
        self.leaf = certificate("test as signer", self.key, self.ca, self.ca_key)

    @property
    def ca_pem(self) -> bytes:
        return self.ca.public_bytes(serialization.Encoding.PEM)

    def sign(self, claims: dict[str, Any]) -> str:
        numbers = self.key.public_key().public_numbers()
        chain = [c.public_bytes(serialization.Encoding.DER) for c in (self.leaf, self.ca)]
        header = {
            "typ": "JWT",
            "alg": "ES256",
            "jwk": {
                "kty": "EC",
                "crv": "P-256",
                "alg": "ES256",
                "x": b64url(numbers.x.to_bytes(32, "big")),
                "y": b64url(numbers.y.to_bytes(32, "big")),
                "x5c": [b64url(der) for der in chain],
            },
        }
        signed = f"{b64url(canonical(header))}.{b64url(canonical(claims))}"
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class SmallAs(Http):
    """An AS that checks the binding and says what its fields tell it to say."""

    def __init__(self) -> None:
        super().__init__()
        self.signer = Signer()
        self.certificate_pem = self.signer.ca_pem
        self.status = "affirming"
        self.policy_id = "default"
        self.lifetime = 300
        self.refuse: tuple[int, str] | None = None
        self.claimed_tee: str | None = None
        self.delay = 0.0
        self.calls: list[str] = []
        self._challenge_key = hashlib.sha256(self.signer.ca_pem).digest()

    @property
    def as_url(self) -> str:
        return f"{self.url}/api/attestation-service"

    @property
    def trustee_url(self) -> str:
        return f"{self.url}/api"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        action = path.rsplit("/", 1)[-1]
        self.calls.append(action)
        threading.Event().wait(self.delay)
        if action == "certificate":
            return 200, "application/x-pem-file", self.certificate_pem
        if action == "challenge":
            nonce = b64url(hashlib.sha256(str(time.time_ns()).encode()).digest())
            mark = hmac.new(self._challenge_key, nonce.encode(), "sha256").hexdigest()
            answer = {"nonce": nonce, "extra-params": {"jwt": f"{nonce}.{mark}"}}
            return 200, "application/json", json.dumps(answer).encode()
        if action == "attestation":
            return self._attest(json.loads(body))
        return 404, "text/plain", b"no such thing"

    def _attest(self, request: dict[str, Any]) -> tuple[int, str, bytes]:
        if self.refuse is not None:
            return self.refuse[0], "text/plain", self.refuse[1].encode()
        first = request["verification_requests"][0]
        evidence = json.loads(b64url_decode(first["evidence"]))
        runtime = first["runtime_data"]["structured"]
        expected = hashlib.sha384(canonical(runtime)).digest()
        if base64.b64decode(evidence["report_data"]) != expected:
            return 422, "text/plain", b"report data is not bound to the runtime data"
        now = int(time.time())
        tee = self.claimed_tee or first["tee"]
        vector = {"executables": 3, "hardware": 2, "configuration": 2, "file-system": 2}
        claims = {
            "eat_profile": PROFILE,
            "iat": now,
            "exp": now + self.lifetime,
            "ear.verifier-id": {"build": "test", "developer": "crag"},
            "submods": {
                "cpu0": {
                    "ear.status": self.status,
                    "ear.trustworthiness-vector": vector,
                    "ear.appraisal-policy-id": self.policy_id,
                    "ear.veraison.annotated-evidence": {
                        "report_data": evidence["report_data"],
                        tee: {k: v for k, v in evidence.items() if k != "report_data"},
                        "runtime_data_claims": runtime,
                    },
                }
            },
        }
        return 200, "text/plain", self.signer.sign(claims).encode()


class SmallAttester(Http):
    """Sample evidence over any report data, as an ASR serves it."""

    register = hashlib.sha256(b"measured").hexdigest()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        split = urlsplit(path)
        if split.path == "/info":
            return 200, "application/json", b'{"tee":"sample"}'
        if split.path != "/aa/evidence":
            return 404, "text/plain", b""
        data = b64url_decode(parse_qs(split.query)["runtime_data"][0])
        evidence = {
            "svn": "1",
            "report_data": base64.b64encode(data).decode(),
            "measure_register": self.register,
            "cc_eventlog": None,
        }
        return 200, "application/json", json.dumps(evidence).encode()


class Backend(Http):
    """What stands behind an egress: remembers every request that reached it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, bytes]] = []

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        self.seen.append((method, path, body))
        return 200, "application/json", json.dumps({"path": path, "bytes": len(body)}).encode()
