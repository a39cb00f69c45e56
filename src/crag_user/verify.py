"""``crag-user verify``: have a service prove itself, and send it nothing."""

from __future__ import annotations

from typing import Any

import click

from crag_core.command import command, console
from crag_core.errors import AttestationRejected
from crag_core.gateway.dump import preflight
from crag_user.options import trust_options
from crag_user.service import Service
from crag_user.show import report_lines
from crag_user.trust import INSECURE_WARNING, Trust, report_of


@command("verify")
@click.argument("url")
@trust_options
def verify(url: str, trust: Trust) -> None:
    """Have the service at URL prove itself to your Trustee, now.

    Only the exchange of evidence takes place; the service behind the gateway sees nothing. Ends
    with exit 10 where the service is refused, and with exit 75, within 30 seconds, where it or the
    Trustee does not answer.
    """
    service = Service.parse(url)
    out = console()
    if trust.allow_insecure:
        out.warn(INSECURE_WARNING)
    out.progress(f"verifying {service.url}")
    try:
        proof = preflight(trust.ingress_config(), service.endpoint)
        report = trust.judge(proof.token).report.as_json()
    except AttestationRejected as error:
        out.progress_end()
        report = report_of(error, trust.policy_id)
        if not out.json:
            out.line("\n".join(report_lines(service.url, report)))
        raise Refused(error, report) from None
    out.progress_end()
    out.result(report, "\n".join(report_lines(service.url, report)))


class Refused(AttestationRejected):
    """A refusal that is also a report: with ``--json`` both are one object on stdout."""

    def __init__(self, error: AttestationRejected, report: dict[str, Any]) -> None:
        super().__init__(error.message, hint=error.hint, code=error.code)
        self.report = report

    def as_json(self) -> dict[str, Any]:
        """The report of ``verify --json`` with the contract's ``error`` in it."""
        return {**self.report, **super().as_json()}
