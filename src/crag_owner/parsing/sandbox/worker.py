"""One child of the fork server: one file, then the end."""

from __future__ import annotations

import gc
import os
import struct
from collections.abc import Mapping
from typing import NoReturn

from crag_owner.parsing.interface import Parser, Unreadable
from crag_owner.parsing.sandbox import jail, result
from crag_owner.parsing.sandbox.limits import MIB, SandboxLimits

HEADER = struct.Struct(">Q")
_BLOCK = 1024 * 1024
JAIL_FAILED = 120


def serve_one(job: int, parser: Parser, limits: SandboxLimits, root: int, server: int) -> NoReturn:
    """Close the jail, read the file from ``job``, parse it and answer; never returns."""
    code = 1
    try:
        _only(job, root)
        try:
            jail.close(limits, root, server)
        except OSError:
            code = JAIL_FAILED
            raise
        gc.freeze()
        _write(job, _answer(parser, _read(job), limits))
        code = 0
    finally:
        os._exit(code)


def _only(*kept: int) -> None:
    """Close every descriptor but these and the three standard ones, which are /dev/null."""
    begin = 3
    for descriptor in sorted(kept):
        os.closerange(begin, descriptor)
        begin = descriptor + 1
    os.closerange(begin, os.sysconf("SC_OPEN_MAX"))


def _answer(parser: Parser, data: bytes, limits: SandboxLimits) -> bytes:
    """Never the text of an exception: it may quote the file."""
    try:
        return result.encode(parser.parse(data), limits)
    except Unreadable as refused:
        reason = refused.reason
    except MemoryError:
        reason = f"needs more than {limits.memory / MIB:g} MiB of memory to be parsed"
    except RecursionError:
        reason = "is nested too deeply"
    except Exception as error:  # noqa: BLE001 - whatever a library raises costs this file only
        reason = f"cannot be parsed: {type(error).__name__} in its parser"
    return result.encode_refusal(reason)


def _read(job: int) -> bytes:
    (size,) = HEADER.unpack(_exactly(job, HEADER.size))
    return _exactly(job, size)


def _exactly(job: int, size: int) -> bytes:
    parts = []
    while size:
        block = os.read(job, min(size, _BLOCK))
        if not block:
            raise EOFError
        parts.append(block)
        size -= len(block)
    return b"".join(parts)


def _write(job: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(job, view[:_BLOCK]) :]


def limits_of(data: Mapping[str, float]) -> SandboxLimits:
    """The limits of a request."""
    return SandboxLimits(
        seconds=float(data["seconds"]),
        memory=int(data["memory"]),
        text=int(data["text"]),
        line=int(data["line"]),
        sections=int(data["sections"]),
    )
