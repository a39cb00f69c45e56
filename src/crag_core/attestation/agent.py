"""Evidence through an attestation agent of this machine: guest components' api-server-rest.

Where an agent runs, RTMR3 and its event log are the agent's: crag's events go in by its AAEL call,
and what it has measured already is told by its own evidence, which has the log. The agent is
asked on loopback only; that it tells the truth about the machine is for whoever verifies the
quote. Source: guest-components f132e63, api-server-rest (``/info``, ``/aa/evidence``,
``/aa/additional-evidence``, ``/aa/aael``).
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from crag_core.attestation.aael import Aael
from crag_core.attestation.agent_evidence import malformed, quote_of, read_json, replayed
from crag_core.attestation.eventlog import DOMAIN, LogEntry
from crag_core.attestation.own_events import OwnEvents
from crag_core.errors import (
    BadInput,
    CragError,
    NotSupported,
    Unreachable,
    UsageError,
)

if TYPE_CHECKING:
    from crag_core.trustee.http import Reply

URL = "http://127.0.0.1:8006"
SECONDS = 30.0
PROBE_SECONDS = 2.0
_REPORT_DATA = 64
_TRIES = 3


def agent_url(url: str) -> str:
    """``url`` where it is http on this machine's loopback.

    Raises:
        UsageError: it is something else; names are refused, they could lead elsewhere.
    """
    try:
        split = urlsplit(url)
        loopback = ipaddress.ip_address(split.hostname or "").is_loopback
        plain = split.scheme == "http" and split.port and not split.username
        bare = split.path in ("", "/") and not split.query and not split.fragment
    except ValueError:
        loopback = plain = bare = False
    if not (loopback and plain and bare):
        raise UsageError(
            f"{url!r} is not the address of an attestation agent on this machine.",
            hint=f"Write http://127.0.0.1:PORT, for example {URL}.",
        )
    return url.rstrip("/")


class AgentSource:
    """Evidence of the TD that this process and an attestation agent run in.

    Args:
        own: crag's measured events.
        url: the agent's REST interface, on loopback.
        gpus: gives the GPUs' evidence object for a nonce of 32 bytes, which then stands in the
            place of the agent's; None takes what the agent gives.
    """

    def __init__(
        self,
        own: OwnEvents,
        url: str = URL,
        *,
        gpus: Callable[[bytes], Mapping[str, Any] | None] | None = None,
    ) -> None:
        self.url = agent_url(url)
        self._own = own
        self._gpus = gpus
        self._register = ""

    @property
    def tee(self) -> str:
        """``tdx``; evidence of anything else is refused."""
        return "tdx"

    @property
    def register(self) -> str:
        """RTMR3 in the latest evidence, in hex: others may extend it behind crag's events."""
        if not self._register:
            self._examined(secrets.token_bytes(48))
        return self._register

    def answers(self) -> bool:
        """Whether an agent of a TD answers there; False also where something else does."""
        try:
            reply = self._request("GET", "/info", seconds=PROBE_SECONDS)
            if reply.status == 200:
                info = read_json(reply.body)
                return isinstance(info, dict) and info.get("tee") == self.tee
            return reply.status == 404 and bool(self._evidence(secrets.token_bytes(48)))
        except CragError:
            return False

    def measure(self) -> int:
        """Have the agent extend those of crag's events that its log does not hold yet.

        After each call its evidence is asked for again, and only what that shows counts: a call
        that fails may have extended all the same.

        Returns:
            How many were extended now.

        Raises:
            AttestationRejected: the log does not replay, or it has other events of crag's.
            NotSupported: this agent cannot measure, or its machine is no TD.
            Unreachable: it does not answer.
            CragError: it refuses.
        """
        first = held = self._held()
        failures = 0
        while held < len(self._own.entries):
            why = self._extend(self._own.entries[held])
            now = self._held()
            if now == held:
                failures += 1
                if failures == _TRIES:
                    raise CragError(
                        f"The attestation agent at {self.url} does not measure: {why}.",
                        hint="Look at the agent's log, then try again.",
                        code="agent-refused",
                    )
            held = now
        return held - first

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Evidence over ``report_data`` (1 to 64 bytes); GPUs answer to its first 32 bytes.

        Raises:
            BadInput: the report data has another length.
            AttestationRejected: it is malformed, bound to something else, or does not replay.
            NotSupported: the agent's machine is no TD, or the agent is too old.
            Unreachable, CragError: it does not answer, or refuses.
        """
        if not 0 < len(report_data) <= _REPORT_DATA:
            raise BadInput(
                f"Report data has {len(report_data)} bytes, a TD report takes 1 to {_REPORT_DATA}.",
                hint="Give a hash of what is to be bound.",
            )
        evidence, _events = self._examined(report_data)
        if self._gpus is not None:
            gpus = self._gpus(report_data.ljust(_REPORT_DATA, b"\0")[:32])
            evidence["gpu_evidence"] = dict(gpus) if gpus is not None else None
        return evidence

    def additional(self, report_data: bytes) -> dict[str, Any] | None:
        """The agent's evidence of further devices over ``report_data``, or None.

        None as well where nothing is to be bound, which nobody could verify, and where this
        process collects the GPUs' evidence itself.
        """
        if not report_data or self._gpus is not None:
            return None
        reply = self._get("/aa/additional-evidence", report_data)
        if reply.status != 200 or not reply.body.strip():
            return None
        found = read_json(reply.body)
        return found if isinstance(found, dict) and found else None

    def _held(self) -> int:
        _evidence, events = self._examined(secrets.token_bytes(48))
        return self._own.held_by_log(events)

    def _examined(self, report_data: bytes) -> tuple[dict[str, Any], list[Aael]]:
        """Evidence that is bound to ``report_data`` and replays, and its agent's events."""
        evidence = self._evidence(report_data)
        quote = quote_of(evidence)
        expected = report_data.ljust(_REPORT_DATA, b"\0")
        if not hmac.compare_digest(quote.report_data, expected):
            raise NotSupported(
                f"The attestation agent at {self.url} binds its evidence to something else than "
                "it was asked for.",
                hint="It must take encoding=base64: Trustiflux 1.4 or newer. Or use "
                "--evidence tdx.",
            )
        events = replayed(evidence, quote)
        self._own.held_by_log(events)
        self._register = quote.rtmr(3).hex()
        return evidence, events

    def _evidence(self, report_data: bytes) -> dict[str, Any]:
        reply = self._get("/aa/evidence", report_data)
        if reply.status != 200:
            raise self._refused(reply, "evidence")
        found = read_json(reply.body)
        if not isinstance(found, dict):
            raise malformed("it is no object")
        if "quote" not in found:
            raise NotSupported(
                f"The attestation agent at {self.url} has no TDX evidence"
                f"{', only sample evidence made by software' if 'svn' in found else ''}.",
                hint="Run this inside an Intel TDX guest, or for trying add "
                "--insecure-sample-evidence.",
            )
        return found

    def _extend(self, entry: LogEntry) -> str:
        """One AAEL call; what went wrong with it in words, where trying again may help."""
        body = {
            "domain": DOMAIN,
            "operation": entry.name,
            "content": f"sha256:{entry.content_digest.hex()}",
        }
        try:
            reply = self._request("POST", "/aa/aael", json_body=body)
        except Unreachable:
            return "it does not answer"
        if reply.status in (403, 404, 405):
            raise self._refused(reply, "its event log")
        return f"it answers {reply.status}" if reply.status != 200 else "its log has not changed"

    def _get(self, path: str, report_data: bytes) -> Reply:
        data = base64.urlsafe_b64encode(report_data).rstrip(b"=").decode()
        return self._request("GET", f"{path}?runtime_data={data}&encoding=base64")

    def _request(self, method: str, path: str, seconds: float = SECONDS, **rest: Any) -> Reply:
        from crag_core.trustee.http import Deadline, Http

        try:
            with Http(self.url) as http:
                return http.request(method, path, deadline=Deadline(seconds), **rest)
        except Unreachable as error:
            raise Unreachable(
                f"The attestation agent at {self.url} does not answer.",
                hint="Start it (api-server-rest with its attestation agent), or name it with "
                "--agent-url.",
                details=error.details,
            ) from None

    def _refused(self, reply: Reply, what: str) -> CragError:
        if reply.status in (403, 404, 405):
            return NotSupported(
                f"The attestation agent at {self.url} does not offer {what} "
                f"(it answers {reply.status}).",
                hint="Start api-server-rest with its attestation features enabled.",
            )
        return CragError(
            f"The attestation agent at {self.url} refuses {what} (it answers {reply.status}).",
            hint="Look at the agent's log.",
            code="agent-refused",
        )
