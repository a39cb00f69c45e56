"""Run the Trustee: one process, one loopback socket, a clean stop within two seconds."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn

from crag_core.attestation.anchors import PINNED, Anchors
from crag_core.errors import CragError, UsageError
from crag_core.trustee.local import identity as identities
from crag_core.trustee.local import rates
from crag_core.trustee.local.administration import Administration
from crag_core.trustee.local.app import Parts, build
from crag_core.trustee.local.appraiser import Appraiser
from crag_core.trustee.local.attestation_service import AttestationService
from crag_core.trustee.local.audit import Audit
from crag_core.trustee.local.audit_log import AuditLog
from crag_core.trustee.local.challenges import Challenges
from crag_core.trustee.local.collateral import LocalCollateral
from crag_core.trustee.local.folder import Folder
from crag_core.trustee.local.hardware import Hardware
from crag_core.trustee.local.kbs import Kbs
from crag_core.trustee.local.limits import (
    KEEP_ALIVE_SECONDS,
    MAX_HEADERS,
    DeadlineProtocol,
)
from crag_core.trustee.local.policies import Policies
from crag_core.trustee.local.posture import (
    STRICT,
    VENDOR,
    WITH_LEGACY,
    Posture,
    claim_for_vendor_defaults,
    refuse_vendor_folder,
)
from crag_core.trustee.local.rates import Rate
from crag_core.trustee.local.reference_values import ReferenceValues
from crag_core.trustee.local.resources import Resources
from crag_core.trustee.local.sessions import Sessions
from crag_core.trustee.local.tls import TlsFiles
from crag_core.trustee.local.tokens import DEFAULT_SECONDS, Tokens
from crag_core.trustee.local.verifiers import Verifiers

ENDPOINT = "endpoint.json"
MIN_TOKEN_SECONDS, MAX_TOKEN_SECONDS = 10, 3600


@dataclass(frozen=True)
class Settings:
    """How to run a Trustee.

    ``directory``: its folder. ``listen``: ``HOST:PORT`` on loopback, port 0 for a free one.
    ``accept_sample``: whether software-made evidence is accepted. ``token_seconds``: 10 to 3600.
    ``legacy``: whether protocol 0.1.0 is spoken too. ``tls``: certificate and key for https.
    ``pccs``: where collateral is fetched that is not at hand, ``pccs_ca``: what is trusted there
    for https. ``anchors``: roots of hardware
    evidence; only tests give others than the makers'. ``vendor_defaults``: open to everybody, as
    the vendor's Trustee comes.
    """

    directory: Path
    listen: str = "127.0.0.1:0"
    accept_sample: bool = False
    token_seconds: int = DEFAULT_SECONDS
    legacy: bool = False
    tls: TlsFiles | None = None
    pccs: str | None = None
    pccs_ca: Path | None = None
    anchors: Anchors = PINNED
    vendor_defaults: bool = False

    @property
    def posture(self) -> Posture:
        """What is open."""
        if self.vendor_defaults:
            return VENDOR
        return WITH_LEGACY if self.legacy else STRICT


class Trustee:
    """A Trustee with its socket bound, ready to run in this thread or one of its own.

    Raises:
        UsageError: an address that is not loopback, or a token time out of range.
        BadInput: the folder cannot be used.
        CragError: the port is taken.
    """

    def __init__(self, settings: Settings) -> None:
        if not MIN_TOKEN_SECONDS <= settings.token_seconds <= MAX_TOKEN_SECONDS:
            raise UsageError(
                f"Tokens live {MIN_TOKEN_SECONDS} to {MAX_TOKEN_SECONDS} seconds, not "
                f"{settings.token_seconds}.",
                hint="Change --token-seconds.",
            )
        self.settings = settings
        context = None if settings.tls is None else settings.tls.context()
        host, port = _address(settings.listen)
        self.folder = Folder(settings.directory)
        if settings.vendor_defaults:
            claim_for_vendor_defaults(self.folder)
        else:
            refuse_vendor_folder(self.folder)
        with self.folder.writing() as writer:
            writer.sweep()
        self.identity = identities.load(self.folder)
        self._socket = _bind(host, port)
        shown = f"[{host}]" if ":" in host else host
        scheme = "http" if settings.tls is None else "https"
        self.url = f"{scheme}://{shown}:{self._socket.getsockname()[1]}/api"
        config = uvicorn.Config(
            build(_parts(self.folder, self.identity, settings)),
            http=DeadlineProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=MAX_HEADERS,
            ssl_context_factory=None if context is None else lambda _config, _default: context,
        )
        self._server = _Server(config)
        self._thread: threading.Thread | None = None

    def ready(self) -> dict[str, Any]:
        """What a program needs to use this Trustee: paths and address, no secrets."""
        admin = self.identity.admin_key_path
        return {
            "ready": True,
            "url": self.url,
            "certificate": str(self.identity.ca_path),
            "admin_key": None if admin is None else str(admin),
            "insecure": self.settings.accept_sample or self.settings.vendor_defaults,
        }

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM, SIGINT or :meth:`stop`; then finish within two seconds."""
        self._server.on_ready = on_ready
        with self._announced(), asyncio.Runner(loop_factory=_Loop) as runner:
            runner.run(self._server.serve(sockets=[self._socket]))

    def start(self) -> Trustee:
        """Serve in a thread until :meth:`stop`; returns once requests are answered."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self.run, args=(ready.set,), name="trustee", daemon=True
        )
        self._thread.start()
        if not ready.wait(10):
            raise CragError("The Trustee did not start within 10 seconds.")
        return self

    def stop(self) -> None:
        """End :meth:`run`, and wait for the thread where there is one."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(5)

    def __enter__(self) -> Trustee:
        return self.start()

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()

    @contextlib.contextmanager
    def _announced(self) -> Iterator[None]:
        """Keep ``endpoint.json`` while serving, so that other commands find this Trustee."""
        mine = json.dumps({**self.ready(), "pid": os.getpid()}).encode()
        with self.folder.writing() as writer:
            writer.write(mine, ENDPOINT)
        try:
            yield
        finally:
            with self.folder.writing() as writer:
                if self.folder.read(ENDPOINT) == mine:
                    writer.remove(ENDPOINT)


