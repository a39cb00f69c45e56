"""Bring up ``vllm serve`` with the opened model's folder."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from crag_core.errors import CragError, NotSupported, Unreachable
from crag_core.gateway.endpoint import Endpoint, free_endpoint
from crag_core.gateway.ownership import listens
from crag_provider.llm.interface import LlmEndpoint
from crag_provider.model.opening import OpenModel
from crag_provider.processes import clean_environment, start, stop

START_SECONDS = 900.0
NAME = "model"
# vLLM's own switches: no usage reports, no downloads, no log of requests.
_SWITCHES = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_CONFIGURE_LOGGING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
# Where a machine has a GPU or a special build, these say so; they hold no secrets.
_KEPT = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "VLLM_TARGET_DEVICE", "VLLM_CPU_KVCACHE_SPACE")


def find_vllm() -> str:
    """The program ``vllm``, beside this Python or on PATH.

    Raises:
        NotSupported: there is none.
    """
    beside = Path(sys.executable).with_name("vllm")
    found = str(beside) if beside.is_file() else shutil.which("vllm")
    if not found:
        raise NotSupported(
            "The program vllm is not installed.",
            hint="Install vLLM beside crag, or use --llm llamacpp with a GGUF model.",
        )
    return found


@contextlib.contextmanager
def vllm(
    model: OpenModel, context: int, *, seconds: float = START_SECONDS
) -> Iterator[LlmEndpoint]:
    """vLLM serving the model's folder on loopback, for one block.

    Its API key is random and reaches it in a configuration that exists only in memory.

    Raises:
        NotSupported: vLLM is missing, or the model is not mounted.
        Unreachable: not ready within ``seconds``.
        CragError: vLLM ended.
    """
    program = find_vllm()
    if model.access != "fuse":
        raise NotSupported(
            f"vLLM needs the model mounted, and {model.why}.",
            hint="Install gocryptfs and fuse3 and give this machine /dev/fuse.",
        )
    api_key = secrets.token_urlsafe(32)
    where = free_endpoint()
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    with _configuration({**_options(where, context), "api-key": api_key}) as (config, descriptor):
        process = start(
            [program, "serve", str(model.folder), "--config", str(config)],
            environment=clean_environment(**kept, **_SWITCHES),
            pass_fds=[descriptor],
        )
        try:
            _await_ready(process, where, api_key, seconds)
            yield LlmEndpoint(f"{where.url}/v1", NAME, api_key, lambda: process.poll() is None)
        finally:
            _stop_group(process)


def _options(where: Endpoint, context: int) -> dict[str, str | int | bool]:
    return {
        "host": where.host,
        "port": where.port,
        "served-model-name": NAME,
        "max-model-len": context,
        # A cache shared by callers would tell one of them, by its speed, what another one asked.
        "no-enable-prefix-caching": True,
    }


@contextlib.contextmanager
def _configuration(options: dict[str, str | int | bool]) -> Iterator[tuple[Path, int]]:
    """A configuration file for vLLM (JSON is YAML) in memory: the path by which a child that
    inherits the descriptor reads it, and the descriptor."""
    descriptor = os.memfd_create("vllm-configuration", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, json.dumps(options).encode())
        with tempfile.TemporaryDirectory(prefix="crag-vllm-") as folder:
            link = Path(folder) / "serve.yaml"
            link.symlink_to(f"/proc/self/fd/{descriptor}")
            yield link, descriptor
    finally:
        os.close(descriptor)


def _await_ready(
    process: subprocess.Popen[bytes], where: Endpoint, api_key: str, seconds: float
) -> None:
    import httpx

    url = where.url

    deadline = time.monotonic() + seconds
    with httpx.Client(trust_env=False, timeout=5.0) as client:
        while time.monotonic() < deadline:
            # Another user could have taken the port, and would get the key and all prompts.
            ours = listens(process.pid, where)
            with contextlib.suppress(httpx.HTTPError):
                headers = {"authorization": f"Bearer {api_key}"}
                reply = client.get(f"{url}/v1/models", headers=headers if ours else {})
                keyless = client.get(f"{url}/v1/models")
                if ours and reply.status_code == 200 and keyless.status_code == 401:
                    return
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
            raise CragError(
                f"vLLM ended with status {process.returncode} while loading the model.",
                hint="Run 'vllm serve' by hand on the plain model to see why.",
            )
    raise Unreachable(
        f"vLLM was not ready within {seconds:g} s.", hint="The model may need a larger machine."
    )


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    """End vLLM and the workers that it started in its session."""
    stop(process, 15.0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
