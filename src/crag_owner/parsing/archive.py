"""Zip containers (Office files, EPUB) opened only after their directory proved harmless."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass

from crag_owner.parsing.interface import Unreadable

MIB = 1024 * 1024
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_BLOCK = 256 * 1024
# Every spelling in which an XML parser would find a document type.
_DOCTYPES = tuple(mark.encode(code) for mark in ("<!DOCTYPE", "<!ENTITY")
                  for code in ("utf-8", "utf-16-le", "utf-16-be"))  # fmt: skip
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError)


@dataclass(frozen=True)
class ArchiveLimits:
    """``ratio`` counts for archives that unpack to more than ``free`` bytes."""

    entries: int = 10_000
    total: int = 512 * MIB
    ratio: float = 200.0
    free: int = 32 * MIB


def open_archive(data: bytes, what: str, limits: ArchiveLimits | None = None) -> zipfile.ZipFile:
    """The archive, whose entries together cannot unpack to more than ``limits`` allows.

    ``zipfile`` never reads more of an entry than the directory declares, so the declared sizes
    bound the real ones. ``what`` names the format in reasons.

    Raises:
        Unreadable: no zip file, encrypted, damaged, or a bomb.
    """
    limits = limits or ArchiveLimits()
    if data.startswith(_OLE):
        raise Unreadable(
            f"is no {what} file: it is protected with a password, or in the format before 2007"
        )
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        entries = archive.infolist()
    except _DAMAGED:
        raise Unreadable(f"is no {what} file: its zip container is damaged") from None
    if len(entries) > limits.entries:
        raise Unreadable(f"holds more than {limits.entries} parts, as a zip bomb does")
    if any(entry.flag_bits & 1 for entry in entries):
        raise Unreadable("is protected with a password")
    packed = sum(entry.compress_size for entry in entries)
    total = sum(entry.file_size for entry in entries)
    if packed > len(data):
        raise Unreadable("holds parts that overlap, as a zip bomb does")
    if total > limits.total:
        raise Unreadable(
            f"unpacks to {total / MIB:.0f} MiB, as a zip bomb does; "
            f"the limit is {limits.total / MIB:.0f} MiB"
        )
    if total > limits.free and total > limits.ratio * max(packed, 1):
        raise Unreadable(f"unpacks to {total / max(packed, 1):.0f} times its size, as a bomb does")
    return archive


def read_part(archive: zipfile.ZipFile, name: str) -> bytes:
    """The bytes of one entry.

    Raises:
        Unreadable: it is not there, or damaged.
    """
    try:
        return archive.read(name)
    except (KeyError, *_DAMAGED):
        raise Unreadable("is damaged: a part that it needs cannot be read") from None


def declares_entities(data: bytes) -> bool:
    """Whether XML holds an entity declaration, in UTF-8 or UTF-16."""
    return any("<!ENTITY".encode(code) in data for code in ("utf-8", "utf-16-le", "utf-16-be"))


def refuse_document_types(archive: zipfile.ZipFile) -> None:
    """Refuse XML parts with a document type: Office files have none, entity bombs need one.

    Raises:
        Unreadable: there is one, or a part is damaged.
    """
    keep = max(map(len, _DOCTYPES))
    for entry in archive.infolist():
        if not entry.filename.lower().endswith((".xml", ".rels", ".vml")):
            continue
        tail = b""
        try:
            with archive.open(entry) as stream:
                while block := stream.read(_BLOCK):
                    window = tail + block
                    if any(mark in window for mark in _DOCTYPES):
                        raise Unreadable("declares XML entities, as an XML bomb does")
                    tail = window[-keep:]
        except _DAMAGED:
            raise Unreadable("is damaged: one of its parts cannot be unpacked") from None
