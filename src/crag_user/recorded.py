"""Evidence in files: the inputs of ``crag-user verify --evidence``, read and judged offline."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from crag_core.command import option
from crag_core.errors import BadInput, UsageError

if TYPE_CHECKING:
    from crag_core.attestation.verdict import Verdict

F = TypeVar("F", bound=Callable[..., Any])

MAX_FILE = 16 * 1024 * 1024
_PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Recorded:
    """The files and values of one recorded attestation, as they were named."""

    evidence: Path
    collateral: Path
    at: int
    event_log: Path | None = None
    gpu_report: Path | None = None
    gpu_certs: Path | None = None
    gpu_nonce: str | None = None
    policy: Path | None = None

    def judge(self) -> Verdict:
        """Read the files and judge what is in them as of :attr:`at`.

        Raises:
            BadInput: a file cannot be read, or collateral, policy or nonce have no usable form.
            NotSupported: what verifies quotes is not installed.
        """
        from crag_core.attestation.offline import verify_recorded
        from crag_core.attestation.policy import parse_policy

        policy = None
        if self.policy is not None:
            policy = parse_policy(_read(self.policy, "policy"))
        return verify_recorded(
            _read(self.evidence, "quote"),
            _object(self.collateral, "collateral"),
            self.at,
            _optional(self.event_log, "event log"),
            _optional(self.gpu_report, "GPU's report"),
            _optional(self.gpu_certs, "GPU's certificates"),
            _nonce(self.gpu_nonce),
            policy,
        )


def recorded_options(function: F) -> F:
    """Add the options of recorded evidence; the command receives ``recorded``, or None without."""

    @wraps(function)
    def with_recorded(
        *args: Any,
        evidence: Path | None,
        collateral: Path | None,
        at: int | None,
        event_log: Path | None,
        gpu_report: Path | None,
        gpu_certs: Path | None,
        gpu_nonce: str | None,
        policy: Path | None,
        **kwargs: Any,
    ) -> Any:
        rest: dict[str, Any] = {
            "event_log": event_log,
            "gpu_report": gpu_report,
            "gpu_certs": gpu_certs,
            "gpu_nonce": gpu_nonce,
            "policy": policy,
        }
        if evidence is None:
            _refuse_alone({"collateral": collateral, "at": at, **rest})
            return function(*args, recorded=None, **kwargs)
        if gpu_report is None and (gpu_certs or gpu_nonce):
            raise UsageError(
                "There is no GPU report that --gpu-certs and --gpu-nonce could belong to.",
                hint="Name it with --gpu-report FILE.",
            )
        if collateral is None or at is None:
            missing = "--collateral" if collateral is None else "--at"
            raise UsageError(
                f"--evidence needs {missing}: a quote means something only with Intel's collateral "
                "and a time.",
                hint="Give --collateral FILE and --at UNIXTIME, for example --at $(date +%s).",
            )
        recorded = Recorded(evidence, collateral, at, **rest)
        return function(*args, recorded=recorded, **kwargs)

    for add in reversed(_OPTIONS):
        with_recorded = add(with_recorded)
    return with_recorded  # type: ignore[return-value]


def _refuse_alone(given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is about recorded evidence, and there is none.",
                hint="Name the quote with --evidence FILE.",
            )


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except OSError as error:
        raise BadInput(
            f"The file {path} with the {what} cannot be read: {error.strerror}.",
            hint="Check the path.",
        ) from None
    if len(data) > MAX_FILE:
        raise BadInput(
            f"The file {path} with the {what} has more than {MAX_FILE} bytes.",
            hint="Name the right file.",
        )
    return data


def _optional(path: Path | None, what: str) -> bytes | None:
    return None if path is None else _read(path, what)


def _object(path: Path, what: str) -> dict[str, Any]:
    try:
        found = json.loads(_read(path, what))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(
            f"The file {path} with the {what} is no JSON object.",
            hint="See 'Collateral' in docs/reference/evidence.md; {} means that there is none.",
        )
    return found


def _nonce(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise BadInput("--gpu-nonce is not hexadecimal.", hint="Give 64 hex digits.") from None


_OPTIONS = (
    option("--evidence", type=_PATH, metavar="QUOTE", help="Judge this recorded quote, offline."),
    option("--collateral", type=_PATH, metavar="FILE", help="Intel's collateral for it, JSON."),
    option("--at", type=click.IntRange(0, 2**40), metavar="UNIXTIME", help="As of this time."),
    option("--event-log", type=_PATH, metavar="FILE", help="Event log of the TD: CCEL or AAEL."),
    option("--gpu-report", type=_PATH, metavar="FILE", help="The GPU's report."),
    option("--gpu-certs", type=_PATH, metavar="FILE", help="The GPU's certificate chain, PEM."),
    option("--gpu-nonce", metavar="HEX", help="What the GPU was challenged with."),
    option("--policy", type=_PATH, metavar="FILE", help="The rules; by default the strict ones."),
)
