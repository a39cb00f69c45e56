"""An attestation agent with its REST interface (api-server-rest), on a TD of a forged Intel.

Written from the guest components' interface as the project's facts have it; nothing of crag's own
code makes its logs.
"""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from support import logs
from support.fake_kernel import BOOT
from support.hardware import intel


class FakeAgent:
    """A running agent; a context manager.

    ``text``: it keeps its log as text, as Trustiflux up to 1.3. ``raw``: it takes runtime data as
    text, and knows neither ``encoding`` nor ``/info``. ``failures``: for each of the next AAEL
    calls a status, or its negative where the event is measured all the same. ``sample``: its
    machine has no TEE. ``resources``: what the confidential data hub behind it gives.
    """

    def __init__(self, *, text: bool = False, raw: bool = False, sample: bool = False) -> None:
        self.text, self.raw, self.sample = text, raw, sample
        self.lines: list[str] = []
        self.failures: list[int] = []
        self.gpus: dict[str, Any] | None = None
        self.additional: dict[str, Any] | None = None
        self.resources: dict[str, bytes] = {}
        self.hidden = 0
        self.measuring = True
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(*agent.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                self.answer(*agent.post(self.path, body))

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("content-type", "application/octet-stream")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Self:
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)

    def get(self, path: str) -> tuple[int, bytes]:
        split = urlsplit(path)
        if split.path == "/info" and not self.raw:
            tee = "sample" if self.sample else "tdx"
            return 200, json.dumps({"tee": tee, "version": "1", "additional_tees": []}).encode()
        if split.path.startswith("/cdh/resource/"):
            found = self.resources.get(split.path.removeprefix("/cdh/resource/"))
            return (500, b"rpc status") if found is None else (200, found)
        query = parse_qs(split.query)
        data = query.get("runtime_data", [""])[0].encode()
        if not self.raw and query.get("encoding") == ["base64"]:
            data = base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))
        if split.path == "/aa/evidence":
            return 200, json.dumps(self.evidence(data[:64])).encode()
        if split.path == "/aa/additional-evidence" and self.additional is not None:
            return 200, json.dumps(self.additional).encode()
        return 404, b"Not found"

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        if path != "/aa/aael" or not self.measuring:
            return 404, b"Not found"
        event = json.loads(body)
        failure = self.failures.pop(0) if self.failures else 0
        if failure <= 0:
            self.lines.append(f"{event['domain']} {event['operation']} {event['content']}")
        return abs(failure) or 200, b""

    def evidence(self, data: bytes) -> dict[str, Any]:
        if self.sample:
            return {"svn": "1", "report_data": base64.b64encode(data).decode()}
        shown = self.lines[: len(self.lines) - self.hidden]
        if self.text:
            told, _ = logs.text_log(shown)
            _, register = logs.text_log(self.lines)
            registers = (*logs.rtmrs(BOOT)[:3], register)
            found: dict[str, Any] = {"cc_eventlog": _b64(logs.ccel(BOOT))}
            found["aa_eventlog"] = told.decode()
        else:
            registers = logs.rtmrs([*BOOT, *map(logs.aael, self.lines)])
            found = {"cc_eventlog": _b64(logs.ccel([*BOOT, *map(logs.aael, shown)]))}
        quote = intel().quote(report_data=data, rtmrs=registers)
        return {"quote": _b64(quote), **found, "gpu_evidence": self.gpus}


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
