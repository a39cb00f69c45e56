"""``trustee policy write``, and putting what it wrote in force."""

from __future__ import annotations

import base64
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crag_core.attestation.policy import GpuPolicy, Policy, QuotePolicy
from crag_core.command import command, console, option
from crag_core.errors import BadInput, CragError, NotSupported
from crag_core.trustee import pinning, pins
from crag_core.trustee.admin_options import click_path, pccs_ca_option
from crag_core.trustee.pin_evidence import look

if TYPE_CHECKING:
    from crag_core.trustee.admin import AdminClient

PINS, REFERENCES = "pins.json", "reference-values.json"


@command("write")
@option(
    "--measurement",
    "measurements",
    multiple=True,
    required=True,
    metavar="FILE",
    help="What 'crag-provider attest --json' prints; - is stdin. Several are accepted alike.",
)
@option(
    "--resource",
    "resources",
    multiple=True,
    metavar="URI",
    help="A resource to release to these measurements; may be repeated. A user's Trustee has none.",
)
@option(
    "-o",
    "--out",
    "out",
    required=True,
    type=click_path(),
    metavar="DIR",
    help="Folder to write to; made where it is missing.",
)
@option(
    "--tcb-status",
    "statuses",
    multiple=True,
    default=("UpToDate",),
    help="Accepted state of a platform's patches; may be repeated.",
)
@option(
    "--tolerate-advisory",
    "advisories",
    multiple=True,
    metavar="INTEL-SA-NNNNN",
    help="An advisory that is tolerated; may be repeated.",
)
@option(
    "--accept-unknown-tcb",
    is_flag=True,
    help="Accept platforms whose state the server doesn't tell: needed for Trustee 1.5.",
)
@option("--require-gpu", "gpus", type=int, default=0, help="How many verified GPUs there must be.")
@option(
    "--collateral",
    "collateral",
    multiple=True,
    type=click_path(),
    metavar="FILE",
    help="Intel's collateral, JSON, to verify the measurements' quotes with; may be repeated.",
)
@option("--pccs", setting="trustee_pccs", metavar="URL", help="Where else to get it from.")
@pccs_ca_option
@option(
    "--allow-sample",
    is_flag=True,
    help="Accept software-made evidence, which proves nothing. For trying only.",
)
def write(
    measurements: tuple[str, ...],
    resources: tuple[str, ...],
    out: Path,
    statuses: tuple[str, ...],
    advisories: tuple[str, ...],
    accept_unknown_tcb: bool,
    gpus: int,
    collateral: tuple[Path, ...],
    pccs: str | None,
    pccs_ca: Path | None,
    allow_sample: bool,
) -> None:
    """Write policies that pin measured enclaves, for review, in a form for every Trustee.

    The folder gets attestation-policy.rego, resource-policy.rego, reference-values.json and
    pins.json; 'trustee policy apply --from DIR' puts them in force. The quotes in the measurements
    are verified where --collateral or --pccs is given, now and with the --tcb-status wanted; where
    not, take measurements only from machines that you trust.
    """
    from crag_core.trustee.kbs import resource_path

    read = [(name, _read(name)) for name in measurements]
    events, registers = pins.measured(read)
    tolerated = QuotePolicy(frozenset(statuses), frozenset(advisories))
    policy = Policy(quote=tolerated, gpu=GpuPolicy(required=max(0, gpus)))
    known = [_collateral(path) for path in collateral]
    looked = [
        look(name, data, [*known, *_fetched(data, pccs, pccs_ca)], policy) for name, data in read
    ]
    made = pins.Pins(
        events=events,
        registers=registers,
        resources=tuple(sorted({resource_path(name) for name in resources})),
        allow_sample=allow_sample,
        tcb_statuses=tuple(sorted(set(statuses))),
        advisories=tuple(sorted(set(advisories))),
        accept_unknown_tcb=accept_unknown_tcb,
        gpus=max(0, gpus),
        parts=pins.parts(read),
    )
    files = {
        **pinning.write(made),
        REFERENCES: json.dumps(made.reference_values(), indent=1, sort_keys=True) + "\n",
        PINS: json.dumps(made.as_json(), indent=1, sort_keys=True) + "\n",
    }
    _write(out, files)
    for one in looked:
        if not one.verified:
            console().warn(f"the measurement {one.name} was not verified: {one.why}.")
    if allow_sample:
        console().warn("these policies accept software-made evidence, which proves nothing.")
    if accept_unknown_tcb:
        console().warn("these policies accept unpatched platforms where the server hides it.")

    def human() -> None:
        for line in _review(made):
            console().line(line)
        for name in sorted(files):
            console().line(f"wrote {out / name}")

    told = {
        "directory": str(out),
        "files": sorted(files),
        "pins": made.as_json(),
        "measurements": [{"name": one.name, "verified": one.verified} for one in looked],
    }
    console().result(told, human)


