"""The three parties as this demo plays them: each has its own home and its own command."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

READY_SECONDS = 120.0
STOP_SECONDS = 15.0


class DemoFailed(Exception):
    """A command of a party failed; the message is what it said."""


def _die_with_parent() -> None:
    """Run in the child: end when the demo ends, even by kill -9 (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


@dataclass
class Party:
    """One role with its own state folder; nothing but files named here passes between two."""

    role: str
    home: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def program(self) -> Path:
        return Path(sys.executable).parent / f"crag-{self.role}"

    def environment(self) -> dict[str, str]:
        kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")
        inherited = {name: os.environ[name] for name in kept if name in os.environ}
        # Every native library of every party would otherwise start a thread per core.
        return {**inherited, "CRAG_HOME": str(self.home), **self.settings}

    def attempt(self, *arguments: str, seconds: float = 300.0) -> tuple[int, dict[str, Any], str]:
        """Run a command with ``--json``: exit code, its object, and what it said on stderr."""
        done = subprocess.run(
            [self.program, *arguments, "--json", "--quiet"],
            capture_output=True,
            text=True,
            env=self.environment(),
            check=False,
            timeout=seconds,
        )
        try:
            answer: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            answer = {}
        return done.returncode, answer, done.stderr.strip()

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run a command with ``--json`` and return its object; DemoFailed with what it said."""
        code, answer, stderr = self.attempt(*arguments)
        if code != 0:
            said = answer.get("error", {}).get("message") or stderr
            raise DemoFailed(
                f"crag-{self.role} {' '.join(arguments[:2])} ended with exit code {code}: {said}"
            )
        return answer

    def serve(self, keep: bool, *arguments: str) -> tuple[Server, dict[str, Any]]:
        """Start a long-running command and return it with its ready line."""
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = self.home / f"{arguments[0]}.log"
        with log.open("ab") as stderr:
            process = subprocess.Popen(
                [self.program, *arguments, "--json"],
                stdout=subprocess.PIPE,
                stderr=stderr,
                stdin=subprocess.DEVNULL,
                env=self.environment(),
                start_new_session=True,
                preexec_fn=None if keep else _die_with_parent,
            )
        server = Server(f"crag-{self.role} {arguments[0]}", process, log)
        return server, server.ready()


@dataclass
class Server:
    """A long-running command of a party."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def ready(self) -> dict[str, Any]:
        """The one ready line; DemoFailed if the command ends or stays silent."""
        stdout = self.process.stdout
        assert stdout is not None  # noqa: S101 - opened as a pipe above
        deadline = time.monotonic() + READY_SECONDS
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                self.stop()
                raise DemoFailed(f"{self.name} was not ready within {READY_SECONDS:.0f} s.")
            piece = os.read(stdout.fileno(), 65536)
            if not piece:
                self.process.wait()
                raise DemoFailed(
                    f"{self.name} ended with exit code {self.process.returncode}: "
                    f"{_said(line, self.log)}"
                )
            line += piece
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            self.process.wait()
            raise DemoFailed(f"{self.name}: {answer['error']['message']}")
        return answer

    def stop(self) -> None:
        """SIGTERM, then after a while SIGKILL."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def _said(stdout: bytes, log: Path) -> str:
    with contextlib.suppress(ValueError, KeyError):
        return str(json.loads(stdout)["error"]["message"])
    return log.read_text(encoding="utf-8", errors="replace").strip()[-600:]


def stop_pid(pid: int, alive: Callable[[int], bool]) -> None:
    """End a process that an earlier demo left up, and wait until it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while alive(pid):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return
        select.select([], [], [], 0.05)
