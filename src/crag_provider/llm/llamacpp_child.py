"""llama.cpp's server as a process of its own: ``python -m crag_provider.llm.llamacpp_child``.

Reads one JSON line from standard input (the model's path, the API key, sizes), prints one JSON line
when it serves or cannot, and ends when its standard input does. It listens on loopback only, on a
port that the kernel picks, and asks every request for the key. From the moment it is ready nothing
that llama.cpp prints goes anywhere: prompts must not reach a log.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import sys
from typing import Any

_PR_SET_DUMPABLE = 4
_TAIL_BYTES = 2000


def main() -> int:
    """Serve until standard input ends."""
    _no_core_dumps()
    config = json.loads(sys.stdin.buffer.readline())
    answer = os.dup(1)
    messages = os.memfd_create("llama-messages", os.MFD_CLOEXEC)
    os.dup2(messages, 1)
    os.dup2(messages, 2)
    try:
        server = _server(config)
    except Exception as error:  # noqa: BLE001 - every failure becomes the one line
        _say(answer, {"ready": False, "reason": _reason(messages, error)})
        return 1
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    _say(answer, {"ready": True, "url": server.listening_address})
    with contextlib.suppress(KeyboardInterrupt):
        while sys.stdin.buffer.read(4096):
            pass
    return 0


def _server(config: dict[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = config["model"]
    params.model_alias = {config["alias"]}
    params.api_keys = [config["api_key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = config["context"] * config["parallel"]
    params.n_parallel = config["parallel"]
    params.n_predict = config["max_tokens"]
    params.cpuparams.n_threads = config["threads"]
    params.cpuparams_batch.n_threads = config["threads"]
    params.n_threads_http = config["parallel"] + 2
    params.verbosity = 0
    params.offline = True
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.cors_origins = ""
    # A cache shared by callers would tell one of them, by its speed, what another one asked.
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.slot_prompt_similarity = 0.0
    return xllamacpp.Server(params)


def _no_core_dumps() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _reason(messages: int, error: Exception) -> str:
    size = os.lseek(messages, 0, os.SEEK_END)
    text = os.pread(messages, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: {error}. {' | '.join(lines[-3:])}"[:600]


def _say(descriptor: int, line: dict[str, Any]) -> None:
    os.write(descriptor, json.dumps(line).encode() + b"\n")
    os.close(descriptor)


if __name__ == "__main__":
    # llama.cpp's threads need no orderly end, and an unmount must not wait for them.
    os._exit(main())