def _collateral(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_read(str(path)))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(
            f"The file {path} is no collateral.",
            hint="It is a JSON object as dcap-qvl's QuoteCollateralV3 has it.",
        )
    return found


def _fetched(measurement: bytes, pccs: str | None, ca: Path | None) -> list[dict[str, Any]]:
    """What the PCCS has for the platform of a measurement; its quote was read before."""
    found = json.loads(measurement)
    if pccs is None or found.get("tee") != "tdx":
        return []
    from crag_core.attestation.pccs import PccsSource, platform_of

    quote = base64.b64decode(found["evidence"]["quote"])
    return [PccsSource(pccs, ca=ca).fetch(*platform_of(quote))]


def _read(name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise BadInput(
            f"The file {name} cannot be read: {error.strerror}.", hint="Check the path."
        ) from None


def _write(out: Path, files: dict[str, str]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for stale in (pinning.ATTESTATION, pinning.GPU, pinning.RESOURCE):
            (out / stale).unlink(missing_ok=True)
        for name, text in files.items():
            (out / name).write_text(text, "utf-8")
    except OSError as error:
        raise BadInput(
            f"The folder {out} cannot be written: {error.strerror}.", hint="Name another with -o."
        ) from None


def _review(made: pins.Pins) -> list[str]:
    """What the policies accept, in words."""
    lines = [f"release  kbs:///{name}" for name in made.resources] or ["release  nothing"]
    for title, found in (("event", made.events), ("register", made.registers)):
        lines += [f"{title:<8} {name} {value}" for name in sorted(found) for value in found[name]]
    lines.append(f"platform {', '.join(made.tcb_statuses)}")
    lines += [f"platform open to {name} is tolerated" for name in made.advisories]
    if made.gpus:
        lines.append(f"GPUs     {made.gpus} or more")
    return lines


@dataclass(frozen=True)
class Written:
    """A folder that ``policy write`` wrote, as it stands there now."""

    pins: pins.Pins
    policies: dict[str, str]

    @classmethod
    def load(cls, folder: Path) -> Written:
        """Read the folder; a policy that was changed by hand is taken as it is.

        Raises:
            BadInput: it is no such folder.
        """
        made = pins.read(_read(str(folder / PINS)))
        policies = {name: _read(str(folder / name)).decode() for name in pinning.write(made)}
        return cls(made, policies)

    def carry_out(self, admin: AdminClient) -> list[str]:
        """Put everything in force and read back what the server shows.

        Returns:
            What could not be read back.

        Raises:
            NotSupported: this kind of server cannot hold to a pin.
            CragError: the server has something else in force afterwards (code ``not-in-force``).
        """
        server = admin.server
        if not server.shows_tcb and not self.pins.accept_unknown_tcb:
            raise NotSupported(
                f"{server.title} doesn't tell policies whether a platform is patched; these "
                "policies would refuse everybody.",
                hint="Upgrade it; or write the policies with --accept-unknown-tcb and let users "
                "verify quotes themselves.",
            )
        if self.pins.gpus and not server.verifies_gpus:
            raise NotSupported(
                f"{server.title} doesn't verify GPUs; its word on them is worth nothing.",
                hint="Use crag's or upstream's Trustee, or write the policies without "
                "--require-gpu.",
            )
        values = self.pins.reference_values()
        admin.set_reference_values(values)
        admin.set_attestation_policy("default", self.policies[pinning.ATTESTATION])
        if pinning.GPU in self.policies:
            admin.set_gpu_policy("default", self.policies[pinning.GPU])
        if pinning.RESOURCE in self.policies:
            admin.set_resource_policy(self.policies[pinning.RESOURCE])
        return self._read_back(admin)

    def _read_back(self, admin: AdminClient) -> list[str]:
        values = self.pins.reference_values()
        known = admin.get_reference_values(sorted(values))
        same = all(sorted(known.get(name, [])) == sorted(found) for name, found in values.items())
        if not admin.server.shows_policies:
            unseen = ["the policies: this server doesn't show them"]
        else:
            unseen = []
            same = same and (
                admin.get_attestation_policy("default") == self.policies[pinning.ATTESTATION]
            )
            wanted = self.policies.get(pinning.RESOURCE)
            same = same and wanted in (None, admin.get_resource_policy())
        if not same:
            raise CragError(
                "The Trustee does not have in force what it has just been told.",
                hint="Somebody else may administer it at the same time; look with 'trustee policy "
                "show', then run the same command again.",
                code="not-in-force",
            )
        return unseen
