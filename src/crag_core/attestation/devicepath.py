"""UEFI device paths in boot events, as the texts that Trustee's claims have.

Source: UEFI 2.10, chapter 10 (node types) and TCG PFP 1.06, 10.2.3 (UEFI_IMAGE_LOAD_EVENT); the
texts equal those of a recorded log of Alibaba Cloud.
"""

from __future__ import annotations

import uuid

from crag_core.attestation.cursor import Cursor
from crag_core.errors import AttestationRejected

_MAX_NODES = 64
_END = 0x7F


def image_paths(data: bytes) -> list[str]:
    """The nodes of the device path of an image load event's data.

    Raises:
        AttestationRejected: it is truncated or malformed.
    """
    cursor = Cursor(data, "event")
    cursor.take(24, "image place")
    path = Cursor(cursor.take(cursor.number(8, "path size"), "device path"), "event")
    nodes: list[str] = []
    while path.left:
        kind, sub = path.number(1, "node type"), path.number(1, "node subtype")
        size = path.number(2, "node size")
        node = Cursor(path.take(size - 4, "node"), "event")
        if kind == _END:
            break
        if len(nodes) >= _MAX_NODES:
            raise path.malformed("its device path is too long")
        nodes.append(_text(kind, sub, node))
    return nodes


def _text(kind: int, sub: int, node: Cursor) -> str:
    try:
        if (kind, sub) == (1, 1):
            function, device = node.number(1, "function"), node.number(1, "device")
            return f"Pci({function},{device})"
        if (kind, sub) == (2, 1):
            return f"ACPI({_eisa(node.number(4, 'HID'))},{node.number(4, 'UID')})"
        if (kind, sub) == (4, 1):
            return _disk(node)
        if (kind, sub) == (4, 4):
            return f"File({node.rest().decode('utf-16-le', 'replace').rstrip(chr(0))})"
    except AttestationRejected:
        node.position = 0
    return f"Path({kind},{sub},{node.rest().hex()})"


def _eisa(number: int) -> str:
    """An EISA id: three letters of five bits, then the product number."""
    letters = "".join(chr(0x40 + (number >> shift & 0x1F)) for shift in (10, 5, 0))
    return f"{letters}{number >> 16:04X}"


def _disk(node: Cursor) -> str:
    partition = node.number(4, "partition")
    start, size = node.number(8, "start"), node.number(8, "size")
    signature = node.take(16, "signature")
    node.take(1, "format")
    kind = node.number(1, "signature type")
    if kind != 2:
        return f"HD({partition},{kind},{signature.hex()},{start:#x},{size:#x})"
    guid = str(uuid.UUID(bytes_le=signature)).upper()
    return f"HD({partition},GPT,{guid},{start:#x},{size:#x})"
