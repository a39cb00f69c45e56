"""Ask a gateway to prove itself, before any connection for data is made.

``tng tools ohttp dump --verify`` takes a fresh challenge from the Attestation Service, has the
egress answer it with evidence over its current key, and has the Attestation Service appraise that.
Nothing is sent to the service behind the egress.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from crag_core.errors import AttestationRejected, NotSupported, Unreachable
from crag_core.gateway.binary import find_tng
from crag_core.gateway.child import inherited_path, memory_file, spawn
from crag_core.gateway.config import IngressConfig
from crag_core.gateway.endpoint import Endpoint
from crag_core.gateway.log import error_of
from crag_core.gateway.process import ENVIRONMENT
from crag_core.gateway.reasons import refusal

PREFLIGHT_SECONDS = 30.0
_POLL_SECONDS = 0.2
_TOKEN = re.compile(rb"^attestation_result: ([A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)\s*$")


@dataclass(frozen=True)
class Proof:
    """What a gateway showed: the Attestation Service's verdict (a JWT) that TNG checked."""

    token: str


def preflight(
    config: IngressConfig,
    service: Endpoint,
    *,
    timeout: float = PREFLIGHT_SECONDS,
    binary: Path | None = None,
    cancelled: threading.Event | None = None,
) -> Proof:
    """Have the egress at ``service`` attested by ``config``'s Attestation Service, now.

    Args:
        cancelled: set by another thread to give up early; Unreachable then.

    Raises:
        AttestationRejected: the evidence, the verdict or the lack of them was refused.
        Unreachable: the egress or the Trustee does not answer; at the latest after ``timeout``
            seconds.
        NotSupported: there is no usable ``tng``.
    """
    program = binary or find_tng()
    anchors = [memory_file("crag-anchor", anchor) for anchor in config.anchors]
    try:
        arguments = config.verify(tuple(inherited_path(a) for a in anchors))
        command = ["tools", "ohttp", "dump", "--endpoint", f"{service.url}/", "--verify"]
        process = spawn(
            [program, *command, json.dumps(arguments)], env=ENVIRONMENT, pass_fds=anchors
        )
    except OSError as error:
        raise NotSupported(
            f"{program} cannot be started: {error.strerror}.",
            hint="Check that it is a program for this machine.",
        ) from None
    finally:
        for anchor in anchors:
            os.close(anchor)
    output = _output(process, config, service, timeout, cancelled or threading.Event())
    return Proof(_token(process.returncode, output.splitlines(), config, service))


def _output(
    process: subprocess.Popen[bytes],
    config: IngressConfig,
    service: Endpoint,
    timeout: float,
    cancelled: threading.Event,
) -> bytes:
    deadline = time.monotonic() + timeout
    with process:
        try:
            while not cancelled.is_set() and time.monotonic() < deadline:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.communicate(timeout=_POLL_SECONDS)[0]
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()
    raise Unreachable(
        f"{service.url}, or the Trustee at {config.as_url}, did not answer within {timeout:g} s.",
        hint="Check both addresses, then try again.",
    )


def _token(code: int, lines: list[bytes], config: IngressConfig, service: Endpoint) -> str:
    if code != 0:
        errors = [told for line in lines if (told := error_of(line.decode("utf-8", "replace")))]
        raise refusal(errors[-1] if errors else "", service=service.url, trustee=config.as_url)
    tokens = [match[1] for line in lines if (match := _TOKEN.match(line))]
    if b"verified OK" not in lines or len(tokens) != 1:
        raise AttestationRejected(
            f"The gateway program did not show a verdict on {service.url}.",
            hint="Check that CRAG_TNG names TNG 2.12.",
        )
    return tokens[0].decode("ascii")
