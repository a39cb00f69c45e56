"""Read the vendor guide's ``cai.env``: shell assignments, parsed and never executed.

Its names (``TRUSTEE_URL``, ``MODEL_KEY_ID``...) become settings of crag-provider; ``CRAG_*`` names
are settings as they stand. Both only fill in what the environment does not say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from crag_core.errors import BadInput

VENDOR_NAMES = (
    "TRUSTEE_URL",
    "MODEL_KEY_ID",
    "MODEL_OSS_BUCKET_PATH",
    "MODEL_OSS_ENDPOINT",
    "MODEL_OSS_ACCESS_KEY_ID",
    "MODEL_OSS_SECRET_ACCESS_KEY",
    "MODEL_OSS_SESSION_TOKEN",
    "MODEL_ENCRYPTION_METHOD",
    "MODEL_MOUNT_POINT",
    "ALT_TRUSTEE_URL",
    "ALT_KEY_ID",
    "MODEL_SERVICE_PORT",
    "TRUSTEE_POLICY",
    "MODEL_SHARING_PEER",
)
PREFIX = "CRAG_PROVIDER_"
_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_PART = re.compile(
    r"""'(?P<literal>[^']*)'|"(?P<quoted>(?:[^"\\]|\\.)*)"|\\(.)|(?P<bare>[^\s'"\\$`]+)|"""
    r"""\s+(?:\#.*)?$"""
)
_COMPUTED = re.compile(r"(?<!\\)(?:\\\\)*[$`]")
_ESCAPE = re.compile(r"""\\([\\"$`])""")
_MAX_BYTES = 1 << 20


def parse(text: str, where: str) -> dict[str, str]:
    """The assignments of ``text``; the last one of a name wins.

    Values are bare words, ``'literal'`` or ``"with \\" escapes"``; ``#`` begins a comment at the
    start of a line or after a blank.

    Raises:
        BadInput: a line is no assignment, a quote stays open, or a value would be computed by a
            shell (``$`` or a backtick outside single quotes). The line is named, never its value.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            raise _refused(where, number, "is not NAME=VALUE")
        found[match[1]] = _value(match[2], where, number)
    return found


def _value(raw: str, where: str, number: int) -> str:
    parts: list[str] = []
    at = 0
    while at < len(raw):
        match = _PART.match(raw, at)
        if match is None:
            raise _refused(where, number, _why(raw[at]))
        literal, quoted, escaped, bare = match["literal"], match["quoted"], match[3], match["bare"]
        if quoted is not None:
            if _COMPUTED.search(quoted):
                raise _refused(where, number, _why("$"))
            quoted = _ESCAPE.sub(r"\1", quoted)
        parts.append(next((part for part in (literal, quoted, escaped, bare) if part), ""))
        at = match.end()
    return "".join(parts)


def _why(char: str) -> str:
    if char in "$`":
        return "has a value that a shell would compute"
    if char in "'\"":
        return "leaves a quote open"
    if char == "\\":
        return "ends with a backslash"
    return "has a blank in a value without quotes"


def _refused(where: str, number: int, what: str) -> BadInput:
    return BadInput(
        f"Line {number} of {where} {what}.",
        hint="Write NAME=VALUE, or NAME='VALUE' where it has special characters.",
        details={"file": where, "line": number},
    )


def load(path: Path) -> dict[str, str]:
    """The assignments of the file ``path``.

    Raises:
        BadInput: it cannot be read, is no UTF-8, or has a broken line.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(
            f"The env file {path} cannot be read: {error.strerror}.", hint="Check --env-file."
        ) from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"The env file {path} is not UTF-8.", hint="Save it as UTF-8.") from None
    if len(raw) > _MAX_BYTES or "\0" in text:
        raise BadInput(f"The env file {path} is no text file.", hint="Check --env-file.")
    return parse(text, str(path))


def apply(
    found: Mapping[str, str], environment: MutableMapping[str, str] | None = None
) -> list[str]:
    """Make ``found`` settings of this process, where its environment says nothing; the names that
    are no settings of ours, in order."""
    target = os.environ if environment is None else environment
    unknown = []
    for name, value in found.items():
        if name in VENDOR_NAMES:
            shared = target.get(f"CRAG_{name}")
            if value and not shared:
                target.setdefault(PREFIX + name, value)
        elif name.startswith("CRAG_"):
            if value:
                target.setdefault(name, value)
        else:
            unknown.append(name)
    return unknown
