"""The signed, monotonic snapshot of a collection, and the anchor that remembers the newest one.

A snapshot states which rows and documents a collection has (the root of a set hash over all of
them, and their numbers) and is signed with a key that only the owner's master key yields. Its
sequence grows by one with every committed transaction. A database can hand out an older snapshot
with the older rows, and everything in it fits together; only somebody who remembers a newer one
can tell. That memory is the anchor. ``docs/reference/database.md`` has the exact forms.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crag_core.config import home, private_dir, write_private
from crag_core.errors import BadInput, IntegrityViolated

FORMAT = "crag/snapshot/v1"
SIGNED_PREFIX = b"crag/snapshot/v1\0"
ANCHOR_FORMAT = "crag/anchor/v1"
HINT = "Run `crag-owner verify` to see what was changed."
_HEX64 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Snapshot:
    """What a collection consists of at one moment.

    ``salt``, ``root`` and ``previous`` (the SHA-256 of the body before, empty for the first) are
    lower-case hexadecimal; ``created`` is UTC in ISO 8601. ``origin`` is the salt of the first
    epoch, by which a rotated collection is known to be the same; empty in the first epoch itself.
    """

    collection: str
    salt: str
    sequence: int
    epoch: int
    rows: int
    documents: int
    root: str
    previous: str
    created: str
    origin: str = ""

    @classmethod
    def parse(cls, body: str) -> Snapshot:
        """The snapshot of a stored body, which must be in canonical form.

        Raises:
            IntegrityViolated: it is not a snapshot of this format.
        """
        try:
            found = json.loads(body)
            form = found.pop("format")
            made = cls(**found)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            raise _malformed() from None
        if form != FORMAT or not made._well_formed() or made.body() != body:
            raise _malformed()
        return made

    def body(self) -> str:
        """Canonical JSON: members sorted, no blanks. This text is what is signed."""
        return _canonical({"format": FORMAT, **_fields(self)})

    @property
    def digest(self) -> str:
        """SHA-256 of the body in hexadecimal."""
        return hashlib.sha256(self.body().encode()).hexdigest()

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of :attr:`digest`."""
        return self.digest[:16]

    def next(self, *, rows: int, documents: int, root: bytes) -> Snapshot:
        """The snapshot that follows this one in the same epoch."""
        return replace(
            self,
            sequence=self.sequence + 1,
            rows=rows,
            documents=documents,
            root=root.hex(),
            previous=self.digest,
            created=now(),
        )

    def rotated(self, *, salt: str, root: bytes) -> Snapshot:
        """The snapshot that follows this one as the first of the next epoch, with the same rows
        and documents under other keys.
        """
        moved = self.next(rows=self.rows, documents=self.documents, root=root)
        return replace(moved, salt=salt, epoch=self.epoch + 1, origin=self.origin or self.salt)

    def _well_formed(self) -> bool:
        texts = (
            self.collection,
            self.salt,
            self.root,
            self.previous,
            self.created,
            self.origin,
        )
        numbers = (self.sequence, self.epoch, self.rows, self.documents)
        return (
            all(isinstance(text, str) for text in texts)
            and all(type(number) is int and number >= 0 for number in numbers)
            and _HEX64.fullmatch(self.root) is not None
            and (self.previous == "" or _HEX64.fullmatch(self.previous) is not None)
        )


class SnapshotSigner:
    """Signs and checks snapshots with Ed25519 (RFC 8032).

    Args:
        seed: 32 bytes, purpose ``snapshot/sign``.
    """

    __slots__ = ("_key",)

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    def sign(self, snapshot: Snapshot) -> bytes:
        """64 bytes over ``"crag/snapshot/v1" || 0x00 || body``."""
        return self._key.sign(SIGNED_PREFIX + snapshot.body().encode())

    def check(self, body: str, signature: bytes) -> Snapshot:
        """The snapshot of a stored body.

        Raises:
            IntegrityViolated: the signature is not the owner's, or the body is malformed.
        """
        try:
            message = SIGNED_PREFIX + body.encode()
            self._key.public_key().verify(signature, message)
        except (InvalidSignature, ValueError):
            raise IntegrityViolated(
                "The snapshot of the collection was changed: its signature does not fit.",
                hint=HINT,
                details={"violation": "tampered"},
            ) from None
        return Snapshot.parse(body)

    def __repr__(self) -> str:
        return "SnapshotSigner(***)"


