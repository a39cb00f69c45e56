"""The key pair of one key-broker session, and the encrypted resources that it opens.

Protocol 0.4.0 sends RFC 7516 flattened JSON, ``ECDH-ES+A256KW`` (RFC 7518 4.6) or
``RSA-OAEP-256``, with ``A256GCM``. Trustee up to 1.5.2 (protocol 0.1.0) sends a form of its own:
``protected`` is bare JSON, the key is wrapped by RSA PKCS#1 v1.5, the tag is part of the
ciphertext, and nothing is authenticated besides. A key pair opens only what its own algorithm
made: a server cannot talk it into a weaker one.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from typing import Any, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

from crag_core.errors import BadInput, IntegrityViolated

ECDH = "ECDH-ES+A256KW"
RSA_OAEP = "RSA-OAEP-256"
RSA_LEGACY = "RSA1_5"
_CONTENT = "A256GCM"
_B64URL = re.compile(r"[A-Za-z0-9_-]*")


def b64url(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def b64url_decode(text: object, what: str) -> bytes:
    """The bytes of base64url text without padding.

    Raises:
        IntegrityViolated: it is not a string of that form; ``what`` names it.
    """
    if not isinstance(text, str) or not _B64URL.fullmatch(text):
        raise _unusable(f"its {what} is not base64url without padding")
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise _unusable(f"its {what} is not base64url without padding") from None
    if b64url(raw) != text:
        raise _unusable(f"its {what} is not in the one form of base64url")
    return raw


@dataclass(frozen=True, repr=False)
class TeeKey:
    """A fresh key pair that never leaves this process.

    ``jwk``: the public half as the protocol wants it; exactly these members are hashed into the
    report data.
    """

    alg: str
    _private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @classmethod
    def generate(cls, alg: str = ECDH) -> Self:
        """A new pair: P-256 for ``ECDH-ES+A256KW``, RSA-2048 for the RSA algorithms.

        Raises:
            BadInput: another algorithm.
        """
        if alg == ECDH:
            return cls(alg, ec.generate_private_key(ec.SECP256R1()))
        if alg in (RSA_OAEP, RSA_LEGACY):
            return cls(alg, rsa.generate_private_key(public_exponent=65537, key_size=2048))
        raise BadInput(f"{alg!r} is no algorithm of a key broker's session.", hint=f"Use {ECDH}.")

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as JWK, base64url without padding."""
        public = self._private.public_key()
        numbers = public.public_numbers()
        if isinstance(numbers, ec.EllipticCurvePublicNumbers):
            return {
                "kty": "EC",
                "crv": "P-256",
                "alg": self.alg,
                "x": b64url(numbers.x.to_bytes(32, "big")),
                "y": b64url(numbers.y.to_bytes(32, "big")),
            }
        return {
            "kty": "RSA",
            "alg": self.alg,
            "n": b64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": b64url(numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")),
        }

    def decrypt(self, encrypted: object) -> bytes:
        """The resource in ``encrypted``, the object that a key broker answers with.

        Raises:
            IntegrityViolated: the object is malformed, uses another algorithm than this key's, or
                does not open: it was changed, or encrypted to another key.
        """
        if not isinstance(encrypted, dict) or not isinstance(encrypted.get("protected"), str):
            raise _unusable("it has no protected header")
        if encrypted["protected"].startswith("{"):
            return self._decrypt_legacy(encrypted)
        protected: str = encrypted["protected"]
        header = _header(b64url_decode(protected, "protected header"))
        if header.get("alg") != self.alg or self.alg == RSA_LEGACY:
            raise _unusable("it is not encrypted with this session's algorithm")
        associated = protected.encode("ascii")
        if "aad" in encrypted:
            b64url_decode(encrypted["aad"], "aad")
            associated += b"." + encrypted["aad"].encode("ascii")
        wrapped = b64url_decode(encrypted.get("encrypted_key"), "encrypted key")
        content_key = self._unwrap_ecdh(header, wrapped) if self.alg == ECDH else self._rsa(wrapped)
        sealed = b64url_decode(encrypted.get("ciphertext"), "ciphertext")
        tag = b64url_decode(encrypted.get("tag"), "tag")
        if len(tag) != 16:
            raise _unusable("its tag does not have 16 bytes")
        return _open(content_key, encrypted.get("iv"), sealed + tag, associated)

    def _decrypt_legacy(self, encrypted: dict[str, Any]) -> bytes:
        header = _header(encrypted["protected"].encode())
        if self.alg != RSA_LEGACY or header.get("alg") != RSA_LEGACY or encrypted.get("tag") != "":
            raise _unusable("it has the form of protocol 0.1.0, which this session does not speak")
        content_key = self._rsa(b64url_decode(encrypted.get("encrypted_key"), "encrypted key"))
        sealed = b64url_decode(encrypted.get("ciphertext"), "ciphertext")
        return _open(content_key, encrypted.get("iv"), sealed, None)

    def _unwrap_ecdh(self, header: dict[str, Any], wrapped: bytes) -> bytes:
        epk = header.get("epk")
        if not isinstance(epk, dict) or (epk.get("kty"), epk.get("crv")) != ("EC", "P-256"):
            raise _unusable("its ephemeral key is not one of P-256")
        point = b"\x04" + b"".join(b64url_decode(epk.get(name), f"epk.{name}") for name in "xy")
        parties = b"".join(
            _lp(b64url_decode(header[name], name) if name in header else b"")
            for name in ("apu", "apv")
        )
        other = _lp(ECDH.encode()) + parties + (256).to_bytes(4, "big")
        assert isinstance(self._private, ec.EllipticCurvePrivateKey)  # noqa: S101 - alg is ECDH
        try:
            ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
            shared = self._private.exchange(ec.ECDH(), ephemeral)
            wrapping = ConcatKDFHash(hashes.SHA256(), 32, other).derive(shared)
            return aes_key_unwrap(wrapping, wrapped)
        except (ValueError, InvalidUnwrap):
            raise _unusable("its key does not open with this session's key") from None

    def _rsa(self, wrapped: bytes) -> bytes:
        assert isinstance(self._private, rsa.RSAPrivateKey)  # noqa: S101 - alg is an RSA one
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        scheme = oaep if self.alg == RSA_OAEP else padding.PKCS1v15()
        try:
            return self._private.decrypt(wrapped, scheme)
        except ValueError:
            raise _unusable("its key does not open with this session's key") from None


def _header(raw: bytes) -> dict[str, Any]:
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        raise _unusable("its protected header is not JSON") from None
    if not isinstance(header, dict):
        raise _unusable("its protected header is not an object")
    if header.get("enc") != _CONTENT or {"crit", "zip"} & header.keys():
        raise _unusable(f"its content is not encrypted with plain {_CONTENT}")
    return header


def _open(content_key: bytes, iv: object, sealed: bytes, associated: bytes | None) -> bytes:
    nonce = b64url_decode(iv, "iv")
    if len(content_key) != 32 or len(nonce) != 12 or len(sealed) < 16:
        raise _unusable("its key, iv or ciphertext does not have the right length")
    try:
        return AESGCM(content_key).decrypt(nonce, sealed, associated)
    except InvalidTag:
        raise _unusable("its authentication tag is wrong") from None


def _lp(raw: bytes) -> bytes:
    return len(raw).to_bytes(4, "big") + raw


def _unusable(why: str) -> IntegrityViolated:
    return IntegrityViolated(
        f"The encrypted resource from the key broker cannot be opened: {why}.",
        hint="It was changed on its way, or was meant for another session; try again, and check "
        "the connection to the Trustee.",
        code="resource-unusable",
    )
