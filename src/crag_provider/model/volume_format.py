"""gocryptfs' on-disk format, version 2: what a password opens and how bytes and names are sealed.

Source: the gocryptfs project's documents "Crypto", "File format" and "Name encryption". A folder
holds ``gocryptfs.conf`` (the volume's key, sealed under scrypt of the password), in every folder
``gocryptfs.diriv``, and one encrypted file per file: a header (version 2, 16-byte file id) and
blocks of 4096 bytes, each AES-256-GCM with a 16-byte IV and the block's number and the file id as
associated data. Keys come from the volume's key by HKDF-SHA256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import struct
from dataclasses import dataclass
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from crag_core.errors import BadInput, IntegrityViolated, NotSupported
from crag_provider.model.eme import Eme

CONFIG_NAME = "gocryptfs.conf"
DIRIV_NAME = "gocryptfs.diriv"
LONG_PREFIX = "gocryptfs.longname."
LONG_SUFFIX = ".name"
NAME_MAX = 255

VERSION = 2
IV_BYTES = 16
TAG_BYTES = 16
ID_BYTES = 16
HEADER_BYTES = 2 + ID_BYTES
PLAIN_BLOCK = 4096
CIPHER_BLOCK = IV_BYTES + PLAIN_BLOCK + TAG_BYTES

_NEEDED = frozenset({"HKDF", "GCMIV128"})
_NAMES = frozenset({"DirIV", "EMENames", "LongNames", "Raw64"})
_PLAIN_NAMES = "PlaintextNames"
# Bounds that keep a forged file from costing gigabytes; gocryptfs' own range for -scryptn is 10-28.
_MAX_SCRYPT_LOG = 20
_CONTENT_INFO = b"AES-GCM file content encryption"
_NAME_INFO = b"EME filename encryption"


def hkdf(key: bytes, info: bytes) -> bytes:
    """A 32-byte key for one purpose."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(key)


@dataclass(frozen=True, repr=False)
class VolumeKeys:
    """What an opened volume's bytes and names are sealed with."""

    content: AESGCM
    names: Eme | None

    @classmethod
    def derive(cls, volume_key: bytes, *, plain_names: bool) -> Self:
        """The keys of a volume from its 32-byte key."""
        names = None if plain_names else Eme(hkdf(volume_key, _NAME_INFO))
        return cls(AESGCM(hkdf(volume_key, _CONTENT_INFO)), names)

    def open_block(self, block: bytes, number: int, file_id: bytes) -> bytes:
        """The plaintext of one block.

        Raises:
            InvalidTag: it is not the block of that number of that file, or was changed.
        """
        return self.content.decrypt(
            block[:IV_BYTES], block[IV_BYTES:], struct.pack(">Q", number) + file_id
        )

    def seal_block(self, plain: bytes, number: int, file_id: bytes) -> bytes:
        """Seal 1 to 4096 bytes under a fresh IV."""
        iv = os.urandom(IV_BYTES)
        return iv + self.content.encrypt(iv, plain, struct.pack(">Q", number) + file_id)

    def open_name(self, stored: str, diriv: bytes) -> str:
        """The plain name of an entry whose folder has ``diriv``.

        Raises:
            IntegrityViolated: it is no encrypted name of this volume.
        """
        if self.names is None:
            return stored
        try:
            sealed = base64.b64decode(stored + "=" * (-len(stored) % 4), altchars=b"-_")
            padded = self.names.decrypt(diriv, sealed)
            plain = _unpad(padded).decode()
        except (ValueError, binascii.Error):
            raise IntegrityViolated(
                "The volume holds a file whose name does not decrypt.",
                hint="Somebody added or renamed a file in it; fetch the volume anew.",
            ) from None
        if plain in ("", ".", "..") or "/" in plain or "\0" in plain:
            raise IntegrityViolated(
                "The volume holds a file whose name is no file name.",
                hint="Fetch the volume anew.",
            )
        return plain

    def seal_name(self, plain: str, diriv: bytes) -> str:
        """The stored name; longer than :data:`NAME_MAX` needs a long name.

        Raises:
            ValueError: the volume keeps plain names.
        """
        if self.names is None:
            raise ValueError("this volume keeps plain names")
        sealed = self.names.encrypt(diriv, _pad(plain.encode()))
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def long_name(stored: str) -> str:
    """The short name that stands for a stored name of more than 255 bytes."""
    digest = hashlib.sha256(stored.encode()).digest()
    return LONG_PREFIX + base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _pad(data: bytes) -> bytes:
    count = 16 - len(data) % 16
    return data + bytes([count]) * count


