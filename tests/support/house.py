"""The demo's play as a fixture: three roles on one machine, ready to serve."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from narrator import Narrator
from parties import Party
from play import Play


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
        return Party(role, party.home, {k: v for k, v in changed.items() if v is not None})
