"""``trustee serve``."""

from __future__ import annotations

from pathlib import Path

from crag_core.command import command, console, option
from crag_core.config import home
from crag_core.errors import NotSupported, UsageError
from crag_core.trustee.admin_options import click_path, directory_option, pccs_ca_option


@command("serve")
@option(
    "--listen",
    setting="trustee_listen",
    default="127.0.0.1:0",
    metavar="HOST:PORT",
    help="Loopback address; port 0 takes a free one.",
)
@directory_option
@option(
    "--insecure-accept-sample-evidence",
    "accept_sample",
    setting="trustee_insecure_accept_sample_evidence",
    is_flag=True,
    help="Accept evidence that software made and nothing vouches for. For trying only.",
)
@option(
    "--token-seconds",
    setting="trustee_token_seconds",
    type=int,
    default=300,
    help="How long a token is valid.",
)
@option(
    "--legacy-protocol",
    "legacy",
    setting="trustee_legacy_protocol",
    is_flag=True,
    help="Speak protocol 0.1.0 too, for workloads with Trustiflux up to 1.3.1.",
)
@option(
    "--tls-certificate",
    setting="trustee_tls_certificate",
    type=click_path(),
    metavar="FILE",
    help="Serve https with this certificate (PEM, with its chain).",
)
@option(
    "--tls-key-file",
    setting="trustee_tls_key_file",
    type=click_path(),
    metavar="FILE",
    help="The certificate's private key (PEM, without a passphrase).",
)
@option(
    "--pccs",
    setting="trustee_pccs",
    metavar="URL",
    help="A PCCS to fetch Intel's collateral from; without it, only what is imported is used.",
)
@pccs_ca_option
@option(
    "--insecure-vendor-defaults",
    "vendor_defaults",
    setting="trustee_insecure_vendor_defaults",
    is_flag=True,
    help="Be as open as the vendor's Trustee 1.5.2 comes, for 'trustee check'. Never for keys.",
)
def serve(
    listen: str,
    directory: Path | None,
    accept_sample: bool,
    token_seconds: int,
    legacy: bool,
    tls_certificate: Path | None,
    tls_key_file: Path | None,
    pccs: str | None,
    pccs_ca: Path | None,
    vendor_defaults: bool,
) -> None:
    """Serve keys and verdicts to this machine until stopped.

    Prints its URL once it answers. Resources and policies live in --dir; as shipped, no workload
    gets any resource: say which does with 'trustee policy apply'.
    """
    try:
        from crag_core.trustee.local.serve import Settings, Trustee
        from crag_core.trustee.local.tls import TlsFiles
    except ImportError as error:
        raise NotSupported(
            f"This installation lacks {error.name}, which the local Trustee needs.",
            hint="Install it with pip install 'crag-core[trustee]'.",
        ) from None
    if (tls_certificate is None) != (tls_key_file is None):
        raise UsageError(
            "A certificate for https needs its key, and a key its certificate.",
            hint="Give both --tls-certificate and --tls-key-file.",
        )
    tls = TlsFiles(tls_certificate, tls_key_file) if tls_certificate and tls_key_file else None
    trustee = Trustee(
        Settings(
            directory or home() / ("trustee-vendor-defaults" if vendor_defaults else "trustee"),
            listen,
            accept_sample,
            token_seconds,
            legacy=legacy,
            tls=tls,
            pccs=pccs,
            pccs_ca=pccs_ca,
            vendor_defaults=vendor_defaults,
        )
    )
    if vendor_defaults:
        console().warn(
            "this Trustee is as open as the vendor's comes: whoever can reach it can read every "
            "key and change every policy. It is for looking at, with 'trustee check'."
        )
    if accept_sample:
        console().warn(
            "this Trustee accepts sample evidence: whoever can reach it can claim to be any "
            "workload. Use it for trying, never for keys that matter."
        )

    def ready() -> None:
        facts = trustee.ready()
        console().result(facts, trustee.url)
        console().note(f"certificate to pin: {facts['certificate']}")
        console().note(f"admin key: {facts['admin_key'] or 'kept elsewhere'}")

    trustee.run(ready)
