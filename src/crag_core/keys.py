"""The owner's master key and every key that is derived from it.

One master key per owner. Each collection has a random salt, and each use in a collection has a key
of its own: HKDF-SHA256 (RFC 5869) over the master key with that salt and length-prefixed names.
``docs/reference/formats.md`` has the exact bytes.
"""

from __future__ import annotations

import hmac
import re
import secrets

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from crag_core.errors import BadInput

KDF_LABEL = b"crag/kdf/v1"
CHECK_PREFIX = "kcv1:"
MAX_MASTER_BYTES = 4096
MIN_SALT_BYTES = 16
STRONG_BYTES = 32
MIN_DISTINCT_BYTES = 10
PURPOSES = frozenset(
    {
        "check-value",
        "collection-check-value",
        "vector/rotation",
        "vector/noise",
        "vector/iv",
        "vector/query-iv",
        "vector/query-noise",
        "seal/text",
        "seal/document",
        "seal/profile",
        "id/document",
        "id/row",
        "tag",
        "content-tag",
        "snapshot/sign",
        "sethash",
    }
)


def lp(field: bytes) -> bytes:
    """``field`` behind its length as a 32-bit big-endian number, so that joins are unambiguous."""
    return len(field).to_bytes(4, "big") + field


class MasterKey:
    """The secret from which all keys of an owner come; never shown, never stored in a database."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        self._raw = bytes(raw)

    @classmethod
    def from_bytes(cls, raw: bytes) -> MasterKey:
        """The master key with exactly these bytes (1 to 4096 of them, nothing is stripped).

        Raises:
            BadInput: no bytes, or more than 4096.
        """
        if not raw:
            raise BadInput("The master key is empty.", hint="Make one with `crag-owner key new`.")
        if len(raw) > MAX_MASTER_BYTES:
            raise BadInput(
                f"The master key has {len(raw)} bytes; at most {MAX_MASTER_BYTES} are accepted.",
                hint="Is it the right file? A good key has 32 random bytes.",
            )
        return cls(raw)

    @classmethod
    def generate(cls) -> MasterKey:
        """A new key: 32 bytes from the operating system's random source."""
        return cls(secrets.token_bytes(32))

    @property
    def raw(self) -> bytes:
        """The key's bytes. Whoever takes them must not print, log or store them in the clear."""
        return self._raw

    @property
    def weak(self) -> bool:
        """Whether a person probably typed this key, so that guessing it is realistic.

        True for fewer than 32 bytes, for fewer than 10 different byte values, for a repeated
        block, and for printable ASCII that is neither 64 or more hexadecimal digits nor 43 or more
        characters of base64 in which capitals, small letters and digits all occur. A heuristic:
        False is no proof.
        """
        raw = self._raw
        if len(raw) < STRONG_BYTES or len(set(raw)) < MIN_DISTINCT_BYTES:
            return True
        repeated = raw in (raw + raw)[1:-1]
        if repeated:
            return True
        if not all(0x20 <= byte < 0x7F or byte in b"\t\r\n" for byte in raw):
            return False
        if re.fullmatch(rb"[0-9a-fA-F]{64,}", raw):
            return False
        encoded = re.fullmatch(rb"[A-Za-z0-9+/_-]{43,}={0,2}", raw) is not None
        mixed = all(re.search(pattern, raw) for pattern in (rb"[A-Z]", rb"[a-z]", rb"[0-9]"))
        return not (encoded and mixed)

    def check_value(self) -> str:
        """``kcv1:`` and 32 hexadecimal digits that identify the key without revealing it."""
        return _check_value(_hkdf(self._raw, b"", [b"check-value"], 16))

    def matches(self, check_value: str) -> bool:
        """Whether ``check_value`` is this key's, compared in constant time."""
        return _same(self.check_value(), check_value)

    def __repr__(self) -> str:
        return "MasterKey(***)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a MasterKey is not pickled: hand over .raw where that is meant")


class CollectionKeys:
    """All keys of one collection in one epoch; a new epoch has a new salt and so new keys.

    Args:
        master: the owner's key.
        collection: the collection's name.
        salt: at least 16 random bytes, stored in the collection's public profile.

    Raises:
        BadInput: the name is empty or the salt is shorter than 16 bytes.
    """

    __slots__ = ("_master", "collection", "salt")

    def __init__(self, master: MasterKey, collection: str, salt: bytes) -> None:
        if not collection:
            raise BadInput("The collection has no name.", hint="Name it with --collection.")
        if len(salt) < MIN_SALT_BYTES:
            raise BadInput(
                f"The salt of collection {collection} has {len(salt)} bytes; "
                f"at least {MIN_SALT_BYTES} are needed.",
                hint="The collection's profile is damaged; verify the collection.",
            )
        if any(0xD800 <= ord(letter) < 0xE000 for letter in collection):
            raise BadInput("The collection's name is not valid Unicode.", hint="Name it in UTF-8.")
        self._master = master
        self.collection = collection
        self.salt = bytes(salt)

    def derive(self, purpose: str, length: int = 32, *extra: bytes) -> bytes:
        """The key for one purpose: ``length`` bytes of HKDF-SHA256.

        Args:
            purpose: one of :data:`PURPOSES`.
            length: how many bytes, 1 to 8160.
            extra: further length-prefixed fields, such as a dimension.

        Raises:
            ValueError: a purpose that the format does not know, which is a defect of the caller.
        """
        if purpose not in PURPOSES:
            raise ValueError(f"{purpose!r} is no purpose of {KDF_LABEL.decode()}")
        fields = [purpose.encode(), self.collection.encode(), *extra]
        return _hkdf(self._master.raw, self.salt, fields, length)

    def with_salt(self, salt: bytes) -> CollectionKeys:
        """The keys of the same collection under the same master key in the epoch of ``salt``."""
        return CollectionKeys(self._master, self.collection, salt)

    def check_value(self) -> str:
        """``kcv1:`` and 32 hexadecimal digits, different for every collection and epoch."""
        return _check_value(self.derive("collection-check-value", 16))

    def matches(self, check_value: str) -> bool:
        """Whether ``check_value`` is this collection's under this key, in constant time."""
        return _same(self.check_value(), check_value)

    def __repr__(self) -> str:
        return f"CollectionKeys(***, collection={self.collection!r}, salt={self.salt.hex()!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("CollectionKeys are not pickled: hand over the master key where meant")


def _hkdf(ikm: bytes, salt: bytes, fields: list[bytes], length: int) -> bytes:
    info = b"".join(lp(field) for field in [KDF_LABEL, *fields])
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=info).derive(ikm)


def _check_value(value: bytes) -> str:
    return CHECK_PREFIX + value.hex()


def _same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode(), theirs.encode("utf-8", "surrogatepass"))
