"""The parent's side: hand one file to a child, watch the clock, take the answer."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from crag_core.errors import CragError, NotSupported
from crag_owner.parsing.interface import ParsedDocument, Parser, Unreadable
from crag_owner.parsing.sandbox import result, seccomp
from crag_owner.parsing.sandbox.limits import MIB, SandboxLimits
from crag_owner.parsing.sandbox.worker import HEADER, JAIL_FAILED

_START_SECONDS = 60.0
_GRACE_SECONDS = 5.0
_BLOCK = 1024 * 1024
_MESSAGE = 64 * 1024
_CLONE_FAILED = "the parsing sandbox ended unexpectedly"


class _ServerGone(Exception):
    """The fork server ended; it may be started again."""


class ParsingSandbox:
    """Parses files in child processes that can reach nothing; a context manager.

    Thread-safe: as many files are parsed at once as threads call :meth:`parse`. The fork server
    starts with the first file, or with :meth:`start`.

    Args:
        limits: for each file.
        registry: module whose ``PARSERS`` the children know.
        path: folders in which that module is also looked for.

    Raises:
        NotSupported: (on start) this system has no filter for system calls.
    """

    def __init__(
        self,
        limits: SandboxLimits | None = None,
        *,
        registry: str = "crag_owner.parsing.registry",
        path: Sequence[str] = (),
    ) -> None:
        self.limits = limits or SandboxLimits()
        self.layers: tuple[str, ...] = ()
        self._introduction = json.dumps({"registry": registry, "path": list(path)}).encode()
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = False

    def __enter__(self) -> ParsingSandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def parse(self, parser: Parser, data: bytes) -> ParsedDocument:
        """Parse ``data`` in a child of its own.

        Raises:
            Unreadable: the parser's reason, or what the child did: too long, too much memory, a
                crash, a forbidden call.
            NotSupported: this system cannot lock a child in.
        """
        for attempt in (1, 2):
            job = self._submit(parser)
            try:
                return job.run(data)
            except _ServerGone:
                if attempt == 2:
                    break
            finally:
                job.close()
        raise Unreadable("cannot be parsed: it ended the parsing sandbox twice")

    def start(self) -> None:
        """Start the fork server now."""
        with self._lock:
            self._started()

    def close(self) -> None:
        """End the fork server and every child; calls of :meth:`parse` under way raise CragError."""
        with self._lock:
            self._closed = True
            self._stop()

    def _submit(self, parser: Parser) -> _Job:
        request = json.dumps({"parser": parser.name, "limits": self.limits.as_json()}).encode()
        for _attempt in (1, 2):
            mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            status, sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            job = _Job(mine, status, self.limits)
            try:
                with self._lock:
                    control = self._started()
                    try:
                        socket.send_fds(control, [request], [theirs.fileno(), sender.fileno()])
                    except OSError:
                        self._stop()
                        job.close()
                        continue
            except BaseException:
                job.close()
                raise
            finally:
                theirs.close()
                sender.close()
            return job
        raise CragError(_CLONE_FAILED, hint="Run the same command again.")

    def _started(self) -> socket.socket:
        if self._closed:
            raise CragError("The parsing sandbox was closed.", hint="Run the same command again.")
        if self._server is not None and self._server.poll() is not None:
            self._stop()
        if self._control is not None:
            return self._control
        if seccomp.architecture() is None:
            raise NotSupported(
                "Documents cannot be parsed safely on this system: it has no filter for system "
                "calls that crag knows (Linux on x86_64 or aarch64 has).",
                hint="Run crag-owner on Linux, or in a Linux container or virtual machine.",
            )
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-I", "-B", "-m", "crag_owner.parsing.sandbox.zygote"]
            self._server = subprocess.Popen(
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libraries print what they choke on
                env={"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"},
                cwd="/",
                start_new_session=True,
            )
        self._control = control
        control.settimeout(_START_SECONDS)
        try:
            control.send(self._introduction)
            reply = control.recv(_MESSAGE)
            self.layers = tuple(json.loads(reply)["layers"])
        except (OSError, ValueError, KeyError):
            self._stop()
            raise CragError(
                "The parsing sandbox did not start.",
                hint="Check that crag-owner is installed whole and that memory is not exhausted.",
            ) from None
        return control

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._server is not None:
            try:
                self._server.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait()
            self._server = None


@dataclass
class _Job:
    """One file on its way through one child."""

    stream: socket.socket
    status: socket.socket
    limits: SandboxLimits
    child: int = -1

    def run(self, data: bytes) -> ParsedDocument:
        """Send, wait, receive, check; the child is dead afterwards."""
        self._learn_child()
        deadline = time.monotonic() + self.limits.seconds
        answer = self._talk(data, deadline)
        if answer is None:
            self._kill()
            raise Unreadable(self._too_long())
        code = self._status(deadline + _GRACE_SECONDS)
        self._judge(code)
        return result.decode(answer, self.limits)

    def close(self) -> None:
        """End the child, if it still runs, and give back what the job held."""
        self._kill()
        self.stream.close()
        self.status.close()
        if self.child >= 0:
            os.close(self.child)
            self.child = -1

    def _learn_child(self) -> None:
        """Before the clock starts: the server may have to import the format's library first."""
        self.status.settimeout(_START_SECONDS)
        try:
            message, descriptors, _flags, _address = socket.recv_fds(self.status, _MESSAGE, 1)
        except OSError:
            raise _ServerGone from None
        if not message or not descriptors:
            raise _ServerGone
        self.child = descriptors[0]

    def _talk(self, data: bytes, deadline: float) -> bytes | None:
        """The answer, all of it; None when time is up."""
        self.stream.setblocking(False)
        head: memoryview = memoryview(HEADER.pack(len(data)))
        rest = [head, memoryview(data)]
        poll = select.poll()
        poll.register(self.stream, select.POLLIN | select.POLLOUT)
        answer = bytearray()
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            for _descriptor, event in poll.poll(left * 1000):
                if event & select.POLLOUT and rest:
                    self._send(rest)
                    if not rest:
                        poll.modify(self.stream, select.POLLIN)
                elif event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                    block = self._receive()
                    if block == b"":
                        return bytes(answer)
                    answer += block or b""
                    # An answer is JSON: quotes and brackets come on top of the text.
                    if len(answer) > 2 * self.limits.text + MIB:
                        self._kill()
                        raise Unreadable(f"holds more than {self.limits.text / MIB:g} MiB of text")

    def _send(self, rest: list[memoryview]) -> None:
        while rest:
            try:
                sent = self.stream.send(rest[0][:_BLOCK])
            except BlockingIOError:
                return
            except OSError:
                rest.clear()  # the child is gone; its status says why
                return
            rest[0] = rest[0][sent:]
            if not rest[0]:
                rest.pop(0)

    def _receive(self) -> bytes | None:
        try:
            return self.stream.recv(_BLOCK)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _status(self, deadline: float) -> int:
        """The child's wait status; it is killed if it goes on after its answer."""
        for _attempt in (1, 2):
            self.status.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                message = self.status.recv(_MESSAGE)
                return int(json.loads(message)["status"])
            except TimeoutError:
                self._kill()
                deadline = time.monotonic() + _GRACE_SECONDS
            except (OSError, ValueError, KeyError):
                break
        raise _ServerGone

    def _judge(self, code: int) -> None:
        """Turn an end that was not a regular one into a reason."""
        if os.WIFSIGNALED(code):
            number = os.WTERMSIG(code)
            if number == signal.SIGSYS:
                raise Unreadable(
                    "was stopped: its parser tried to reach the network, another process or a "
                    "program, as only a hostile file makes it do"
                )
            if number == signal.SIGXCPU:
                raise Unreadable(self._too_long())
            if number == signal.SIGKILL:
                raise Unreadable("was stopped by the system, most likely for want of memory")
            raise Unreadable(f"crashed its parser (signal {number})")
        if os.WEXITSTATUS(code) == JAIL_FAILED:
            raise NotSupported(
                "The kernel refuses to lock a parser in (resource limits or seccomp).",
                hint="Allow seccomp filters in the container that crag-owner runs in.",
            )
        if code != 0:
            raise Unreadable("crashed its parser")

    def _too_long(self) -> str:
        return f"takes more than {self.limits.seconds:g} s to parse"

    def _kill(self) -> None:
        if self.child >= 0:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self.child, signal.SIGKILL)
