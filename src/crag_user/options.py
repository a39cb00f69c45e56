"""The options that say which service is meant and whom the user trusts."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from crag_core.command import option
from crag_core.config import home
from crag_core.errors import UsageError
from crag_user.trust import Trust

F = TypeVar("F", bound=Callable[..., Any])


def trust_options(function: F) -> F:
    """Add the options of the user's Trustee; the command receives them as ``trust``.

    A command without a service's URL in ``url`` gets None: no Trustee has a part in it.
    """

    @wraps(function)
    def with_trust(
        *args: Any,
        trustee: str | None,
        trustee_certificate: Path,
        policy_id: str,
        allow_insecure_evidence: bool,
        **kwargs: Any,
    ) -> Any:
        trust = None
        if kwargs.get("url", "") is not None or "evidence" not in kwargs:
            url = trustee or _running_here()
            trust = Trust.of(url, trustee_certificate, policy_id, allow_insecure_evidence)
        return function(*args, trust=trust, **kwargs)

    for add in reversed(_OPTIONS):
        with_trust = add(with_trust)
    return with_trust  # type: ignore[return-value]


def _running_here() -> str:
    """The URL of the Trustee that runs on this machine, as it announces itself."""
    try:
        return str(json.loads((home() / "trustee" / "endpoint.json").read_bytes())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            "No Trustee is named and none runs on this machine, so nobody could verify the "
            "service.",
            hint="Name your own with --trustee URL or CRAG_USER_TRUSTEE; 'crag-user trustee "
            "serve' starts one on this machine.",
        ) from None


_OPTIONS = (
    option(
        "--trustee",
        metavar="URL",
        help="Your own Trustee, which appraises the evidence; by default the one on this machine.",
    ),
    option(
        "--trustee-certificate",
        type=click.Path(path_type=Path),
        default=lambda: home() / "trustee" / "ca.pem",
        show_default="ca.pem of the Trustee on this machine",
        metavar="FILE",
        help="CA certificate (PEM) that must have issued the signer of its verdicts.",
    ),
    option("--policy-id", default="default", metavar="ID", help="Policy of the appraisal."),
    option(
        "--allow-insecure-evidence",
        is_flag=True,
        help="Accept evidence made by software. Proves nothing; for trying only.",
    ),
)
