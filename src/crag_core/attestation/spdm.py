"""SPDM 1.1 measurement reports of NVIDIA GPUs, parsed.

A report is the 37-byte GET_MEASUREMENTS request, then the MEASUREMENTS response: measurement
blocks in DMTF form, the responder's nonce, NVIDIA's opaque fields, and a raw ECDSA P-384 signature
(r || s) over everything before it, the request included. Source: DMTF DSP0274 1.1.0, 10.11; opaque
field numbers from NVIDIA's published verifiers; checked against a recorded H100 report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from crag_core.attestation.cursor import Cursor

MAX_REPORT = 64 * 1024
SIGNATURE = 96
NONCE = 32
_REQUEST = b"\x11\xe0"
_RESPONSE = b"\x11\x60"
_DMTF = 1

DRIVER, VBIOS, NVDEC0, CHIP_SKU, PROJECT, PROJECT_SKU = 3, 6, 11, 15, 17, 18
FWID, PROTECTED_PCIE, OPAQUE_VERSION, FEATURE_FLAG = 20, 21, 34, 36
ENABLED, DISABLED = 0xAA, 0x55
_MODES = {0: "spt", 1: "mpt", 2: "ppcie"}


@dataclass(frozen=True)
class Report:
    """A parsed report; nothing in it is verified yet.

    ``nonce``: the requester's, 32 bytes. ``measurements``: by SPDM block index, from 1.
    ``opaque``: NVIDIA's fields by number. ``signed``: what ``signature`` (96 bytes) is over.
    """

    nonce: bytes
    measurements: Mapping[int, bytes]
    opaque: Mapping[int, bytes]
    signed: bytes
    signature: bytes

    @property
    def driver(self) -> str:
        """The driver's version, or empty."""
        return _text(self.opaque.get(DRIVER, b""))

    @property
    def vbios(self) -> str:
        """The VBIOS's version in NVIDIA's notation (``96.00.74.00.1A``), or empty.

        The field holds four bytes in reverse order and the fifth behind them.
        """
        raw = self.opaque.get(VBIOS, b"")
        if len(raw) < 5:
            return ""
        return ".".join(f"{byte:02X}" for byte in (*raw[3::-1], raw[4]))

    @property
    def board(self) -> dict[str, str]:
        """Chip SKU, project and project SKU: with the VBIOS they name the RIM."""
        fields = {"chip_sku": CHIP_SKU, "project": PROJECT, "project_sku": PROJECT_SKU}
        return {name: _text(self.opaque.get(number, b"")) for name, number in fields.items()}

    @property
    def mode(self) -> str | None:
        """``spt``, ``mpt``, ``ppcie`` or ``invalid``; None where the report doesn't tell.

        The feature flag exists from opaque data version 1 on. Older reports say only whether
        protected PCIe is on.
        """
        flag = self.opaque.get(FEATURE_FLAG)
        if flag is not None and int.from_bytes(self.opaque.get(OPAQUE_VERSION, b""), "little"):
            mode = _MODES.get(int.from_bytes(flag, "little"), "invalid")
        else:
            mode = None
        if self.opaque.get(PROTECTED_PCIE) not in (None, bytes([DISABLED])):
            return "ppcie" if self.opaque[PROTECTED_PCIE] == bytes([ENABLED]) else "invalid"
        return mode

    @property
    def nvdec0_disabled(self) -> bool:
        """Whether the video decoder is off; then measurement 35 of a RIM says nothing."""
        return self.opaque.get(NVDEC0) == bytes([DISABLED])


def parse_report(data: bytes) -> Report:
    """Take a report apart. NVML's buffer may pad it with zeros at its end.

    Raises:
        AttestationRejected: it is truncated, of another kind, or something stands behind it.
    """
    cursor = Cursor(data, "GPU report")
    if len(data) > MAX_REPORT:
        raise cursor.malformed(f"it has {len(data)} bytes, more than {MAX_REPORT}")
    cursor.expect(_REQUEST, "request header")
    cursor.take(2, "request parameters")
    nonce = cursor.take(NONCE, "nonce")
    cursor.take(1, "slot")
    cursor.expect(_RESPONSE, "response header")
    cursor.take(2, "response parameters")
    count = cursor.number(1, "block count")
    record = Cursor(cursor.take(cursor.number(3, "record size"), "measurements"), "GPU report")
    measurements = _read_blocks(record, count)
    cursor.take(NONCE, "responder's nonce")
    opaque = _read_opaque(cursor.take(cursor.number(2, "opaque size"), "opaque data"))
    signed = data[: cursor.position]
    signature = cursor.take(SIGNATURE, "signature")
    if cursor.rest().strip(b"\0"):
        raise cursor.malformed("something stands behind its signature")
    return Report(nonce, measurements, opaque, signed, signature)


def _read_blocks(record: Cursor, count: int) -> dict[int, bytes]:
    blocks: dict[int, bytes] = {}
    for _ in range(count):
        index = record.number(1, "block index")
        if index in blocks or index == 0:
            raise record.malformed(f"measurement {index} comes twice or has no place")
        if record.number(1, "measurement specification") != _DMTF:
            raise record.malformed(f"measurement {index} is not in DMTF form")
        block = Cursor(record.take(record.number(2, "block size"), "block"), "GPU report")
        block.take(1, "value type")
        blocks[index] = block.take(block.number(2, "value size"), "value")
        if block.left:
            raise record.malformed(f"measurement {index} is shorter than its block")
    if record.left or not blocks:
        raise record.malformed("its measurements don't fill their record")
    return blocks


def _read_opaque(data: bytes) -> dict[int, bytes]:
    cursor = Cursor(data, "GPU report")
    fields: dict[int, bytes] = {}
    while cursor.left:
        number = cursor.number(2, "opaque field")
        if number in fields:
            raise cursor.malformed(f"opaque field {number} comes twice")
        fields[number] = cursor.take(cursor.number(2, "opaque field size"), "opaque field")
    return fields


def _text(raw: bytes) -> str:
    text = raw.partition(b"\0")[0].decode("ascii", "replace")
    return text if text.isprintable() else ""
