"""One running TNG: start it, know that it is ready, know why it ended, end it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

from crag_core.errors import CragError, NotSupported, Unreachable
from crag_core.gateway import status
from crag_core.gateway.binary import find_tng
from crag_core.gateway.child import inherited_path, memory_file, spawn
from crag_core.gateway.config import EgressConfig, IngressConfig
from crag_core.gateway.endpoint import Endpoint
from crag_core.gateway.log import StartupLog
from crag_core.gateway.ownership import listens

C = TypeVar("C", EgressConfig, IngressConfig)

START_SECONDS = 20.0
STOP_SECONDS = 5.0
# No proxies, no credentials, no settings of ours: TNG gets a language and a log format.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "NO_COLOR": "1", "TNG_LOG_FORMAT": "json", "RUST_LOG": "error"}


class PortTaken(CragError):
    """An address that TNG should listen on is somebody else's."""

    slug = "port-taken"


class Tng(Generic[C]):
    """A TNG process for one configuration; a context manager.

    Its configuration and the pinned certificates exist only in memory. The kernel kills it when
    this process dies in whatever way.
    """

    def __init__(self, config: C, *, binary: Path | None = None) -> None:
        self.config: C = config
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._log = StartupLog()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id; 0 when it was never started."""
        return self._process.pid if self._process else 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start TNG and return once it listens on its addresses.

        Raises:
            NotSupported: there is no usable ``tng``.
            PortTaken: one of its addresses belongs to another process.
            Unreachable: not ready within ``timeout`` seconds, or its attester does not answer.
            CragError: it ended; the reason is told.
        """
        if self._process is not None:
            raise ValueError("a Tng is started once; make another one")
        self._process = self._spawn(self._binary or find_tng())
        self._reader = threading.Thread(target=self._drain, name="crag-tng-log", daemon=True)
        self._reader.start()
        try:
            self._await_ready(time.monotonic() + timeout, timeout)
        except BaseException:
            self.stop()
            raise
        self._log.close()

    def _spawn(self, binary: Path) -> subprocess.Popen[bytes]:
        descriptors = [memory_file("crag-anchor", anchor) for anchor in self.config.anchors]
        try:
            paths = tuple(inherited_path(d) for d in descriptors)
            document = json.dumps(self.config.document(paths)).encode()
            descriptors.append(memory_file("crag-tng", document))
            return spawn(
                [binary, "launch", "--config-file", inherited_path(descriptors[-1])],
                env=ENVIRONMENT,
                pass_fds=descriptors,
            )
        except OSError as error:
            raise NotSupported(
                f"{binary} cannot be started: {error.strerror}.",
                hint="Check that it is a program for this machine.",
            ) from None
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _drain(self) -> None:
        stream = self._process.stdout if self._process else None
        if stream is not None:
            for line in stream:
                self._log.feed(line)

    def _await_ready(self, deadline: float, timeout: float) -> None:
        pause = threading.Event()
        while self.alive:
            if status.ready(self.config.control):
                self._require_own_ports()
                return
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"The gateway was not ready within {timeout:g} s.",
                    hint="The machine may be overloaded; try again.",
                )
            pause.wait(0.02)
        raise self._ended()

    def _require_own_ports(self) -> None:
        for endpoint in (self.config.control, self.config.listen):
            if not listens(self.pid, endpoint):
                if not self.alive:
                    raise self._ended()
                raise PortTaken(
                    f"Another program answers on {endpoint}, where the gateway should listen.",
                    hint="Stop that program, or choose another port.",
                )

    def _ended(self) -> CragError:
        if self._reader is not None:
            self._reader.join(2)
        reason = self._log.reason()
        if "Address already in use" in reason or "AddrInUse" in reason:
            return PortTaken(
                f"The gateway cannot listen on {self.config.listen}: the address is in use.",
                hint="Stop the program that uses it, or choose another port.",
            )
        if isinstance(self.config, EgressConfig) and "Connection refused" in reason:
            return Unreachable(
                "The gateway ended because the attester does not answer.",
                hint="Start the attester first.",
            )
        code = self._process.returncode if self._process else None
        gave_up = code is not None and code >= 0  # a killed gateway says nothing about ports
        for endpoint in (self.config.control, self.config.listen):
            # the gateway has ended, so whoever answers there now is somebody else
            if gave_up and _answers(endpoint):
                return PortTaken(
                    f"Another program answers on {endpoint}, where the gateway should listen.",
                    hint="Stop that program, or choose another port.",
                )
        told = f": {reason}" if reason else ""
        return CragError(
            f"The gateway ended while starting ({self.exit_reason()}){told}",
            hint="Run the command again; if it stays so, report this sentence.",
        )

    def exit_reason(self) -> str:
        """How the process ended, in words; nothing of a request is in it."""
        if self._process is None:
            return "it was not started"
        code = self._process.poll()
        if code is None:
            return "it is running"
        if code < 0:
            with contextlib.suppress(ValueError):
                return f"killed by {signal.Signals(-code).name}"
        panic = f", after a panic at {self._log.panic}" if self._log.panic else ""
        return f"exit status {code}{panic}"

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the process to end; whether it did within ``timeout`` seconds."""
        if self._process is None:
            return True
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """End the process by SIGTERM, after ``timeout`` seconds by SIGKILL; harmless when ended."""
        if self._process is None:
            return
        if self.alive:
            self._process.terminate()
            if not self.wait(timeout):
                self._process.kill()
                self._process.wait()
        if self._reader is not None:
            self._reader.join(2)
        if self._process.stdout is not None and not (self._reader and self._reader.is_alive()):
            self._process.stdout.close()


def start_on_free_ports(build: Callable[[], C], *, attempts: int = 4) -> Tng[C]:
    """Start TNG for ``build()``'s configuration; build again if one of its ports was just taken.

    Raises:
        CragError: as :meth:`Tng.start`; :class:`PortTaken` only after ``attempts`` tries.
    """
    while True:
        attempts -= 1
        tng = Tng(build())
        try:
            tng.start()
        except PortTaken:
            if attempts <= 0:
                raise
        else:
            return tng


def _answers(endpoint: Endpoint) -> bool:
    """Whether something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection((endpoint.host, endpoint.port), 1):
        return True
    return False