class _Loop(asyncio.SelectorEventLoop):
    """Gives a TLS handshake no more time than a request's headers; asyncio would give a minute."""

    async def create_server(self, *arguments: Any, **named: Any) -> asyncio.Server:
        if named.get("ssl") is not None:
            named.setdefault("ssl_handshake_timeout", DeadlineProtocol.header_seconds)
        return await super().create_server(*arguments, **named)


class _Server(uvicorn.Server):
    """uvicorn that says when it is ready and takes SIGTERM as a wish to end, not as a failure."""

    on_ready: Callable[[], None] = staticmethod(lambda: None)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handled = (signal.SIGTERM, signal.SIGINT)
        before = {number: signal.signal(number, self.handle_exit) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _parts(folder: Folder, identity: identities.Identity, settings: Settings) -> Parts:
    posture = settings.posture
    resources, references = Resources(folder), ReferenceValues(folder)
    policies = Policies(folder, posture.policies)
    audit, tokens = Audit(folder), Tokens(identity, settings.token_seconds)
    collateral = LocalCollateral(folder, settings.pccs, settings.pccs_ca)
    hardware = Hardware(folder, collateral, anchors=settings.anchors)
    sample = settings.accept_sample or settings.vendor_defaults
    verifiers = Verifiers(hardware, sample, believe_sample=settings.vendor_defaults)
    appraiser = Appraiser(verifiers, policies, references)
    return Parts(
        identity=identity,
        kbs=Kbs(
            Sessions(rate=Rate(*rates.SESSIONS)),
            appraiser,
            tokens,
            resources,
            policies,
            audit,
            posture,
        ),
        service=AttestationService(appraiser, Challenges(), tokens, posture),
        administration=Administration(
            resources, policies, references, audit, AuditLog(folder), identity.admin_id
        ),
        posture=posture,
    )


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback or not port.isdecimal() or int(port) > 65535:
        raise UsageError(
            f"The local Trustee listens on loopback only; {listen} is no such address.",
            hint="Use --listen 127.0.0.1:PORT; to serve other machines, run a real Trustee.",
        )
    return host, int(port)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only where the protocol is named does asyncio switch off Nagle's delay: 40 ms an answer.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise CragError(
            f"The Trustee cannot listen on {host}:{port}: {error.strerror}.",
            hint="Choose another port with --listen, or leave it out for a free one.",
            code="address-in-use",
        ) from None
    return made
