"""The key broker's client: attest once, then fetch resources encrypted to the session's own key."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from crag_core.attestation.canonical import canonical_json, report_data
from crag_core.attestation.evidence import EvidenceSource
from crag_core.errors import BadInput, CragError
from crag_core.trustee.http import TOTAL_SECONDS, Deadline, Http, Reply, problem
from crag_core.trustee.jwe import TeeKey
from crag_core.trustee.rcar import CURRENT, CURRENT_RSA, LEGACY, Dialect
from crag_core.trustee.refusals import SESSION_KINDS, refusal
from crag_core.trustee.urls import kbs_bases

# A server keeps a session five minutes from its start.
SESSION_SECONDS = 240.0
_SEGMENT = r"[A-Za-z0-9_-][A-Za-z0-9_.-]*"
_URI = re.compile(rf"(?:kbs://[A-Za-z0-9_.:-]*/)?({_SEGMENT}/{_SEGMENT}/{_SEGMENT})")
_NONCE = re.compile(r"[A-Za-z0-9+/=_-]{16,512}")
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# How a server says that it cannot encrypt to a session's key.
_OTHER_KEY = "JweError"
# Servers bound the size of a request's head; a token with a boot's events may be over it.
_MAX_TOKEN = 16 * 1024
_COOKIE = re.compile(r"(?:^|[,;]\s*)(kbs-session-id=[A-Za-z0-9_-]{1,128})")


def resource_path(uri: str) -> str:
    """``repository/type/tag`` of ``kbs:///repository/type/tag``, or of that path itself.

    Raises:
        BadInput: not three segments of letters, digits, ``_``, ``-`` and inner dots.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise BadInput(
            f"{uri!r} is not the name of a Trustee resource.",
            hint="Write kbs:///REPOSITORY/TYPE/TAG, for example kbs:///default/crag/reports-key.",
        )
    return match[1]


@dataclass(frozen=True, repr=False)
class _Session:
    base: str
    cookie: str
    key: TeeKey
    until: float
    token: str = ""


