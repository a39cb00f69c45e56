"""The keys of one open collection, each made once: what reads and what writes rows shares it."""

from __future__ import annotations

import hmac
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

from crag_core.collection.profile import Profile
from crag_core.errors import IntegrityViolated
from crag_core.keys import CollectionKeys, lp
from crag_core.sealing import RowBinding, Sealer, document_place
from crag_core.sethash import SetHash
from crag_core.snapshot import Snapshot, SnapshotSigner
from crag_core.store.interface import Generation, StoredSnapshot
from crag_core.vectors import VectorCipher

ID_BYTES = 16
_U32 = struct.Struct(">I").pack
# Versions of a row's sealed payload: text alone, or the vector as float16 before the text.
TEXT_ROW, VECTOR_ROW = 1, 2


@dataclass
class Context:
    """A collection's name, parameters and keys.

    ``seen`` is the newest snapshot that this process has seen; an older one is refused. ``fetch``
    is K' for ten hits, where the owner recorded one.
    """

    identity: int
    name: str
    profile: Profile
    keys: CollectionKeys
    seen: Snapshot | None = None
    fetch: int | None = None

    def __post_init__(self) -> None:
        self._guard = threading.Lock()
        self._checked: tuple[StoredSnapshot, Snapshot] | None = None

    @property
    def generation(self) -> Generation:
        """The tables that hold it."""
        return Generation(self.identity, self.profile.epoch, self.profile.dimension)

    @property
    def in_enclave(self) -> bool:
        """Whether vectors are sealed with their texts, so that only an enclave compares them."""
        return self.profile.search_mode == "enclave"

    @property
    def row_version(self) -> int:
        """The format of every row of the collection."""
        return VECTOR_ROW if self.in_enclave else TEXT_ROW

    @property
    def sealed_vector_bytes(self) -> int:
        """How many bytes of a row's payload are its vector."""
        return 2 * self.profile.dimension if self.in_enclave else 0

    @cached_property
    def cipher(self) -> VectorCipher:
        """The vector cipher; made on first use, because the rotation takes a moment."""
        return VectorCipher(
            self.keys,
            dimension=self.profile.dimension,
            scaling_factor=self.profile.scaling_factor,
            approximation_factor=self.profile.approximation_factor,
        )

    @cached_property
    def binding(self) -> RowBinding:
        """The associated data of rows."""
        return RowBinding(
            scheme=self.profile.scheme, epoch=self.profile.epoch, collection=self.name
        )

    @cached_property
    def text_sealer(self) -> Sealer:
        """Seals and opens rows."""
        return Sealer(self.keys.derive("seal/text"))

    @cached_property
    def document_sealer(self) -> Sealer:
        """Seals and opens documents."""
        return Sealer(self.keys.derive("seal/document"))

    @cached_property
    def signer(self) -> SnapshotSigner:
        """Signs and checks snapshots."""
        return SnapshotSigner(self.keys.derive("snapshot/sign"))

    @cached_property
    def _document_ids(self) -> HMAC:
        return HMAC(self.keys.derive("id/document"), hashes.SHA256())

    @cached_property
    def _row_ids(self) -> HMAC:
        return HMAC(self.keys.derive("id/row"), hashes.SHA256())

    @cached_property
    def _set_key(self) -> bytes:
        return self.keys.derive("sethash")

    @cached_property
    def tag_key(self) -> bytes:
        """The key of the tags that stand for labels."""
        return self.keys.derive("tag")

    @cached_property
    def _document_place(self) -> bytes:
        return document_place(
            scheme=self.profile.scheme, epoch=self.profile.epoch, collection=self.name
        )

    def document_aad(self, identity: bytes) -> bytes:
        """The associated data of a document."""
        return self._document_place + lp(identity)

    def document_id(self, source: str) -> bytes:
        """16 bytes: HMAC-SHA256 of the source, truncated; the same source, the same id."""
        mac = self._document_ids.copy()
        mac.update(source.encode("utf-8"))
        return mac.finalize()[:ID_BYTES]

    def row_ids(self, document: bytes, contents: Iterable[bytes]) -> list[bytes]:
        """16 bytes for each row of a document in reading order: HMAC-SHA256 of document, position
        and content, truncated.
        """
        of_document = self._row_ids.copy()
        of_document.update(lp(document))
        fresh, position, found = of_document.copy, _U32, []
        for index, content in enumerate(contents):
            mac = fresh()
            mac.update(position(index) + content)
            found.append(mac.finalize()[:ID_BYTES])
        return found

    def empty_set(self) -> SetHash:
        """The set hash of no element."""
        return SetHash(self._set_key)

    def set_from(self, state: bytes) -> SetHash:
        """The set hash of a stored state."""
        return SetHash.from_state(self._set_key, state)

    def check(self, stored: StoredSnapshot | None) -> Snapshot:
        """The snapshot of a stored record: signed, of this collection, state and root in accord.

        Raises:
            IntegrityViolated: anything of that does not hold, and the message says what.
        """
        if stored is None:
            raise self._violated("has no snapshot any more", "missing")
        checked = self._checked
        # The very same bytes need no second look.
        if checked is not None and checked[0] == stored:
            return checked[1]
        snapshot = self.signer.check(stored.body, stored.signature)
        expected = (self.name, self.profile.salt, self.profile.epoch)
        if (snapshot.collection, snapshot.salt, snapshot.epoch) != expected:
            raise self._violated("has the snapshot of another collection", "swapped")
        if not hmac.compare_digest(
            self.set_from(stored.state).digest(), bytes.fromhex(snapshot.root)
        ):
            raise self._violated("has a snapshot whose state does not fit its root", "tampered")
        self._checked = (stored, snapshot)
        return snapshot

    def remember(self, stored: StoredSnapshot, snapshot: Snapshot) -> None:
        """Spare :meth:`check` the look at a record that this process made itself."""
        self._checked = (stored, snapshot)

    def current(self, stored: StoredSnapshot | None, floor: Snapshot | None) -> Snapshot:
        """As :meth:`check`, and not older than ``floor``.

        Args:
            floor: :attr:`seen` as it was before the transaction began; another thread may have
                seen a newer one since.

        Raises:
            IntegrityViolated: as :meth:`check`, or it was rolled back.
        """
        snapshot = self.check(stored)
        if floor is not None:
            older = snapshot.sequence < floor.sequence
            other = snapshot.sequence == floor.sequence and snapshot.root != floor.root
            if older or other:
                raise self._violated(
                    f"was rolled back from snapshot {floor.sequence} to {snapshot.sequence}",
                    "rolled_back",
                )
        self.note(snapshot)
        return snapshot

    def note(self, snapshot: Snapshot) -> None:
        """Remember ``snapshot`` if it is newer than what was seen."""
        with self._guard:
            if self.seen is None or snapshot.sequence > self.seen.sequence:
                self.seen = snapshot

    def _violated(self, what: str, kind: str) -> IntegrityViolated:
        return IntegrityViolated(
            f"The collection {self.name} {what}.",
            hint="Run `crag-owner verify`, and have the newest state restored.",
            details={"collection": self.name, "violation": kind, "row": "snapshot"},
        )
