"""TDX quotes from inside the TD, through the kernel's configfs-tsm interface.

An entry under ``report/`` is one requester's. Writing ``inblob`` (and every other write) raises
``generation``; reading ``outblob`` makes the report of what was written last. Whoever knows the
entry can write between our write and our read, so the generation must have grown by exactly one,
and the quote must hold our own report data. Source: Linux, Documentation/ABI/testing/configfs-tsm.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from crag_core.attestation.quote import MAX_QUOTE, parse_quote
from crag_core.errors import BadInput, CragError, NotSupported

ROOT = Path("/sys/kernel/config/tsm/report")
PROVIDER = "tdx_guest"
REPORT_DATA = 64
_BUSY = frozenset({errno.EBUSY, errno.EINTR, errno.EAGAIN, errno.ETIMEDOUT})


class _Raced(Exception):
    """Somebody else wrote to our entry."""


class TsmReports:
    """Makes quotes under one configfs-tsm folder.

    Args:
        root: the folder ``report`` of configfs-tsm.
        attempts: how often a busy quoting service or a race is tried.
        pause: seconds before the second attempt; doubled for each further one.
        sleep: how to wait.
    """

    def __init__(
        self,
        root: Path = ROOT,
        *,
        attempts: int = 6,
        pause: float = 0.25,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.root = root
        self.attempts = attempts
        self.pause = pause
        self._sleep = sleep

    def available(self) -> bool:
        """Whether the kernel offers the interface here."""
        return self.root.is_dir()

    def provider(self) -> str:
        """Whose reports the kernel makes, ``tdx_guest`` for a TD; empty where that can't be told.

        Only an entry tells it, so one is made and removed.
        """
        entry = self._entry()
        try:
            entry.mkdir(mode=0o700)
        except OSError:
            return ""
        try:
            return _provider(entry)
        except OSError:
            return ""
        finally:
            with contextlib.suppress(OSError):
                entry.rmdir()

    def quote(self, report_data: bytes) -> bytes:
        """A quote over ``report_data`` (1 to 64 bytes, padded with zeros at its end).

        Raises:
            BadInput: the report data has another length.
            NotSupported: there is no such interface, it is not TDX's, or we may not use it.
            CragError: the quoting service stays busy, or others keep writing to our entries.
            AttestationRejected: what it gives is no TDX quote.
        """
        if not 0 < len(report_data) <= REPORT_DATA:
            raise BadInput(
                f"Report data has {len(report_data)} bytes, a TD report takes 1 to {REPORT_DATA}.",
                hint="Give a hash of what is to be bound.",
            )
        data = report_data.ljust(REPORT_DATA, b"\0")
        pause, why = self.pause, ""
        for attempt in range(self.attempts):
            if attempt:
                self._sleep(pause)
                pause *= 2
            try:
                return self._attempt(data)
            except _Raced:
                why = "another process keeps writing to our entries"
            except OSError as error:
                if error.errno not in _BUSY:
                    raise _unusable(self.root, error) from None
                why = f"the quoting service answers {os.strerror(error.errno or 0)}"
        raise CragError(
            f"No quote after {self.attempts} attempts: {why}.",
            hint="Look at the host's quote generation service, then try again.",
            code="quote-unavailable",
        )

    def _attempt(self, data: bytes) -> bytes:
        entry = self._entry()
        entry.mkdir(mode=0o700)
        try:
            return self._ask(entry, data)
        finally:
            with contextlib.suppress(OSError):
                entry.rmdir()

    def _entry(self) -> Path:
        return self.root / f"crag-{os.getpid()}-{secrets.token_hex(8)}"

    def _ask(self, entry: Path, data: bytes) -> bytes:
        provider = _provider(entry)
        if provider != PROVIDER:
            raise NotSupported(
                f"The kernel's attestation provider is {provider[:32]!r}, not {PROVIDER!r}.",
                hint="Run this inside an Intel TDX guest.",
            )
        before = _generation(entry)
        _write(entry / "inblob", data)
        quote = _read(entry / "outblob", MAX_QUOTE)
        if _generation(entry) != before + 1:
            raise _Raced
        if not hmac.compare_digest(parse_quote(quote).report_data, data):
            raise _Raced
        return quote


def _provider(entry: Path) -> str:
    return _read(entry / "provider", 64).decode("ascii", "replace").strip()


def _generation(entry: Path) -> int:
    text = _read(entry / "generation", 32)
    if not text.strip().isdigit():
        raise NotSupported(
            f"{entry.parent} does not count its generations as configfs-tsm does.",
            hint="A kernel from 6.7 on has the interface.",
        )
    return int(text)


def _read(path: Path, limit: int) -> bytes:
    """All of an attribute; the kernel computes it at the first read after opening."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts: list[bytes] = []
        while sum(map(len, parts)) <= limit:
            part = os.read(descriptor, limit + 1)
            if not part:
                break
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _write(path: Path, data: bytes) -> None:
    """One write; the kernel takes a binary attribute over when the file is closed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.EAGAIN, "short write")
    finally:
        os.close(descriptor)


def _unusable(root: Path, error: OSError) -> NotSupported:
    reason = os.strerror(error.errno) if error.errno else "it fails"
    return NotSupported(
        f"Quotes cannot be made through {root}: {reason}.",
        hint="Inside a TDX guest, with configfs mounted and kernel 6.7 or newer, run this as root.",
    )