class KbsClient:
    """Fetches resources from one key broker with evidence of one source; a context manager.

    Args:
        url: the Trustee's URL: a gateway's, with or without ``/api``, or the key broker's own.
        source: asked for fresh evidence at each attestation.
        ca: PEM file of the authorities to trust where the URL is https.
        total: seconds that one :meth:`fetch` may take, with all its requests and retries.
    """

    def __init__(
        self,
        url: str,
        source: EvidenceSource,
        *,
        ca: Path | None = None,
        total: float = TOTAL_SECONDS,
    ) -> None:
        self._bases = kbs_bases(url)
        self._http = Http(url, ca=ca)
        self._source = source
        self._total = total
        self._session: _Session | None = None
        self._current: Dialect = CURRENT

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Forget the session and close the connection."""
        self._session = None
        self._http.close()

    def fetch(self, uri: str) -> bytes:
        """The bytes of the resource ``uri`` (``kbs:///repository/type/tag``).

        The first fetch attests; later ones use the session for four minutes. Where the server has
        forgotten it (it keeps sessions in one process), the token of the attestation stands in;
        where that is refused too, the session is renewed once. A server that does not know the
        algorithm of our key is attested to once more with an RSA key (``RSA-OAEP-256``).

        Raises:
            BadInput: the name is not one of a resource.
            AttestationRejected: the evidence or the attestation result was refused.
            PolicyDenied: the resource policy said no.
            IntegrityViolated: the answer does not open with this session's key.
            Unreachable: the server did not answer in time.
            CragError: no such resource, or no Trustee at that URL.
        """
        path = resource_path(uri)
        deadline = Deadline(self._total)
        session, reply = self._get(path, deadline)
        if _forgotten(reply) and session.token:
            reply = self._resource(session, path, deadline, authorization=f"Bearer {session.token}")
        if _forgotten(reply):
            self._session = None
            session, reply = self._get(path, deadline)
        if session.key.alg == CURRENT.key_alg and problem(reply).kind == _OTHER_KEY:
            self._session, self._current = None, CURRENT_RSA
            session, reply = self._get(path, deadline)
        if reply.status != 200:
            raise refusal(reply, f"the resource {path}")
        return session.key.decrypt(reply.json())

    def _get(self, path: str, deadline: Deadline) -> tuple[_Session, Reply]:
        session = self._attested(deadline)
        return session, self._resource(session, path, deadline, cookie=session.cookie)

    def _resource(self, session: _Session, path: str, deadline: Deadline, **proof: str) -> Reply:
        return self._http.patient(
            "GET", f"{session.base}/kbs/v0/resource/{path}", headers=proof, deadline=deadline
        )

    def _attested(self, deadline: Deadline) -> _Session:
        if self._session is None or time.monotonic() > self._session.until:
            self._session = self._attest(deadline)
        return self._session

    def _attest(self, deadline: Deadline) -> _Session:
        started = time.monotonic()
        base, dialect, challenge = self._challenge(deadline)
        nonce, cookie = session_of(challenge)
        key = TeeKey.generate(dialect.key_alg)
        further = self._source.additional(report_data({"nonce": nonce, "tee-pubkey": key.jwk}))
        additional = canonical_json(further).decode() if further else ""
        evidence = self._source.evidence(report_data(dialect.bound(nonce, key.jwk, additional)))
        reply = self._http.patient(
            "POST",
            f"{base}/kbs/v0/attest",
            json_body=dialect.attest_request(nonce, key.jwk, evidence, additional),
            headers={"cookie": cookie},
            deadline=deadline,
        )
        if reply.status != 200:
            raise refusal(reply, f"a session with {self._source.tee} evidence")
        return _Session(base, cookie, key, started + SESSION_SECONDS, _token(reply))

    def _challenge(self, deadline: Deadline) -> tuple[str, Dialect, Reply]:
        """Where the key broker is, which dialect it speaks, and its challenge."""
        refused: list[Reply] = []
        for base in self._bases:
            for dialect in (self._current, LEGACY):
                reply = self._http.patient(
                    "POST",
                    f"{base}/kbs/v0/auth",
                    json_body=dialect.auth_request(self._source.tee),
                    deadline=deadline,
                )
                if reply.status == 200:
                    return base, dialect, reply
                refused.append(reply)
                if reply.status == 404:
                    break
        telling = [reply for reply in refused if problem(reply).kind] or refused
        raise refusal(telling[0], f"a session with {self._source.tee} evidence")


def _forgotten(reply: Reply) -> bool:
    return reply.status != 200 and problem(reply).kind in SESSION_KINDS


def _token(attested: Reply) -> str:
    """The token in the answer to /attest, where it can go into a header; it is optional."""
    try:
        body = attested.json()
    except CragError:
        return ""
    token = body.get("token") if isinstance(body, dict) else None
    if not isinstance(token, str) or len(token) > _MAX_TOKEN or not _TOKEN.fullmatch(token):
        return ""
    return token


def session_of(challenge: Reply) -> tuple[str, str]:
    """Nonce and cookie in the answer to /auth.

    Raises:
        CragError: there are none.
    """
    return _nonce(challenge), _cookie(challenge)


def _nonce(challenge: Reply) -> str:
    body = challenge.json()
    nonce = body.get("nonce") if isinstance(body, dict) else None
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
        raise _no_trustee(challenge, "a challenge without a usable nonce")
    return nonce


def _cookie(challenge: Reply) -> str:
    match = _COOKIE.search(challenge.headers.get("set-cookie", ""))
    if match is None:
        raise _no_trustee(challenge, "a challenge without a session")
    return match[1]


def _no_trustee(reply: Reply, what: str) -> CragError:
    return CragError(
        f"{reply.url} answered with {what}.",
        hint="Check that the URL is a Trustee's.",
        code="not-a-trustee",
    )
