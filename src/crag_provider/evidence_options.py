"""The options that say where evidence and keys come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from crag_core.command import option
from crag_core.errors import UsageError
from crag_provider.settings import AGENT_URL, SYS_ROOT

EVIDENCE = ("auto", "tdx", "agent", "sample")
GPU_EVIDENCE = ("require", "if-present", "none")
EVENT_LOGS = ("ccel", "text")
KEY_SOURCES = ("kbs", "cdh")
_PATH = click.Path(path_type=Path)

OPTIONS = (
    option(
        "--insecure-sample-evidence",
        is_flag=True,
        help="Attest with software-made evidence where there is no TEE. For trying only.",
    ),
    option(
        "--evidence",
        type=click.Choice(EVIDENCE),
        default="auto",
        help="tdx: the kernel's interfaces; agent: an attestation agent on this machine; sample: "
        "made by software; auto: the first of these that there is.",
    ),
    option(
        "--agent-url",
        metavar="URL",
        default=AGENT_URL,
        help="The attestation agent's REST interface (api-server-rest), on loopback.",
    ),
    option(
        "--gpu-evidence",
        type=click.Choice(GPU_EVIDENCE),
        default="if-present",
        help="Whether the GPUs must, may or shall not attest with the machine.",
    ),
    option(
        "--event-log",
        type=click.Choice(EVENT_LOGS),
        default="ccel",
        help="How events are logged that the kernel extends: in the firmware's table, or as text "
        "beside it for Trustee 1.5.",
    ),
    option(
        "--key-source",
        type=click.Choice(KEY_SOURCES),
        default="kbs",
        help="kbs: attest to the Trustees and fetch the keys; cdh: have the agent's confidential "
        "data hub fetch them.",
    ),
    option(
        "--cdh-config",
        type=_PATH,
        metavar="FILE",
        help="Configuration of the command confidential-data-hub; without it and without the "
        "command, --agent-url is asked.",
    ),
    option(
        "--sys-root",
        type=_PATH,
        metavar="DIR",
        default=str(SYS_ROOT),
        help="Where the kernel's sysfs and configfs are, for containers that have them elsewhere.",
    ),
)


def evidence_settings(given: Mapping[str, Any], needs_model: bool) -> dict[str, Any]:
    """The members of :class:`ProviderSettings` that these options are, checked together.

    Raises:
        UsageError: two of them contradict each other, or the agent is not on this machine.
    """
    from crag_core.attestation.agent import agent_url

    sample = given["insecure_sample_evidence"]
    if given["evidence"] == "sample" and not sample:
        raise UsageError(
            "Sample evidence is made by software and proves nothing.",
            hint="To try crag with it, add --insecure-sample-evidence.",
        )
    if given["key_source"] == "cdh":
        _require_hub(given, needs_model)
    return {
        "insecure_sample_evidence": sample,
        "evidence": given["evidence"],
        "agent_url": agent_url(given["agent_url"]),
        "gpu_evidence": given["gpu_evidence"],
        "event_log": given["event_log"],
        "key_source": given["key_source"],
        "cdh_config": given["cdh_config"],
        "sys_root": given["sys_root"],
    }


def _require_hub(given: Mapping[str, Any], needs_model: bool) -> None:
    """The hub attests through the agent and to one Trustee; what else is asked cannot be had."""
    if given["evidence"] == "tdx":
        raise UsageError(
            "With --key-source cdh the attestation agent attests, so it must measure as well.",
            hint="Use --evidence agent, or --key-source kbs.",
        )
    owners = given["alt_trustee_url"] or given["trustee_url"]
    if needs_model and owners != given["trustee_url"]:
        raise UsageError(
            "The confidential data hub asks one Trustee, and here are two.",
            hint="Use --key-source kbs.",
        )
