"""The fork server: ``python -I -m crag_owner.parsing.sandbox.zygote DESCRIPTOR``.

It is executed afresh with an empty environment and one open socket, so it has never held a key, a
password or another file. It imports a format's library when the first file of that format comes,
and forks a child for each file; it never sees a file's bytes itself.

Over the control socket (SOCK_SEQPACKET) come, first, ``{"registry", "path"}``, answered by
``{"ready", "layers"}``; then, for each file, ``{"parser", "limits"}`` with two descriptors: the
stream for bytes and answer, and a socket on which the server sends the child's pidfd and, when it
has ended, ``{"status"}``, the wait status. The end of the control socket ends all of them.
"""

from __future__ import annotations

import codecs
import contextlib
import encodings
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
from dataclasses import dataclass, field
from typing import Any

from crag_owner.parsing.interface import Parser
from crag_owner.parsing.sandbox import jail, worker

_MESSAGE = 64 * 1024
_DESCRIPTORS = 2


@dataclass
class Zygote:
    """Serves one control socket until it ends."""

    control: socket.socket
    parsers: dict[str, Parser] = field(default_factory=dict)
    root: int = -1
    _warm: set[str] = field(default_factory=set)
    _children: dict[int, tuple[int, socket.socket]] = field(default_factory=dict)

    def run(self) -> None:
        """Introduce, then serve."""
        first = self.control.recv(_MESSAGE)
        if not first:
            return
        layers = jail.leave_network()
        self.root = jail.empty_root()
        self._introduce(json.loads(first))
        self.control.send(json.dumps({"ready": True, "layers": layers}).encode())
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        while True:
            for descriptor, _event in poll.poll():
                if descriptor == self.control.fileno():
                    if not self._take(poll):
                        return
                else:
                    self._bury(descriptor, poll)

    def _introduce(self, request: dict[str, Any]) -> None:
        sys.path[:0] = request["path"]
        registry = importlib.import_module(request["registry"])
        self.parsers = {parser.name: parser for parser in registry.PARSERS}
        # Any of them may be named inside a file, and none can be imported in the jail.
        for module in pkgutil.iter_modules(encodings.__path__):
            with contextlib.suppress(LookupError, ImportError):
                codecs.lookup(module.name)

    def _take(self, poll: select.poll) -> bool:
        message, descriptors, _flags, _address = socket.recv_fds(
            self.control, _MESSAGE, _DESCRIPTORS
        )
        if not message:
            return False
        request = json.loads(message)
        job, status = descriptors[0], socket.socket(fileno=descriptors[1])
        parser = self.parsers[request["parser"]]
        self._warm_up(parser)
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            limits = worker.limits_of(request["limits"])
            worker.serve_one(job, parser, limits, self.root, server)
        os.close(job)
        child = os.pidfd_open(pid)
        self._children[child] = (pid, status)
        poll.register(child, select.POLLIN)
        with contextlib.suppress(OSError):
            socket.send_fds(status, [b"{}"], [child])
        return True

    def _warm_up(self, parser: Parser) -> None:
        if parser.name in self._warm:
            return
        for module in parser.modules:
            with contextlib.suppress(ImportError):  # the parser says itself what is missing
                _import(module)
        self._warm.add(parser.name)
        gc.collect()
        gc.freeze()

    def _bury(self, child: int, poll: select.poll) -> None:
        pid, status = self._children.pop(child)
        poll.unregister(child)
        _pid, code = os.waitpid(pid, 0)
        os.close(child)
        with contextlib.suppress(OSError):
            status.send(json.dumps({"status": code}).encode())
        status.close()

    def kill_all(self) -> None:
        """End the children that still run."""
        for pid, _status in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _import(name: str) -> None:
    """Import a module; with ``.*`` behind its name, everything below it too."""
    package = importlib.import_module(name.removesuffix(".*"))
    if name.endswith(".*"):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            with contextlib.suppress(ImportError):
                importlib.import_module(module.name)


def main() -> None:
    """Serve the control socket whose descriptor the command line names."""
    control = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = Zygote(control)
    try:
        server.run()
    finally:
        server.kill_all()


if __name__ == "__main__":
    main()
