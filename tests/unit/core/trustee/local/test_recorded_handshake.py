"""A recorded handshake in the wire form of Trustee 1.9, read by our own parser."""

from __future__ import annotations

import base64
import json
from typing import Any

from crag_core.trustee.local import dialect
from support import vectors


@vectors.needed
def test_the_recorded_evidence_is_bound_to_what_we_compute() -> None:
    recorded = json.loads(vectors.data("kbs/rcar_transcript.json"))["v1.9.0"]["auth"]
    requests: dict[str, Any] = {name: body for name, body, *_rest in recorded}
    opening = dialect.read_opening(json.dumps(requests["auth"]).encode())
    body = requests["attest"]
    found = dialect.read_attestation(
        json.dumps(body).encode(), tee=opening.tee, nonce=body["runtime-data"]["nonce"]
    )
    (item,) = found.items
    assert base64.b64decode(item.evidence["report_data"]) == item.expected
