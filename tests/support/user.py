"""Run ``crag-user`` as a program of its own, and look at what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from support.gateway import World
from support.poll import until

PROGRAM = Path(sys.executable).parent / "crag-user"


def arguments(world: World, folder: Path, *more: str, insecure: bool = True) -> list[str]:
    """The options that trust ``world``'s Attestation Service."""
    anchor = folder / "as-ca.pem"
    anchor.write_bytes(world.trustee.signer.ca_pem)
    trusted = ["--trustee", world.trustee.trustee_url, "--trustee-certificate", str(anchor)]
    return [*trusted, *(["--allow-insecure-evidence"] if insecure else []), *more]


def run(*words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run ``crag-user`` to its end."""
    return subprocess.run(
        [str(PROGRAM), *words], capture_output=True, text=True, timeout=timeout, check=False
    )


@dataclass
class Connected:
    """A running ``crag-user connect``."""

    process: subprocess.Popen[str]
    ready: dict[str, Any]
    output: list[str] = field(default_factory=list)

    @property
    def proxy(self) -> str:
        return str(self.ready["proxy"])

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(proxy=self.proxy, trust_env=False, timeout=30, **options)

    def tng(self) -> list[int]:
        """Process ids of the TNGs that it runs."""
        return tng_children(self.process.pid)

    def end(self, seconds: float = 20) -> tuple[int, str, str]:
        """Exit code, rest of stdout, stderr; SIGTERM first if it still runs."""
        if self.process.poll() is None:
            self.process.terminate()
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err


def tng_children(parent: int) -> list[int]:
    """Process ids of the TNGs whose parent is ``parent``."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                name = (folder / "comm").read_text().strip()
                if int(fields[1]) == parent and name == "tng" and fields[0] != "Z":
                    found.append(int(folder.name))
    return found


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def connected(world: World, folder: Path, *more: str) -> Iterator[Connected]:
    """``crag-user connect`` to ``world``'s egress, ready; ended afterwards."""
    words = ["connect", world.service.url, "--listen", f"127.0.0.1:{_free()}", "--json"]
    process = subprocess.Popen(
        [str(PROGRAM), *words, *arguments(world, folder, *more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield Connected(process, json.loads(line))
    finally:
        if process.poll() is None:
            process.terminate()
        with contextlib.suppress(ValueError):
            process.communicate(timeout=20)


def _free() -> int:
    from crag_core.gateway.endpoint import free_endpoint

    return free_endpoint().port


def gone(pids: list[int], seconds: float = 5) -> bool:
    """Whether all of ``pids`` end within ``seconds``."""
    return until(lambda: not any(runs(pid) for pid in pids), seconds, "the end of all processes")
