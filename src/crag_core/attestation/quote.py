"""The structure of TDX quotes, read strictly.

Intel's format leaves room that no signature covers: the root certificate that the quote brings
along, line breaks in its PEM, bytes after the end, lengths that verifiers ignore. A quote that
differs from the canonical form of the same content is refused here, so that no bit of it can be
changed unnoticed. Layout: Intel, "TDX DCAP Quoting Library API", Appendix 3 (quote 4) and
"SGX ECDSA QuoteLibReference" (quote 3 and 5).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crag_core.attestation.cursor import Cursor
from crag_core.errors import AttestationRejected

MAX_QUOTE = 64 * 1024
HEADER = 48
TEE_SGX = 0x00
TEE_TDX = 0x81
ECDSA_P256 = 2
INTEL_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_TD10, _TD15 = 2, 3
_PCK_CHAIN, _QE_REPORT = 5, 6
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----\n", b"-----END CERTIFICATE-----\n"

_FIELDS: tuple[tuple[str, int], ...] = (
    ("tee_tcb_svn", 16),
    ("mr_seam", 48),
    ("mr_signer_seam", 48),
    ("seam_attributes", 8),
    ("td_attributes", 8),
    ("xfam", 8),
    ("mr_td", 48),
    ("mr_config_id", 48),
    ("mr_owner", 48),
    ("mr_owner_config", 48),
    ("rtmr0", 48),
    ("rtmr1", 48),
    ("rtmr2", 48),
    ("rtmr3", 48),
    ("report_data", 64),
)
_FIELDS_15: tuple[tuple[str, int], ...] = (("tee_tcb_svn2", 16), ("mr_service_td", 48))


@dataclass(frozen=True)
class Quote:
    """A TDX quote taken apart; nothing in it is verified yet.

    ``fields`` maps the names of the TD report (``mr_td``, ``rtmr0``, ...) to their bytes.
    ``chain`` is the PCK chain that the quote carries, leaf first, as DER. ``trailing`` is what
    stands behind the signature data.
    """

    version: int
    fields: Mapping[str, bytes]
    chain: Sequence[bytes]
    trailing: bytes

    @property
    def report_data(self) -> bytes:
        """The 64 bytes that the TD put into its report."""
        return self.fields["report_data"]

    def rtmr(self, index: int) -> bytes:
        """Runtime measurement register 0 to 3, 48 bytes."""
        return self.fields[f"rtmr{index}"]

    def measurements(self) -> dict[str, str]:
        """All fields of the TD report, in hex."""
        return {name: value.hex() for name, value in self.fields.items()}


def tee_of(quote: bytes) -> str:
    """``tdx``, ``sgx`` or ``unknown``, from the header alone."""
    if len(quote) < HEADER:
        return "unknown"
    kind = int.from_bytes(quote[4:8], "little")
    return {TEE_SGX: "sgx", TEE_TDX: "tdx"}.get(kind, "unknown")


def parse_quote(quote: bytes) -> Quote:
    """Take a TDX quote (version 4 or 5, TD report 1.0 or 1.5) apart.

    Raises:
        AttestationRejected: it is truncated, too long, of another kind, or not in the one form
            that its content has.
    """
    cursor = Cursor(quote, "quote")
    if len(quote) > MAX_QUOTE:
        raise cursor.malformed(f"it has {len(quote)} bytes, more than {MAX_QUOTE}")
    version = cursor.number(2, "version")
    key_type = cursor.number(2, "attestation key type")
    tee = cursor.number(4, "TEE type")
    cursor.take(4, "QE and PCE version")
    vendor = cursor.take(16, "QE vendor")
    cursor.take(20, "user data")
    if version not in (4, 5):
        raise cursor.malformed(f"version {version} is not a TDX quote's (4 or 5)")
    if tee != TEE_TDX:
        raise cursor.malformed(f"TEE type {tee:#x} is not TDX ({TEE_TDX:#x})")
    if key_type != ECDSA_P256 or vendor != INTEL_QE_VENDOR:
        raise cursor.malformed("it is not signed by Intel's quoting enclave with ECDSA P-256")
    fields = _read_report(cursor, version)
    chain = _read_signature_data(cursor)
    return Quote(version, fields, chain, cursor.rest())


def _read_report(cursor: Cursor, version: int) -> dict[str, bytes]:
    layout = _FIELDS
    if version == 5:
        kind = cursor.number(2, "body type")
        size = cursor.number(4, "body size")
        if kind not in (_TD10, _TD15):
            raise cursor.malformed(f"body type {kind} is neither TD report 1.0 nor 1.5")
        layout = _FIELDS if kind == _TD10 else _FIELDS + _FIELDS_15
        if size != sum(length for _, length in layout):
            raise cursor.malformed(f"a body of type {kind} does not have {size} bytes")
    return {name: cursor.take(length, name) for name, length in layout}


def _read_signature_data(cursor: Cursor) -> tuple[bytes, ...]:
    data = Cursor(cursor.take(cursor.number(4, "signature data size"), "signature data"), "quote")
    data.take(64, "quote signature")
    data.take(64, "attestation key")
    if data.number(2, "certification data type") != _QE_REPORT:
        raise data.malformed("the certification data is not a QE report (type 6)")
    inner = _exact(data, data.number(4, "certification data size"))
    inner.take(384, "QE report")
    inner.take(64, "QE report signature")
    inner.take(inner.number(2, "QE authentication size"), "QE authentication data")
    if inner.number(2, "QE certification data type") != _PCK_CHAIN:
        raise inner.malformed("the QE is not certified by a PCK chain (type 5)")
    return split_pem(_exact(inner, inner.number(4, "PCK chain size")).data)


def _exact(outer: Cursor, size: int) -> Cursor:
    if size != outer.left:
        raise outer.malformed(f"a length says {size} bytes where {outer.left} are left")
    return Cursor(outer.rest(), outer.what)


def split_pem(chain: bytes) -> tuple[bytes, ...]:
    """The DER certificates of a canonical PEM chain; one NUL may close it.

    Raises:
        AttestationRejected: the text is not exactly what encoding its certificates gives.
    """
    text = chain.removesuffix(b"\0")
    found: list[bytes] = []
    while text:
        body, mark, text = text.partition(_END)
        try:
            der = base64.b64decode(body.removeprefix(_BEGIN).replace(b"\n", b""), validate=True)
        except (binascii.Error, ValueError):
            raise _bad_chain("a certificate is not base64") from None
        if body + mark != _pem(der):
            raise _bad_chain("a certificate is not in canonical PEM")
        found.append(der)
    if len(found) != 3:
        raise _bad_chain(f"it has {len(found)} certificates, not 3")
    return tuple(found)


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = b"".join(text[i : i + 64] + b"\n" for i in range(0, len(text), 64))
    return _BEGIN + lines + _END


def _bad_chain(why: str) -> AttestationRejected:
    return AttestationRejected(
        f"The quote is malformed: its PCK chain is not usable, {why}.", code="malformed-evidence"
    )
