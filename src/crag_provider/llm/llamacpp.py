"""Bring up llama.cpp with the model's GGUF file in a child process."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crag_core.errors import BadInput, CragError, NotSupported, Unreachable
from crag_provider.llm.interface import LlmEndpoint
from crag_provider.model.opening import OpenModel
from crag_provider.processes import clean_environment, start, stop

START_SECONDS = 120.0
_MAX_LINE = 65536


@dataclass(frozen=True)
class LlamaLimits:
    """Sizes: ``context`` in tokens per request, ``parallel`` requests, ``max_tokens`` per answer,
    ``threads`` (0: all cores but one)."""

    context: int = 2048
    parallel: int = 2
    max_tokens: int = 256
    threads: int = 0


def find_gguf(folder: Path) -> Path:
    """The one GGUF file of the model (of a split one, its first part).

    Raises:
        BadInput: there is none, or several.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ".gguf")
    first = [path for path in found if "-of-" not in path.stem or "-00001-of-" in path.stem]
    if len(first) != 1:
        number = "no GGUF file" if not first else f"{len(first)} GGUF files"
        raise BadInput(
            f"The model's volume holds {number}; llama.cpp needs one.",
            hint="Encrypt one GGUF model, or use --llm vllm for other formats.",
        )
    return first[0]


@contextlib.contextmanager
def llamacpp(
    model: OpenModel, limits: LlamaLimits, *, seconds: float = START_SECONDS
) -> Iterator[LlmEndpoint]:
    """llama.cpp serving the model on loopback, for one block.

    The child gets its configuration and a random API key through a pipe, no variables of ours, and
    ends when we do.

    Raises:
        NotSupported: the library xllamacpp is missing.
        BadInput: the volume has no usable GGUF file.
        Unreachable: not ready within ``seconds``.
        CragError: llama.cpp could not load the model.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise NotSupported(
            "The library xllamacpp is not installed.",
            hint="Install crag-provider[llamacpp], or choose another --llm.",
        )
    gguf = find_gguf(model.folder)
    api_key = secrets.token_urlsafe(32)
    config = {
        "model": str(gguf),
        "alias": gguf.stem,
        "api_key": api_key,
        "context": limits.context,
        "parallel": limits.parallel,
        "max_tokens": limits.max_tokens,
        # One core stays free: a thread that must wait for it costs llama.cpp tenfold.
        "threads": limits.threads or max(1, len(os.sched_getaffinity(0)) - 1),
    }
    process = start(
        [sys.executable, "-I", "-m", "crag_provider.llm.llamacpp_child"],
        given=json.dumps(config).encode() + b"\n",
        stdout=subprocess.PIPE,
        environment=clean_environment(),
        pass_fds=model.descriptors,
        keep_stdin=True,
    )
    try:
        url = _ready(process, seconds)
        yield LlmEndpoint(f"{url}/v1", gguf.stem, api_key, lambda: process.poll() is None)
    finally:
        stop(process)


def _ready(process: subprocess.Popen[bytes], seconds: float) -> str:
    line = _first_line(process, seconds)
    try:
        said = json.loads(line)
        if said["ready"]:
            return str(said["url"])
        reason = str(said["reason"])
    except (ValueError, KeyError, TypeError):
        process.wait(5)
        reason = f"it ended with status {process.returncode}"
    raise CragError(
        f"llama.cpp could not load the model: {reason}",
        hint="Check that the volume holds a GGUF file that this llama.cpp knows, and the memory.",
    )


def _first_line(process: subprocess.Popen[bytes], seconds: float) -> bytes:
    if process.stdout is None:
        raise ValueError("the child's output must be a pipe")
    deadline = time.monotonic() + seconds
    line = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while b"\n" not in line and len(line) < _MAX_LINE:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise Unreachable(
                    f"llama.cpp was not ready within {seconds:g} s.",
                    hint="The model may be large for this machine; raise --llm-seconds.",
                )
            part = os.read(process.stdout.fileno(), 4096)
            if not part:
                break
            line += part
    return line
