"""A TD's runtime register through the kernel: read it, extend it, exactly once for each event.

Reading the attribute gives the register; writing 48 bytes at its start extends it. Source: Linux
6.16, Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from crag_core.attestation.own_events import OwnEvents
from crag_core.errors import CragError, NotSupported

MEASUREMENTS = Path("/sys/devices/virtual/misc/tdx_guest/measurements")
RTMR3 = "rtmr3:sha384"
SIZE = 48
LOCK_SECONDS = 10.0
_TRIES = 3
_BUSY = frozenset({errno.EBUSY, errno.EINTR, errno.EAGAIN, errno.EIO})


class RuntimeRegister:
    """RTMR3 of the TD that this process runs in.

    Args:
        path: the kernel's attribute.
        sleep: how to wait.
    """

    def __init__(
        self, path: Path = MEASUREMENTS / RTMR3, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.path = path
        self._sleep = sleep

    def available(self) -> bool:
        """Whether the kernel lets this process read and extend it."""
        return os.access(self.path, os.R_OK | os.W_OK)

    def read(self) -> bytes:
        """Its value, 48 bytes.

        Raises:
            NotSupported: it cannot be read.
        """
        try:
            value = self.path.read_bytes()
        except OSError as error:
            raise self._unusable(error) from None
        if len(value) != SIZE:
            raise NotSupported(f"{self.path} has {len(value)} bytes, a register has {SIZE}.")
        return value

    def measure(self, own: OwnEvents, before: Sequence[bytes] = ()) -> int:
        """Extend it by those events of ``own`` that it does not hold yet.

        After each write the register is read again, and only what it then holds counts: a write
        that fails may have extended it all the same.

        Args:
            before: the digests that it was extended with before ours.

        Returns:
            How many were extended now.

        Raises:
            AttestationRejected: it holds something else.
            NotSupported: this process may not extend it.
            CragError: it stays busy, or another process measures and does not end.
        """
        with self._alone():
            first = held = own.held_by_register(self.read(), before)
            failures = 0
            digests = own.digests
            while held < len(digests):
                why = self._extend(digests[held])
                now = own.held_by_register(self.read(), before)
                if now == held:
                    failures += 1
                    if failures == _TRIES:
                        raise CragError(
                            f"{self.path} does not take what it is extended with: {why}.",
                            hint="Look at the kernel's log, then try again.",
                            code="register-busy",
                        )
                    self._sleep(0.1 * failures)
                held = now
        return held - first

    def _extend(self, digest: bytes) -> str:
        """One write; what went wrong with it in words, where trying again may help."""
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                written = os.write(descriptor, digest)
            finally:
                os.close(descriptor)
        except OSError as error:
            if error.errno not in _BUSY:
                raise self._unusable(error) from None
            return os.strerror(error.errno)
        return "it has not changed" if written == SIZE else "it was written in part"

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other crag processes from measuring at the same time, which would extend twice."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._unusable(error) from None
        try:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise CragError(
                            f"Another process has been measuring into {self.path} for "
                            f"{LOCK_SECONDS:.0f} s.",
                            hint="Wait for it or end it, then try again.",
                            code="register-busy",
                        ) from None
                    self._sleep(0.05)
            yield
        finally:
            os.close(descriptor)

    def _unusable(self, error: OSError) -> NotSupported:
        return NotSupported(
            f"The runtime register {self.path} cannot be used: {os.strerror(error.errno or 0)}.",
            hint="Inside a TDX guest with Linux 6.16 or newer, run this as root; with an older "
            "kernel, run an attestation agent and use --evidence agent.",
        )