def _unpad(data: bytes) -> bytes:
    count = data[-1]
    if not 1 <= count <= 16 or data[-count:] != bytes([count]) * count or count == len(data):
        raise ValueError("padding")
    return data[:-count]


def new_config(password: bytes | bytearray, volume_key: bytes, *, creator: str) -> bytes:
    """The text of ``gocryptfs.conf`` for a new volume with encrypted names."""
    salt = os.urandom(32)
    wrapping = AESGCM(hkdf(_scrypt(bytes(password), salt, 65536, 8, 1), _CONTENT_INFO))
    iv = os.urandom(IV_BYTES)
    sealed = iv + wrapping.encrypt(iv, volume_key, struct.pack(">Q", 0))
    config = {
        "Creator": creator,
        "EncryptedKey": base64.b64encode(sealed).decode(),
        "ScryptObject": {
            "Salt": base64.b64encode(salt).decode(),
            "N": 65536,
            "R": 8,
            "P": 1,
            "KeyLen": 32,
        },
        "Version": VERSION,
        "FeatureFlags": sorted(_NEEDED | _NAMES),
    }
    return json.dumps(config, indent="\t").encode() + b"\n"


def open_config(text: bytes, password: bytes | bytearray) -> VolumeKeys:
    """The keys of the volume whose ``gocryptfs.conf`` is ``text``.

    Raises:
        BadInput: the text is not a configuration of version 2.
        NotSupported: the volume uses a feature that only gocryptfs itself reads.
        IntegrityViolated: the password does not open it.
    """
    try:
        config: dict[str, Any] = json.loads(text)
        flags = frozenset(config["FeatureFlags"])
        version = config["Version"]
        sealed = base64.b64decode(config["EncryptedKey"], validate=True)
        kdf = config["ScryptObject"]
        salt = base64.b64decode(kdf["Salt"], validate=True)
        costs = (int(kdf["N"]), int(kdf["R"]), int(kdf["P"]))
    except (ValueError, KeyError, TypeError, binascii.Error, RecursionError):
        raise BadInput(
            f"The volume's {CONFIG_NAME} is not a gocryptfs configuration.",
            hint="Make the volume with 'crag-provider model encrypt' or 'gocryptfs -init'.",
        ) from None
    plain_names = _PLAIN_NAMES in flags
    known = _NEEDED | ({_PLAIN_NAMES} if plain_names else _NAMES)
    if version != VERSION or flags != known:
        odd = ", ".join(sorted(map(str, flags ^ known))) or f"version {version}"
        raise NotSupported(
            f"The volume has a format that only gocryptfs itself opens ({odd}).",
            hint="Install gocryptfs and fuse3, or make the volume without special options.",
        )
    _require_bounded(costs)
    wrapping = AESGCM(hkdf(_scrypt(bytes(password), salt, *costs), _CONTENT_INFO))
    try:
        volume_key = wrapping.decrypt(sealed[:IV_BYTES], sealed[IV_BYTES:], struct.pack(">Q", 0))
    except (InvalidTag, ValueError):
        raise wrong_password() from None
    return VolumeKeys.derive(volume_key, plain_names=plain_names)


def wrong_password() -> IntegrityViolated:
    """What is said when the model's key is not the one of the volume."""
    return IntegrityViolated(
        "The model's key does not open the model's volume.",
        hint="Check that MODEL_KEY_ID names the key that 'crag-provider model encrypt' made for "
        "this volume, and that the volume is the one it was made for.",
        code="wrong-model-key",
    )


def _require_bounded(costs: tuple[int, int, int]) -> None:
    n, r, p = costs
    power = n.bit_length() - 1
    if n != 1 << power or not 10 <= power <= _MAX_SCRYPT_LOG or r != 8 or p != 1:
        raise NotSupported(
            "The volume's password hashing has unusual costs.",
            hint="Make the volume with gocryptfs' default -scryptn 16.",
        )


def _scrypt(password: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=n, r=r, p=p).derive(password)
