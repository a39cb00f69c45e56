"""Keys from the confidential data hub of this machine's attestation agent.

The hub attests and unseals; it hands the resource over on loopback or on its standard output. Two
ways: the command ``confidential-data-hub ... get-resource`` where it is installed, otherwise
api-server-rest's ``/cdh/resource/...``. Source: guest-components f132e63, confidential-data-hub
and api-server-rest.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

from crag_core.errors import CragError, NotSupported, Unreachable

PROGRAM = "confidential-data-hub"
SECONDS = 30.0
_MAX_BYTES = 1 << 20
# What a program needs to run; nothing of this service's own environment goes to it.
_PASSED = ("PATH", "HOME", "LANG", "RUST_LOG")


def hub_program(config: Path | None) -> Path | None:
    """The command that is used; None where api-server-rest is asked instead.

    Raises:
        NotSupported: it has a configuration and is not installed.
    """
    found = shutil.which(PROGRAM)
    if found is None and config is not None:
        raise NotSupported(
            f"The program {PROGRAM} is not installed.",
            hint="Install the guest components, or leave --cdh-config out to ask the agent's REST "
            "interface.",
        )
    return None if found is None else Path(found)


class DataHub:
    """Fetches resources through the hub; a context manager like the key broker's client.

    Args:
        agent_url: api-server-rest, on loopback.
        config: of the command.
        trustee_url: told to the command, so that it asks the Trustee that is measured.
    """

    def __init__(self, agent_url: str, config: Path | None, trustee_url: str) -> None:
        self._agent_url = agent_url
        self._config = config
        self._trustee_url = trustee_url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        """Nothing is kept open."""

    def fetch(self, uri: str) -> bytes:
        """The bytes of the resource ``uri`` (``kbs:///repository/type/tag``).

        Raises:
            BadInput: the name is not one of a resource.
            CragError: the hub does not give it (code ``cdh-refused``); it doesn't tell why.
            Unreachable: it does not answer within 30 s.
            NotSupported: it is not there.
        """
        from crag_core.trustee.kbs import resource_path

        path = resource_path(uri)
        program = hub_program(self._config)
        return self._asked(path) if program is None else self._run(program, path)

    def _asked(self, path: str) -> bytes:
        from crag_core.trustee.http import Deadline, Http

        try:
            with Http(self._agent_url) as http:
                reply = http.request("GET", f"/cdh/resource/{path}", deadline=Deadline(SECONDS))
        except Unreachable as error:
            raise Unreachable(
                f"The confidential data hub at {self._agent_url} does not answer.",
                hint="Start api-server-rest with its resource feature, or name it with "
                "--agent-url.",
                details=error.details,
            ) from None
        if reply.status != 200 or not reply.body:
            raise _refused(path, f"it answers {reply.status}")
        return reply.body

    def _run(self, program: Path, path: str) -> bytes:
        words = [str(program)]
        if self._config is not None:
            words += ["-c", str(self._config)]
        words += ["get-resource", "--resource-uri", f"kbs:///{path}"]
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ}
        try:
            done = subprocess.run(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**environment, "TRUSTEE_URL": self._trustee_url},
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(
                f"{PROGRAM} did not finish within {SECONDS:.0f} s.",
                hint="Look at its attestation agent and at the Trustee.",
            ) from None
        except OSError as error:
            raise NotSupported(f"{program} cannot be run: {error.strerror}.") from None
        if done.returncode != 0:
            raise _refused(path, f"it ended with {done.returncode}")
        return _decoded(done.stdout, path)


def _decoded(output: bytes, path: str) -> bytes:
    """The command prints standard base64 with a line's end."""
    try:
        found = base64.b64decode(output.strip(), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not 0 < len(found) <= _MAX_BYTES:
        raise _refused(path, "what it printed is not base64 of a resource")
    return found


def _refused(path: str, why: str) -> CragError:
    return CragError(
        f"The confidential data hub does not give {path}: {why}.",
        hint="The log of the hub and of its attestation agent says why: the Trustee refused the "
        "evidence, its policy said no, or there is no such resource.",
        code="cdh-refused",
    )
