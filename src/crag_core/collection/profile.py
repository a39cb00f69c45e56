"""A collection's profile: the public half that a database may see, the sealed half that it may not.

Public: the parameters of the scheme, the salt, the check value. Sealed: the embedder, the chunking
and whatever else the owner records. The public half is bound to the sealed one as associated data,
so that a changed parameter is noticed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from crag_core.errors import BadInput, IntegrityViolated, NotSupported
from crag_core.keys import CollectionKeys, MasterKey
from crag_core.sealing import profile_aad, seal, unseal
from crag_core.store.interface import StoredCollection
from crag_core.vectors import SCHEME

FORMAT = "crag/collection/v1"
SEARCH_MODES = ("database", "enclave")
SALT_BYTES = 32
# Member of the private profile of a rotated collection.
CONTENT_TAG_KEY = "content_tag_key"
# Also a part of resource paths at a Trustee and a file name.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True)
class Profile:
    """The public profile; ``salt`` is hexadecimal."""

    scheme: str
    search_mode: str
    dimension: int
    scaling_factor: float
    approximation_factor: float
    epoch: int
    salt: str
    check_value: str

    def text(self) -> str:
        """Canonical JSON: members sorted, no blanks."""
        return _canonical({"format": FORMAT, **asdict(self)})

    @classmethod
    def parse(cls, name: str, text: str) -> Profile:
        """The profile of a stored text.

        Raises:
            IntegrityViolated: it is not a profile.
            NotSupported: it is one of a format or scheme that this program does not know.
        """
        try:
            found = json.loads(text)
            form, scheme = found.pop("format"), found["scheme"]
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            raise _tampered(name) from None
        if form != FORMAT or scheme != SCHEME:
            raise NotSupported(
                f"The collection {name} has a format or a scheme that this crag does not know.",
                hint="Use the version of crag that made it.",
            )
        try:
            made = cls(**found)
            bytes.fromhex(made.salt)
            same = made.text() == text
        except (TypeError, ValueError, RecursionError):
            raise _tampered(name) from None
        if not same or not made._plausible():
            raise _tampered(name)
        return made

    def _plausible(self) -> bool:
        numbers = (self.scaling_factor, self.approximation_factor)
        return (
            self.search_mode in SEARCH_MODES
            and type(self.dimension) is int
            and type(self.epoch) is int
            and self.epoch >= 1
            and all(isinstance(number, float) for number in numbers)
            and isinstance(self.check_value, str)
            and len(self.salt) == 2 * SALT_BYTES
        )


@dataclass(frozen=True)
class SealedProfile:
    """A profile as it is stored."""

    text: str
    nonce: bytes
    sealed: bytes


def check_name(name: str) -> str:
    """The name itself.

    Raises:
        BadInput: it is not 1 to 63 of ``A-Z a-z 0-9 _ . -``, beginning with a letter or digit.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} cannot be the name of a collection.",
            hint="Use 1 to 63 letters, digits, '_', '.' and '-', a letter or digit first.",
        )
    return name


def make(
    name: str,
    master: MasterKey,
    *,
    salt: bytes,
    dimension: int,
    search_mode: str,
    scaling_factor: float,
    approximation_factor: float,
) -> tuple[Profile, CollectionKeys]:
    """A profile for a new collection, with its check value.

    Raises:
        BadInput: a search mode that does not exist.
    """
    if search_mode not in SEARCH_MODES:
        raise BadInput(
            f"{search_mode!r} is no search mode.", hint=f"Choose {' or '.join(SEARCH_MODES)}."
        )
    keys = CollectionKeys(master, name, salt)
    profile = Profile(
        scheme=SCHEME,
        search_mode=search_mode,
        dimension=dimension,
        scaling_factor=float(scaling_factor),
        approximation_factor=float(approximation_factor),
        epoch=1,
        salt=salt.hex(),
        check_value="",
    )
    return replace(profile, check_value=keys.check_value()), keys


def seal_private(
    profile: Profile, keys: CollectionKeys, private: Mapping[str, Any]
) -> SealedProfile:
    """The profile as it is stored, its private half sealed.

    Raises:
        BadInput: the private half has no JSON form.
    """
    text = profile.text()
    try:
        payload = _canonical(private).encode()
    except (TypeError, ValueError):
        raise BadInput("The private profile of the collection has no JSON form.") from None
    nonce, sealed = seal(keys.derive("seal/profile"), payload, profile_aad(text.encode()))
    return SealedProfile(text, nonce, sealed)


def open_profile(
    stored: StoredCollection, master: MasterKey, check_value: str | None
) -> tuple[Profile, CollectionKeys, dict[str, Any]]:
    """The public profile, the collection's keys and the private profile.

    Args:
        check_value: the key that is expected: check value of the master key or of the collection.

    Raises:
        IntegrityViolated: the key is not the collection's or not the expected one, or the profile
            was changed.
        NotSupported: a format or scheme of another version.
    """
    name = stored.name
    profile = Profile.parse(name, stored.profile)
    keys = CollectionKeys(master, name, bytes.fromhex(profile.salt))
    if not keys.matches(profile.check_value):
        raise IntegrityViolated(
            f"The master key does not open the collection {name}: its check value is another.",
            hint="Give the key that the collection was made with. If it is that key, the "
            "collection's profile was changed in the database.",
            code="wrong-key",
            details={"collection": name},
        )
    if check_value is not None and not (keys.matches(check_value) or master.matches(check_value)):
        raise IntegrityViolated(
            f"The collection {name} has another key than the pinned check value says.",
            hint="Compare with `crag-owner key show`.",
            code="wrong-key",
            details={"collection": name},
        )
    return profile, keys, open_with_keys(stored, keys)


def content_tag_key(keys: CollectionKeys, private: Mapping[str, Any]) -> bytes:
    """The key that recognises documents: that of the first epoch, kept in the private profile by a
    rotation, because the files are not there to be recognised anew.

    Raises:
        IntegrityViolated: what the private profile holds is no key.
    """
    kept = private.get(CONTENT_TAG_KEY)
    if kept is None:
        return keys.derive("content-tag")
    try:
        return bytes.fromhex(kept)
    except (TypeError, ValueError):
        raise _tampered(keys.collection) from None


def open_with_keys(stored: StoredCollection, keys: CollectionKeys) -> dict[str, Any]:
    """The private profile.

    Raises:
        IntegrityViolated: it, or the public one that is bound to it, was changed.
    """
    try:
        aad = profile_aad(stored.profile.encode())
        payload = unseal(keys.derive("seal/profile"), stored.nonce, stored.sealed, aad)
        return dict(json.loads(payload))
    except (IntegrityViolated, ValueError, TypeError):
        raise _tampered(stored.name) from None


def _canonical(value: Mapping[str, Any]) -> str:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def _tampered(name: str) -> IntegrityViolated:
    return IntegrityViolated(
        f"The profile of the collection {name} was changed in the database.",
        hint="Have the collection restored from a backup.",
        details={"collection": name, "violation": "tampered"},
    )
