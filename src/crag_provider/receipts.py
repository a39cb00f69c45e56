"""Receipts: what an answer was made of, signed by a key that the enclave's evidence vouches for."""

from __future__ import annotations

import base64
import datetime
import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crag_core.attestation.canonical import canonical_json

FORMAT = "crag/receipt/v1"
DOMAIN = b"crag/receipt/v1\0"
KEPT = 10_000


class Verified(Protocol):
    """The state of a collection (:class:`crag_core.snapshot.Snapshot`)."""

    @property
    def id(self) -> str:
        """16 hex digits."""

    @property
    def sequence(self) -> int:
        """Its number."""

    @property
    def root(self) -> str:
        """Hash over all rows, hex."""


@dataclass(frozen=True)
class SnapshotRef:
    """Which state of the collection answered: ``id``, ``sequence``, ``root`` (hex)."""

    id: str
    sequence: int
    root: str

    @classmethod
    def of(cls, snapshot: Verified) -> SnapshotRef:
        """The reference to ``snapshot``."""
        return cls(snapshot.id, snapshot.sequence, snapshot.root)


@dataclass(frozen=True)
class Provenance:
    """What stays the same for all receipts of one service.

    ``model_digest``: SHA-256 hex of the model's measured content, empty where no model is used;
    ``tee``: kind of evidence; ``register``: the register of the machine, hex, by which its evidence
    can be recognised: RTMR3 of a TD.
    """

    model_digest: str
    tee: str
    register: str


class ReceiptBook:
    """Signs receipts with an Ed25519 key of this process and remembers the latest 10 000.

    A receipt holds hashes and identifiers, never a question, an answer or a text.

    Args:
        current: the register as the latest evidence shows it, where others may extend it too.
    """

    def __init__(self, provenance: Provenance, current: Callable[[], str] | None = None) -> None:
        self._provenance = provenance
        self._current = current or (lambda: provenance.register)
        self._key = Ed25519PrivateKey.generate()
        self._kept: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as JWK (RFC 8037): ``kty`` OKP, ``crv`` Ed25519, ``x``."""
        raw = self._key.public_key().public_bytes_raw()
        return {"kty": "OKP", "crv": "Ed25519", "x": _b64url(raw)}

    def issue(
        self,
        *,
        question: str,
        answer: str,
        citations: Sequence[Mapping[str, Any]],
        rows: Sequence[tuple[str, str]],
        snapshot: SnapshotRef,
    ) -> dict[str, Any]:
        """A signed receipt.

        Args:
            question, answer: hashed as UTF-8, and forgotten.
            citations: as they are answered; what they cite is hashed (:func:`cited`).
            rows: id and SHA-256 (hex) of the stored row, for each row that was decrypted.
            snapshot: the collection's state that was verified.

        Returns:
            The object of ``docs/reference/crag-provider.md``; ``signature`` is Ed25519 over
            ``crag/receipt/v1``, a zero byte, and the canonical JSON of all other members.
        """
        receipt: dict[str, Any] = {
            "format": FORMAT,
            "id": secrets.token_hex(16),
            "issued": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "question_sha256": _sha256(question),
            "answer_sha256": _sha256(answer),
            "citations_sha256": cited(citations),
            "rows": [{"id": row_id, "sha256": digest} for row_id, digest in rows],
            "snapshot": {
                "id": snapshot.id,
                "sequence": snapshot.sequence,
                "root": snapshot.root,
            },
            "model": {"digest": self._provenance.model_digest},
            "policy": {"decision": "allow", "rule": "none"},
            "evidence": {
                "tee": self._provenance.tee,
                "measurement": self._current(),
            },
            "key": self.jwk,
        }
        receipt["signature"] = _b64url(self._key.sign(DOMAIN + canonical_json(receipt)))
        with self._lock:
            self._kept[receipt["id"]] = receipt
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return receipt

    def find(self, receipt_id: str) -> dict[str, Any] | None:
        """The receipt of that id, if it is still remembered."""
        with self._lock:
            return self._kept.get(receipt_id)


def cited(citations: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 (hex) of the canonical JSON of the citations' ``n``, ``source``, ``page`` and
    ``text``; scores are numbers that other programs may write differently."""
    names = ("n", "source", "page", "text")
    content = [{name: one[name] for name in names} for one in citations]
    return hashlib.sha256(canonical_json(content)).hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
