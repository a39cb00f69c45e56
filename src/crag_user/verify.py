"""``crag-user verify``: a service, or recorded evidence, proves itself; nothing is sent."""

from __future__ import annotations

from typing import Any

import click

from crag_core.command import command, console
from crag_core.errors import AttestationRejected, UsageError
from crag_user.history import note_report
from crag_user.options import trust_options
from crag_user.recorded import Recorded, recorded_options
from crag_user.service import Service
from crag_user.show import report_lines
from crag_user.trust import INSECURE_WARNING, Trust, report_of


@command("verify")
@click.argument("url", required=False)
@trust_options
@recorded_options
def verify(url: str | None, trust: Trust | None, recorded: Recorded | None) -> None:
    """Have the service at URL prove itself to your Trustee, now; or judge recorded evidence.

    Only the exchange of evidence takes place; the service behind the gateway sees nothing. Ends
    with exit 10 where the service is refused, and with exit 75, within 30 seconds, where it or the
    Trustee does not answer.

    With --evidence no URL is given and nobody is asked: a quote, its collateral, an event log and
    a GPU's report are judged as of --at by the rules of --policy, with the same answer and exits.
    """
    if recorded is not None:
        if url is not None:
            raise UsageError(
                "A service and recorded evidence cannot be verified at once.",
                hint="Give either URL or --evidence.",
            )
        _recorded(recorded)
        return
    if url is None or trust is None:
        raise UsageError(
            "Nothing is named that could be verified.",
            hint="Give the service's URL, or --evidence FILE.",
        )
    _live(Service.parse(url), trust)


def _recorded(recorded: Recorded) -> None:
    out = console()
    verdict = recorded.judge()
    report = verdict.as_json()
    lines = "\n".join(report_lines(str(recorded.evidence), report))
    try:
        verdict.require()
    except AttestationRejected as error:
        if not out.json:
            out.line(lines)
        raise Refused(error, report) from None
    out.result(report, lines)


def _live(service: Service, trust: Trust) -> None:
    from crag_core.gateway.dump import preflight

    out = console()
    if trust.allow_insecure:
        out.warn(INSECURE_WARNING)
    out.progress(f"verifying {service.url}")
    try:
        proof = preflight(trust.ingress_config(), service.endpoint)
        report = trust.judge(proof.token).report.as_json()
    except AttestationRejected as error:
        out.progress_end()
        report = note_report(service.url, report_of(error, trust.policy_id))
        if not out.json:
            out.line("\n".join(report_lines(service.url, report)))
        raise Refused(error, report) from None
    out.progress_end()
    report = note_report(service.url, report)
    out.result(report, "\n".join(report_lines(service.url, report)))


class Refused(AttestationRejected):
    """A refusal that is also a report: with ``--json`` both are one object on stdout."""

    def __init__(self, error: AttestationRejected, report: dict[str, Any]) -> None:
        super().__init__(error.message, hint=error.hint, code=error.code)
        self.report = report

    def as_json(self) -> dict[str, Any]:
        """The report of ``verify --json`` with the contract's ``error`` in it."""
        return {**self.report, **super().as_json()}
