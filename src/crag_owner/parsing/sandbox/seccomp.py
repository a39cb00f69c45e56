"""The filter of system calls that closes a child's jail.

A classic BPF program (Linux ``Documentation/userspace-api/seccomp_filter.rst``): what is not
allowed by name fails with EPERM, what no parser does by accident ends the process. Files cannot be
opened, not even for reading, so nothing on the disk can be reached whatever it is made to do.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

from crag_owner.parsing.sandbox.syscalls import (
    ALLOWED,
    ARCHITECTURES,
    FATAL,
    WITHOUT_EXEC,
    Architecture,
)

_LOAD, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_ARGUMENT_2 = 0, 4, 32
_RET_KILL, _RET_ALLOW, _RET_ERRNO = 0x80000000, 0x7FFF0000, 0x00050000
_X32 = 0x40000000
_PROT_EXEC = 4

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def architecture() -> Architecture | None:
    """This machine's system call numbers, or None where the filter has none."""
    if platform.system() != "Linux" or struct.calcsize("P") != 8:
        return None
    return ARCHITECTURES.get(platform.machine())


def _instruction(code: int, value: int, when: int = 0, otherwise: int = 0) -> bytes:
    """One ``struct sock_filter``: two jumps count the instructions that they skip."""
    return struct.pack("=HBBI", code, when, otherwise, value)


def program(machine: Architecture) -> bytes:
    """The filter for one architecture, as the kernel takes it (8 bytes an instruction)."""
    refuse = _instruction(_RETURN, _RET_ERRNO | errno.EPERM)
    kill = _instruction(_RETURN, _RET_KILL)
    allow = _instruction(_RETURN, _RET_ALLOW)
    numbers = machine.numbers
    steps = [
        _instruction(_LOAD, _OFFSET_ARCH),
        _instruction(_JUMP_EQ, machine.audit, 1, 0),
        kill,
        _instruction(_LOAD, _OFFSET_NUMBER),
        _instruction(_JUMP_GE, _X32, 0, 1),
        kill,
    ]
    for name in FATAL:
        steps += [_instruction(_JUMP_EQ, numbers[name], 0, 1), kill]
    for name in WITHOUT_EXEC:
        steps += [
            _instruction(_JUMP_EQ, numbers[name], 0, 4),
            _instruction(_LOAD, _OFFSET_ARGUMENT_2),
            _instruction(_JUMP_SET, _PROT_EXEC, 0, 1),
            refuse,
            allow,
        ]
    for name in ALLOWED:
        if name in numbers:
            steps += [_instruction(_JUMP_EQ, numbers[name], 0, 1), allow]
    return b"".join([*steps, refuse])


def install(machine: Architecture) -> None:
    """Filter this process from now on; cannot be undone.

    Raises:
        OSError: the kernel refused.
    """
    code = program(machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    filtered = _Program(len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filtered), 0, 0),
    ):
        if libc.prctl(*call) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
