"""``crag-user connect``: an HTTP proxy on this machine that reaches one verified service."""

from __future__ import annotations

import asyncio

import click

from crag_core.command import command, console, option
from crag_core.errors import CragError
from crag_core.gateway.endpoint import Endpoint, listen_endpoint, require_loopback
from crag_user.guard.standing import RECHECK_SECONDS, Withdrawn
from crag_user.history import note_report
from crag_user.options import trust_options
from crag_user.service import Service
from crag_user.session import Opened, opened, until_signal
from crag_user.trust import INSECURE_WARNING, Trust


@command("connect")
@click.argument("url")
@trust_options
@option(
    "--listen",
    default="127.0.0.1:41000",
    metavar="HOST:PORT",
    help="Address of the proxy; only loopback; port 0 takes a free one.",
)
@option(
    "--recheck",
    type=click.FloatRange(2, 3600),
    default=RECHECK_SECONDS,
    metavar="SECONDS",
    help="How often the service proves itself anew while an answer is on its way.",
)
@option("--once", is_flag=True, help="End after one request to the service.")
def connect(url: str, trust: Trust, listen: str, recheck: float, once: bool) -> None:
    """Be the HTTP proxy to the service at URL, for any browser or program on this machine.

    Prints one line when it is ready. Requests for anything but that service get 403; where it
    cannot prove itself, they get 502 with the reason, and nothing is sent.
    """
    service = Service.parse(url)
    address = listen_endpoint(listen)
    require_loopback(address, "address to listen on")
    if trust.allow_insecure:
        console().warn(INSECURE_WARNING)
    until_signal(_connect(service, trust, address, recheck, once))


async def _connect(
    service: Service, trust: Trust, listen: Endpoint, recheck: float, once: bool
) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def served(error: CragError | None) -> None:
        if isinstance(error, Withdrawn):
            console().warn(error.message)
        if not once or done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    async with opened(service, trust, listen, served=served, recheck_seconds=recheck) as link:
        _ready(service, link)
        await asyncio.wait({done, link.failed}, return_when=asyncio.FIRST_COMPLETED)
        if link.failed.done():
            await link.failed
        await done


def _ready(service: Service, link: Opened) -> None:
    report = note_report(service.url, link.judgement.report.as_json())
    insecure = link.judgement.insecure
    state = {
        "ready": True,
        "proxy": link.proxy.url,
        "url": service.url,
        "insecure": insecure,
        "attestation": report,
    }
    marked = " INSECURE: software evidence" if insecure else ""
    out = console()
    out.result(state, f"ready: proxy {link.proxy.url} to {service.url} ({report['tee']}){marked}")
    out.note(f"Set {link.proxy.url} as HTTP proxy and open {service.url}/. Ctrl-C ends it.")
