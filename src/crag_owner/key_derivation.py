"""A master key from a passphrase: Argon2id (RFC 9106), its parameters kept beside the key.

Whoever has the passphrase and the record can make the same key again. The record is no secret; the
check value in it says whether the passphrase was the right one.
"""

from __future__ import annotations

import json
import os
import unicodedata
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crag_core.errors import BadInput
from crag_core.keys import MasterKey

FORMAT = "crag/passphrase-key/v1"
KDF = "argon2id"
# Version 0x13 of Argon2, the one of the RFC.
VERSION = 19
KEY_BYTES = 32
SALT_BYTES = 16
# RFC 9106 section 4, second recommendation: at least this.
ITERATIONS, LANES, MEMORY_KIB = 3, 4, 64 * 1024
MAX_ITERATIONS, MAX_LANES, MAX_MEMORY_KIB = 64, 64, 4 * 1024 * 1024
SHORT = 16


@dataclass(frozen=True)
class Recipe:
    """How a key follows from a passphrase; ``salt`` is hexadecimal, memory in KiB."""

    salt: str
    iterations: int = ITERATIONS
    lanes: int = LANES
    memory_kib: int = MEMORY_KIB
    check_value: str = ""

    @classmethod
    def fresh(cls) -> Recipe:
        """The recommended parameters with a random salt of 128 bits."""
        return cls(os.urandom(SALT_BYTES).hex())

    def to_bytes(self) -> bytes:
        """The record: JSON, for people to read and programs."""
        fixed = {"format": FORMAT, "kdf": KDF, "version": VERSION, "length": KEY_BYTES}
        return (json.dumps(fixed | asdict(self), indent=2, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, raw: bytes, where: str) -> Recipe:
        """The recipe of a record.

        Raises:
            BadInput: it is none, or its parameters are weaker than those recommended or absurd.
        """
        try:
            found: dict[str, Any] = dict(json.loads(raw))
            fixed = [found.pop(name) for name in ("format", "kdf", "version", "length")]
            made = cls(**found)
            salt = bytes.fromhex(made.salt)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise _no_recipe(where) from None
        numbers = (made.iterations, made.lanes, made.memory_kib)
        if fixed != [FORMAT, KDF, VERSION, KEY_BYTES] or any(type(n) is not int for n in numbers):
            raise _no_recipe(where)
        strong = (
            ITERATIONS <= made.iterations <= MAX_ITERATIONS
            and LANES <= made.lanes <= MAX_LANES
            and MEMORY_KIB <= made.memory_kib <= MAX_MEMORY_KIB
            and SALT_BYTES <= len(salt) <= 64
        )
        if not strong or not isinstance(made.check_value, str):
            raise BadInput(
                f"The parameters in {where} are weaker than RFC 9106 recommends, or beyond reason.",
                hint="Use the record that `crag-owner key import` wrote beside the key.",
            )
        return made

    def derive(self, passphrase: str) -> MasterKey:
        """The key: Argon2id over the passphrase's NFC form in UTF-8. Takes 64 MiB and a moment.

        Raises:
            BadInput: the passphrase is empty or has no UTF-8 form, or it is not the one of the
                check value.
        """
        from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

        try:
            secret = unicodedata.normalize("NFC", passphrase).encode("utf-8")
        except UnicodeEncodeError:
            raise BadInput("The passphrase has no UTF-8 form.") from None
        if not secret:
            raise BadInput("The passphrase is empty.", hint="Six random words are a good one.")
        made = MasterKey.from_bytes(
            Argon2id(
                salt=bytes.fromhex(self.salt),
                length=KEY_BYTES,
                iterations=self.iterations,
                lanes=self.lanes,
                memory_cost=self.memory_kib,
            ).derive(secret)
        )
        if self.check_value and not made.matches(self.check_value):
            raise BadInput(
                "This is not the passphrase that the record was made with.",
                hint="Mind capitals and the keyboard's layout, and try again.",
                code="wrong-passphrase",
            )
        return made


def recipe_path(key: Path) -> Path:
    """Where the record of a key's file lies."""
    return key.with_name(key.name + ".argon2id.json")


def _no_recipe(where: str) -> BadInput:
    return BadInput(
        f"{where} is no record of a key made from a passphrase.",
        hint="It lies beside the key, with a name that ends in .argon2id.json.",
    )
