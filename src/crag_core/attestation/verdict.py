"""The outcome of verifying evidence: one line per check, one verdict, the contract's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from crag_core.errors import AttestationRejected

AFFIRMING = "affirming"
REJECTED = "rejected"


@dataclass(frozen=True)
class Check:
    """One rule that was applied: its name, whether it held, and what was found."""

    name: str
    ok: bool
    detail: str

    def as_json(self) -> dict[str, Any]:
        """``{"name", "ok", "detail"}``."""
        return {"name": self.name, "ok": self.ok, "detail": self.detail}


@dataclass
class Checks:
    """The checks of one verification, in the order in which they were made."""

    items: list[Check] = field(default_factory=list)

    def add(self, name: str, ok: bool, detail: str) -> bool:
        """Note a check and return ``ok``."""
        self.items.append(Check(name, ok, detail))
        return ok

    def step(self, name: str) -> Step:
        """A ``with`` block whose :class:`AttestationRejected` becomes a failed check ``name``."""
        return Step(self, name)

    @property
    def ok(self) -> bool:
        """Whether there was at least one check and every one held."""
        return bool(self.items) and all(check.ok for check in self.items)


@dataclass(frozen=True)
class Step:
    """The block that :meth:`Checks.step` opens."""

    checks: Checks
    name: str

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> bool:
        """Swallow a refusal once it is noted; let everything else pass."""
        if isinstance(error, AttestationRejected):
            self.checks.add(self.name, False, error.message)
            return True
        return False


@dataclass(frozen=True)
class Verdict:
    """What verification found.

    ``tee`` is ``tdx``, ``sgx`` or ``unknown``. ``measurements`` and ``tcb`` are empty unless the
    signature over them was verified, so that nobody reads an attacker's values as facts.
    ``gpu`` has one entry per GPU. ``token`` is for verdicts that rest on a Trustee's token; its
    members are null when the evidence itself was verified.
    """

    tee: str
    policy_id: str
    checks: Sequence[Check]
    measurements: Mapping[str, str] = field(default_factory=dict)
    tcb: Mapping[str, Any] = field(default_factory=dict)
    gpu: Sequence[Mapping[str, Any]] = ()
    insecure: bool = False
    token: Mapping[str, Any] = field(
        default_factory=lambda: {"issuer": None, "issued": None, "expires": None}
    )

    @property
    def verdict(self) -> str:
        """``affirming`` if there are checks and all hold, else ``rejected``."""
        held = bool(self.checks) and all(check.ok for check in self.checks)
        return AFFIRMING if held else REJECTED

    @property
    def failure(self) -> Check | None:
        """The first check that failed, or None."""
        return next((check for check in self.checks if not check.ok), None)

    def as_json(self) -> dict[str, Any]:
        """The object of the contract's ``crag-user verify --json``."""
        return {
            "verdict": self.verdict,
            "insecure": self.insecure,
            "tee": self.tee,
            "measurements": dict(self.measurements),
            "tcb": dict(self.tcb),
            "gpu": [dict(entry) for entry in self.gpu],
            "policy_id": self.policy_id,
            "token": dict(self.token),
            "checks": [check.as_json() for check in self.checks],
        }

    def require(self) -> None:
        """Return if affirming.

        Raises:
            AttestationRejected: names the first check that failed; the whole verdict is in
                ``details``.
        """
        if self.verdict == AFFIRMING:
            return
        failed = self.failure or Check("evidence", False, "Nothing was checked.")
        raise AttestationRejected(
            f"The evidence was refused by the check '{failed.name}': {failed.detail}",
            hint="Send nothing to this service before its operator has an answer.",
            details=self.as_json(),
        )
