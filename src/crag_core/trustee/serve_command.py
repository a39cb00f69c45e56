"""``trustee serve``."""

from __future__ import annotations

from pathlib import Path

from crag_core.command import command, console, option
from crag_core.config import home
from crag_core.errors import NotSupported
from crag_core.trustee.admin_options import directory_option


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
def serve(listen: str, directory: Path | None, accept_sample: bool, token_seconds: int) -> None:
    """Serve keys and verdicts to this machine until stopped.

    Prints its URL once it answers. Resources and policies live in --dir; as shipped, no workload
    gets any resource: say which does with 'trustee policy apply'.
    """
    try:
        from crag_core.trustee.local.serve import Settings, Trustee
    except ImportError as error:
        raise NotSupported(
            f"This installation lacks {error.name}, which the local Trustee needs.",
            hint="Install it with pip install 'crag-core[trustee]'.",
        ) from None
    trustee = Trustee(
        Settings(directory or home() / "trustee", listen, accept_sample, token_seconds)
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
