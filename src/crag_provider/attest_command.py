"""``crag-provider attest``."""

from __future__ import annotations

import os

from crag_core.command import command, console
from crag_provider.options import provider_options
from crag_provider.settings import ProviderSettings

SOURCES = {
    "tdx": "the kernel of this TD",
    "agent": "an attestation agent",
    "sample": "software",
}


@command("attest")
@provider_options
def attest(settings: ProviderSettings) -> None:
    """Show what a Trustee will be told: measurement, reference values, fresh evidence.

    Takes the options of 'serve', asks no Trustee and extends no register: 'serve' does that, once.
    Whoever releases keys gives the output to 'trustee policy apply --measurement FILE'.
    """
    from crag_core.attestation.evidence import INSECURE_TEES
    from crag_core.attestation.tdx_evidence import hardware_reference_values
    from crag_provider.evidence import evidence_source
    from crag_provider.measuring import measure

    out = console()
    measurement = measure(settings, out.note)
    chosen = evidence_source(settings, measurement, out.note)
    source = chosen.source
    insecure = source.tee in INSECURE_TEES
    evidence = source.evidence(os.urandom(48))
    values = {**measurement.reference_values(), **hardware_reference_values(evidence)}
    if insecure:
        out.warn("this evidence is made by software and proves nothing.")

    def human() -> None:
        out.line(f"evidence: {source.tee}, from {SOURCES[chosen.kind]}")
        out.line(f"register: {source.register}")
        out.table(["name", "value"], [[name, found[0]] for name, found in values.items()])

    out.result(
        {
            "tee": source.tee,
            "source": chosen.kind,
            "insecure": insecure,
            "measurement": {**measurement.as_json(), "register": source.register},
            "reference_values": values,
            "evidence": evidence,
        },
        human,
    )
