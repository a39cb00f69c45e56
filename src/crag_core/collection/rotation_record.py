"""What a rotation keeps in the database until it is done: the next profile and how far it has come.

The record is sealed under the next epoch's keys and bound to the next profile, so the database
can put back an older one but not make one up; an older one costs work, not safety.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from crag_core.collection.context import Context
from crag_core.collection.profile import Profile
from crag_core.errors import IntegrityViolated
from crag_core.keys import CollectionKeys, lp
from crag_core.sealing import seal, unseal
from crag_core.sethash import SetHash
from crag_core.snapshot import Snapshot
from crag_core.store.interface import StoredRotation

_LABEL = lp(b"crag/rotation/v1")


@dataclass(frozen=True)
class Progress:
    """How far a rotation has come.

    ``base`` is the digest of the snapshot that is rotated; ``documents`` and ``rows`` are copied
    already, and ``state`` is their set hash's (2048 bytes).
    """

    base: str
    documents: int
    rows: int
    state: bytes
    private: Mapping[str, Any]

    @classmethod
    def start(cls, new: Context, base: Snapshot, private: Mapping[str, Any]) -> Progress:
        """Nothing copied yet."""
        return cls(base.digest, 0, 0, new.empty_set().state(), private)

    def plus(self, total: SetHash, documents: int, rows: int) -> Progress:
        """After a further batch; ``total`` is the set hash of everything copied."""
        return replace(
            self,
            documents=self.documents + documents,
            rows=self.rows + rows,
            state=total.state(),
        )


def seal_record(new: Context, progress: Progress) -> StoredRotation:
    """The record as it is stored."""
    text = new.profile.text()
    payload = json.dumps(
        {
            "base": progress.base,
            "documents": progress.documents,
            "rows": progress.rows,
            "state": progress.state.hex(),
            "private": dict(progress.private),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
    nonce, sealed = seal(new.keys.derive("seal/profile"), payload.encode(), _aad(text))
    return StoredRotation(text, nonce, sealed)


def open_record(name: str, record: StoredRotation, keys: CollectionKeys) -> Progress:
    """The progress in a record.

    Raises:
        IntegrityViolated: it was changed.
    """
    try:
        payload = unseal(
            keys.derive("seal/profile"), record.nonce, record.sealed, _aad(record.profile)
        )
        found = json.loads(payload)
        return Progress(
            base=found["base"],
            documents=found["documents"],
            rows=found["rows"],
            state=bytes.fromhex(found["state"]),
            private=found["private"],
        )
    except (IntegrityViolated, ValueError, KeyError, TypeError):
        raise IntegrityViolated(
            f"The record of the rotation of {name} was changed in the database.",
            hint="Give the rotation up with `crag-owner rotate --abort`, and begin again.",
            details={"collection": name, "violation": "tampered"},
        ) from None


def next_profile(profile: Profile, keys: CollectionKeys, changes: Mapping[str, Any]) -> Profile:
    """The profile of the next epoch: its keys' salt and check value, and what changes."""
    return replace(
        profile,
        **changes,
        epoch=profile.epoch + 1,
        salt=keys.salt.hex(),
        check_value=keys.check_value(),
    )


def _aad(profile: str) -> bytes:
    return _LABEL + lp(profile.encode())