@dataclass(frozen=True)
class Anchor:
    """The newest snapshot that somebody has seen: enough to notice any older one.

    ``origin`` as in :class:`Snapshot`.
    """

    collection: str
    salt: str
    epoch: int
    sequence: int
    root: str
    origin: str = ""

    @classmethod
    def of(cls, snapshot: Snapshot) -> Anchor:
        """The anchor that remembers ``snapshot``."""
        return cls(
            collection=snapshot.collection,
            salt=snapshot.salt,
            epoch=snapshot.epoch,
            sequence=snapshot.sequence,
            root=snapshot.root,
            origin=snapshot.origin,
        )

    def to_json(self) -> dict[str, Any]:
        """For a file or a resource of a Trustee."""
        return {"format": ANCHOR_FORMAT, **_fields(self)}

    @classmethod
    def from_json(cls, data: Any) -> Anchor:
        """The anchor of :meth:`to_json`.

        Raises:
            BadInput: it is not one.
        """
        try:
            fields = dict(data)
            form = fields.pop("format")
            made = cls(**fields)
        except (TypeError, ValueError, KeyError):
            raise _no_anchor() from None
        texts = (made.collection, made.salt, made.root, made.origin)
        numbers = (made.epoch, made.sequence)
        good = (
            form == ANCHOR_FORMAT
            and all(isinstance(text, str) for text in texts)
            and all(type(number) is int and number >= 0 for number in numbers)
            and _HEX64.fullmatch(made.root) is not None
        )
        if not good:
            raise _no_anchor()
        return made

    @classmethod
    def from_bytes(cls, raw: bytes) -> Anchor:
        """The anchor in a file's or resource's bytes.

        Raises:
            BadInput: it is not one.
        """
        try:
            data = json.loads(raw)
        except (ValueError, RecursionError):
            raise _no_anchor() from None
        return cls.from_json(data)

    def to_bytes(self) -> bytes:
        """Canonical JSON of :meth:`to_json`."""
        return _canonical(self.to_json()).encode()


def rollback(snapshot: Snapshot, anchor: Anchor) -> str:
    """Why ``snapshot`` is not the one remembered or a later one; empty if it is.

    A later snapshot cannot be told from a fork: two lines of snapshots that the owner signed from
    one database restored in between.
    """
    if snapshot.collection != anchor.collection:
        return f"the anchor is one of the collection {anchor.collection}"
    same_epoch = snapshot.epoch == anchor.epoch
    if not _same(snapshot.origin or snapshot.salt, anchor.origin or anchor.salt) or (
        same_epoch and not _same(snapshot.salt, anchor.salt)
    ):
        return "the collection was replaced by another one of the same name"
    if (snapshot.epoch, snapshot.sequence) < (anchor.epoch, anchor.sequence):
        return (
            f"snapshot {snapshot.sequence} of epoch {snapshot.epoch} is older than "
            f"{anchor.sequence} of epoch {anchor.epoch}, which was seen before"
        )
    if snapshot.sequence < anchor.sequence:
        return (
            f"snapshot {snapshot.sequence} is older than {anchor.sequence}, which was seen before"
        )
    same = snapshot.sequence == anchor.sequence
    if same and not _same(snapshot.root, anchor.root):
        return f"snapshot {snapshot.sequence} has another root than the one seen before"
    return ""


def check(snapshot: Snapshot, anchor: Anchor | None) -> None:
    """Refuse a snapshot that is older than the one remembered.

    Raises:
        IntegrityViolated: it is, and the message says how.
    """
    reason = rollback(snapshot, anchor) if anchor is not None else ""
    if reason:
        raise IntegrityViolated(
            f"The collection {snapshot.collection} was rolled back: {reason}.",
            hint="Have the database's newest state restored. If you restored an old backup "
            "yourself and mean to go on from it, remove the anchor of the collection.",
            details={"violation": "rolled_back", "collection": snapshot.collection},
        )


@dataclass(frozen=True)
class AnchorFile:
    """The anchor of one collection on this machine.

    Args:
        collection: its name, which :func:`crag_core.collection.check_name` accepts.
        folder: ``anchors`` in the state folder by default.
    """

    collection: str
    folder: Path | None = None

    @property
    def path(self) -> Path:
        """Where it lies."""
        return (self.folder or home() / "anchors") / f"{self.collection}.json"

    def load(self) -> Anchor | None:
        """The anchor, or None where nothing was seen yet.

        Raises:
            BadInput: the file cannot be read or is not an anchor.
        """
        try:
            return Anchor.from_bytes(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BadInput(
                f"The anchor {self.path} cannot be read: {error.strerror}.",
                hint="Check its permissions.",
            ) from error

    def advance(self, anchor: Anchor) -> bool:
        """Remember ``anchor`` if it is newer than what is there; whether it was written.

        Raises:
            IntegrityViolated: it contradicts what is there (older, or another collection's).
        """
        with self._lock():
            known = self.load()
            if known == anchor:
                return False
            if known is not None:
                check(_as_snapshot(anchor), known)
            write_private(self.path, anchor.to_bytes())
            return True

    def replace(self, anchor: Anchor) -> None:
        """Remember ``anchor``, whatever was there; for a collection made anew."""
        with self._lock():
            write_private(self.path, anchor.to_bytes())

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        folder = private_dir(self.path.parent)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def now() -> str:
    """The moment, UTC, to the second, ISO 8601 with ``Z``."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _as_snapshot(anchor: Anchor) -> Snapshot:
    return Snapshot(
        collection=anchor.collection,
        salt=anchor.salt,
        sequence=anchor.sequence,
        epoch=anchor.epoch,
        rows=0,
        documents=0,
        root=anchor.root,
        previous="",
        created="",
        origin=anchor.origin,
    )


def _fields(value: Snapshot | Anchor) -> dict[str, Any]:
    """The members; the origin only where there is one."""
    found = asdict(value)
    if not found["origin"]:
        del found["origin"]
    return found


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _malformed() -> IntegrityViolated:
    return IntegrityViolated(
        "The snapshot of the collection is not in the format.",
        hint=HINT,
        details={"violation": "tampered"},
    )


def _no_anchor() -> BadInput:
    return BadInput(
        "That is no anchor of a collection.",
        hint="Remove it; the next ingest or verify writes a new one.",
    )
