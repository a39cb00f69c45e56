"""Fuzz what configures crag: evidence policies, settings files, env files, measured settings."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

from crag_core.attestation.canonical import canonical_json
from crag_core.attestation.policy import parse_policy
from crag_core.config import SettingsFiles
from crag_provider.envfile import parse
from fuzz.harness import main

POLICY = {
    "format": "crag/evidence-policy/v1",
    "id": "fuzz",
    "quote": {"tcb_statuses": ["UpToDate"], "measurements": {"mr_td": ["00" * 48]}},
    "events": {"contains": [{"domain": "crag", "operation": "software", "content": "x"}]},
    "gpu": {"required": 1, "modes": ["spt"], "accepted_measurements": {"9": ["00" * 48]}},
}
# The first byte chooses the reader.
SEEDS = (
    b"p" + json.dumps(POLICY).encode(),
    b't[provider]\nlisten = "127.0.0.1:1"\n[shared]\ndb_port = 5432\n',
    b'eexport TRUSTEE_URL=\'http://127.0.0.1:8080/api\' # yours\nMODEL_KEY_ID="a \\" b"\nA=b\n',
    b'c{"settings": {"k": 5, "ratio": 0.5, "names": ["\xc3\xa4", null, true]}}',
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FILE = Path(tempfile.mkdtemp()) / "crag.toml"


def target(data: bytes) -> None:
    """Read it; what is accepted keeps the reader's promises."""
    kind, rest = data[:1], data[1:]
    if kind == b"p":
        if not parse_policy(rest).quote.tcb_statuses.isdisjoint({"Revoked"}):
            raise AssertionError("a policy tolerates revoked platforms")
    elif kind == b"t":
        _FILE.write_bytes(rest)
        SettingsFiles.load("provider", _FILE).lookup("listen")
    elif kind == b"e":
        found = parse(rest.decode("utf-8", "replace"), "fuzz")
        if not all(_NAME.fullmatch(name) for name in found):
            raise AssertionError("a name that no shell would assign was accepted")
    elif kind == b"c":
        try:
            value = json.loads(rest)
        except (ValueError, RecursionError):
            return
        once = canonical_json(value)
        if canonical_json(json.loads(once)) != once:
            raise AssertionError("one value has two canonical forms")


if __name__ == "__main__":
    main(target, SEEDS)
