"""The demo's play as a fixture: three roles on one machine, ready to serve."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from typing import Any

from narrator import Narrator
from parties import Party
from play import DATA_KEY, MODEL_KEY, SNAPSHOT, Play

from support import leftovers

_NUMBERS = itertools.count(1)


class House(Play):
    """The play up to the point where the provider could serve; what a test changes, it restores."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, Narrator(io.StringIO()), keep=False)
        self.trustees: dict[str, dict[str, Any]] = {}

    def furnish(self) -> None:
        """Ingest, start three Trustees, put the keys into them, pin the measurement."""
        self.ingest()
        self.trustees = {party.role: self.trustee(party) for party in self.parties()}
        self.keys(self.trustees)
        self.approve(self.trustees)
        self.user.settings |= {
            "CRAG_USER_TRUSTEE": self.trustees["user"]["url"],
            "CRAG_USER_TRUSTEE_CERTIFICATE": self.trustees["user"]["certificate"],
            "CRAG_USER_ALLOW_INSECURE_EVIDENCE": "1",
        }

    def variant(self, role: str, **settings: str | None) -> Party:
        """A copy of a party with settings changed, or removed where None."""
        party: Party = getattr(self, role)
        changed = {**party.settings, **settings}
        kept = {name: value for name, value in changed.items() if value is not None}
        # a provider of its own: another one may be serving, with its model mounted in its home
        home = self.root / f"variant-{next(_NUMBERS)}" if role == "provider" else party.home
        return Party(role, home, kept)

    def pin(self, party: Party) -> None:
        """Approve what ``party`` would serve, in the Trustees that hold the keys."""
        measured = self.root / f"measured-{next(_NUMBERS)}.json"
        measured.write_text(json.dumps(party.run("attest")))
        resources = {"owner": (DATA_KEY, SNAPSHOT), "provider": (MODEL_KEY,)}
        for role, names in resources.items():
            at = self.trustees[role]
            options = [word for name in names for word in ("--resource", name)]
            getattr(self, role).run(
                "trustee", "policy", "apply", "--measurement", str(measured), *options,
                "--trustee", at["url"], "--admin-key-file", at["admin_key"],
            )  # fmt: skip

    def refused(self, party: Party) -> tuple[int, dict[str, Any]]:
        """``serve`` must fail: exit code and error; nothing listens, nothing stays mounted."""
        port = leftovers.free_port()
        code, answer, stderr = party.attempt("serve", "--listen", f"127.0.0.1:{port}")
        assert code != 0
        assert "error" in answer, stderr
        error: dict[str, Any] = answer["error"]
        assert error["exit"] == code
        assert error["message"]
        assert not leftovers.listening("127.0.0.1", port)
        assert not leftovers.mounts(str(party.home))
        assert not leftovers.processes(f"CRAG_HOME={party.home}")
        return code, error
