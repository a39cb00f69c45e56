"""In what the Trustees differ for those who administer and examine them, in one table.

Sources: openanolis/trustee v1.5.2 and v1.9.0, confidential-containers/trustee 78962cd. How they
differ for workloads is in :mod:`crag_core.trustee.rcar`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crag_core.errors import CragError
from crag_core.trustee.http import Deadline, Http, Reply, problem

Kind = Literal["crag", "openanolis-1.5", "openanolis-1.9", "upstream"]
# An exact version that no server has: the refusal names the one that it speaks.
_NO_VERSION = "0.0.0"
_HERE = {"AdminAuth", "AdminAuthAccess"}
_UNAUTHORIZED = 401


@dataclass(frozen=True)
class Server:
    """One kind of server.

    Args:
        kind: its name in our options.
        title: its name for people.
        rcar: versions of the handshake that it may speak.
        references: where reference values are registered: at the key broker (``kbs/v0/rvps``), at
            the gateway alone (``/api/rvps``), at the one that the address is of, or each by its
            own name.
        reference_merges: whether registering adds to a name's values instead of replacing them.
        lists_resources: whether it lists the names of resources.
        shows_policies: whether what was set can be read back.
        policy_suffix: what follows a policy id where each class of devices has a policy.
        scoped_policies: whether parts of the resources can have policies of their own.
        audit: who answers about releases: the Trustee to its admin, its gateway to anybody, nobody.
        shows_tcb: whether policies see how well a platform is patched.
        verifies_gpus: whether a verdict covers GPUs.
        simple_tokens: whether it may issue tokens without an EAR, decided by a policy's ``allow``.
    """

    kind: Kind
    title: str
    rcar: tuple[str, ...]
    references: Literal["kbs", "gateway", "either", "named"] = "kbs"
    reference_merges: bool = False
    lists_resources: bool = True
    shows_policies: bool = True
    policy_suffix: str = ""
    scoped_policies: bool = False
    audit: Literal["admin", "gateway", "none"] = "gateway"
    shows_tcb: bool = True
    verifies_gpus: bool = False
    simple_tokens: bool = False

    def reference_root(self, base: str) -> str:
        """The URL below which reference values are, of the key broker at ``base``.

        The forks' gateway has no path below ``kbs/v0`` for them, from 1.6 on as before
        (``trustee-gateway/cmd/server/main.go``): it forwards ``/api/rvps``.
        """
        if self.references == "gateway" or (self.references == "either" and base.endswith("/api")):
            return f"{base.removesuffix('/api')}/api/rvps"
        return f"{base}/kbs/v0/rvps"


SERVERS: dict[str, Server] = {
    server.kind: server
    for server in (
        Server(
            "crag",
            "crag's local Trustee",
            ("0.4.0", "0.1.0"),
            scoped_policies=True,
            audit="admin",
            verifies_gpus=True,
        ),
        Server(
            "openanolis-1.5",
            "openanolis Trustee up to 1.5.2",
            ("0.1.0",),
            references="gateway",
            shows_tcb=False,
            simple_tokens=True,
        ),
        Server(
            "openanolis-1.9",
            "openanolis Trustee 1.6 to 1.9",
            ("0.4.0",),
            references="either",
            reference_merges=True,
            simple_tokens=True,
        ),
        Server(
            "upstream",
            "confidential-containers Trustee",
            ("0.4.0",),
            references="named",
            lists_resources=False,
            shows_policies=False,
            policy_suffix="_cpu",
            audit="none",
            verifies_gpus=True,
        ),
    )
}


def detect(http: Http, bases: tuple[str, ...], deadline: Deadline) -> tuple[Server, str]:
    """Which kind of server answers, and at which of ``bases``; asked without harm.

    Raises:
        CragError: no key broker is there, or it is none that we know (code ``not-a-trustee``).
        Unreachable: nothing answers.
    """
    for base in bases:
        opening = http.patient(
            "POST",
            f"{base}/kbs/v0/auth",
            json_body={"version": _NO_VERSION, "tee": "sample", "extra-params": ""},
            deadline=deadline,
        )
        found = problem(opening)
        if found.kind != "AttestationError":
            continue
        if "=0.1.0" in found.detail:
            return SERVERS["openanolis-1.5"], base
        if "=0.4.0" in found.detail:
            return _of_current(http, base, opening, deadline), base
    raise CragError(
        f"No Trustee that we know answers at {http.url}.",
        hint="Check the URL, or say which kind it is with --trustee-kind.",
        code="not-a-trustee",
    )


def _of_current(http: Http, base: str, opening: Reply, deadline: Deadline) -> Server:
    """Those that speak 0.4.0 differ in their statuses, and in whether there are RVPS paths.

    The forks answer another version with 500 (1.6) or 502, the others with 401
    (``kbs/src/error.rs``).
    """
    if opening.status != _UNAUTHORIZED:
        return SERVERS["openanolis-1.9"]
    root = SERVERS["crag"].reference_root(base)
    answer = http.patient("GET", f"{root}/query", deadline=deadline)
    ours = problem(answer).kind in _HERE or answer.status == 200
    return SERVERS["crag" if ours else "upstream"]
