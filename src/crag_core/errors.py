"""The one tree of errors: what failed, where, and what to do next.

    CragError                exit  1  failed; the message says what and what next
    +- UsageError                  2  the command line or a setting is wrong
    +- AttestationRejected        10  evidence, token or verdict was refused
    +- PolicyDenied               11  a policy said no
    +- IntegrityViolated          12  tampered, missing, swapped or rolled-back data
    +- NotSupported               20  this machine lacks something; it is named
    +- BadInput                   30  a file, line or field cannot be used
    +- Unreachable                75  a service does not answer; try the same command again

Messages never hold a key, a passphrase, a token or the text of a document or question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class CragError(Exception):
    """Root of every error that crag raises on purpose.

    Args:
        message: one sentence that names what was wrong and where.
        hint: what to do next, usually a command.
        code: slug for programs; defaults to the class's.
        details: JSON-serialisable facts for programs; never secrets or plaintext.
    """

    exit_code: ClassVar[int] = 1
    slug: ClassVar[str] = "failed"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.slug
        self.details: dict[str, Any] = dict(details or {})

    def diagnostics(self) -> str:
        """The sentence for a person: what failed and what to do next."""
        return f"{self.message}\n  {self.hint}" if self.hint else self.message

    def as_json(self) -> dict[str, Any]:
        """The object of the contract: ``{"error": {code, exit, message, hint, details}}``."""
        return {
            "error": {
                "code": self.code,
                "exit": self.exit_code,
                "message": self.message,
                "hint": self.hint,
                "details": self.details,
            }
        }


class UsageError(CragError):
    """The command line or a setting is wrong."""

    exit_code = 2
    slug = "usage"


class AttestationRejected(CragError):
    """Evidence, a token or a verdict was refused."""

    exit_code = 10
    slug = "attestation-rejected"


class PolicyDenied(CragError):
    """A policy said no."""

    exit_code = 11
    slug = "policy-denied"


class IntegrityViolated(CragError):
    """Data was tampered with, is missing, was swapped or rolled back, or a key is the wrong one."""

    exit_code = 12
    slug = "integrity-violated"


class NotSupported(CragError):
    """This machine lacks something that the command needs."""

    exit_code = 20
    slug = "not-supported"


class BadInput(CragError):
    """A file, line or field cannot be used."""

    exit_code = 30
    slug = "bad-input"


class Unreachable(CragError):
    """A service does not answer within its time; the same command may be tried again."""

    exit_code = 75
    slug = "unreachable"
