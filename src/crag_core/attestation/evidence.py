"""Where evidence comes from: one interface, one class per kind of machine."""

from __future__ import annotations

from typing import Any, Protocol

from crag_core.attestation import sample
from crag_core.attestation.measurement import Measurement

INSECURE_TEES = frozenset({"sample", "sampledevice"})


class EvidenceSource(Protocol):
    """What the key-broker client and the attester server ask for evidence."""

    @property
    def tee(self) -> str:
        """The kind of evidence as Trustee names it, for example ``tdx`` or ``sample``."""

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Fresh evidence bound to ``report_data`` (1 to 64 bytes, raw)."""

    def additional(self, report_data: bytes) -> dict[str, Any] | None:
        """Evidence of further devices, ``{"<tee>": {...}}``, or None; empty data binds nothing."""


class MeasuringSource(EvidenceSource, Protocol):
    """A source that also measures: what vouches for crag's events is a register of the machine."""

    @property
    def register(self) -> str:
        """The register's value in hex once everything is measured, as the evidence shows it."""

    def measure(self) -> int:
        """Measure what is not measured yet, before anybody is asked for a key; how much it was."""


class SampleSource:
    """Software-made evidence of a measurement, for machines without a TEE."""

    def __init__(self, measurement: Measurement) -> None:
        self._measurement = measurement

    @property
    def tee(self) -> str:
        """``sample``: everybody who appraises it can see that no hardware stands behind it."""
        return sample.TEE

    @property
    def measurement(self) -> Measurement:
        """What the evidence claims."""
        return self._measurement

    @property
    def register(self) -> str:
        """The measurement's own register."""
        return self._measurement.register().hex()

    def measure(self) -> int:
        """Nothing: the register is made anew for each evidence."""
        return 0

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Sample evidence; see :func:`crag_core.attestation.sample.build`."""
        return sample.build(self._measurement, report_data)

    def additional(self, report_data: bytes) -> dict[str, Any] | None:
        """None: there is no further device."""
        del report_data
        return None
