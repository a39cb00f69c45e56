"""``crag-provider attest``."""

from __future__ import annotations

import os

from crag_core.command import command, console
from crag_provider.options import provider_options
from crag_provider.settings import ProviderSettings


@command("attest")
@provider_options
def attest(settings: ProviderSettings) -> None:
    """Show what a Trustee will be told: measurement, reference values, fresh evidence.

    Takes the options of 'serve' and asks nobody. Whoever releases keys gives the output to
    'trustee policy apply --measurement FILE'.
    """
    from crag_core.attestation.evidence import INSECURE_TEES
    from crag_provider.measuring import evidence_source, measure

    out = console()
    measurement = measure(settings, out.note)
    source = evidence_source(settings, measurement)
    insecure = source.tee in INSECURE_TEES
    values = measurement.reference_values()
    if insecure:
        out.warn("this evidence is made by software and proves nothing.")

    def human() -> None:
        out.line(f"evidence: {source.tee}")
        out.line(f"register: {measurement.register().hex()}")
        out.table(["name", "SHA-256"], [[name, found[0]] for name, found in values.items()])

    out.result(
        {
            "tee": source.tee,
            "insecure": insecure,
            "measurement": measurement.as_json(),
            "reference_values": values,
            "evidence": source.evidence(os.urandom(48)),
        },
        human,
    )
