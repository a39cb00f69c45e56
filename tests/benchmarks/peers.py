"""Peers in an environment of their own: ``.peers/``, made from ``requirements/peers.lock``.

A peer runs in a child process of that environment and answers lines of JSON, so that its rounds
alternate with ours within one run. Nothing of it is ever importable from the product.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = PROJECT / ".peers"
LOCK = PROJECT / "requirements" / "peers.lock"
ONE_THREAD = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), "1"
)


def environment() -> Path | None:
    """The Python of the peers' environment, made on first use; None where it cannot be made.

    What was missing is said on stderr, and the figures that need a peer stay null.
    """
    python, stamp = FOLDER / "bin" / "python", FOLDER / ".crag-stamp"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"bench: installing the peers into {FOLDER.name}/ (once)", file=sys.stderr)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    try:
        subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
        subprocess.run([*pip, "--require-hashes", "-r", LOCK], check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError):
        print("bench: the peers cannot be installed; their ratios stay null", file=sys.stderr)
        return None
    stamp.write_text(wanted)
    return python


class Peer:
    """The child process; one request at a time.

    Args:
        python: from :func:`environment`.
    """

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [python, Path(__file__).with_name("peer_worker.py")],
            env={**os.environ, **ONE_THREAD},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """What ``operation`` of ``peer_worker.py`` returns.

        Raises:
            RuntimeError: the child ended; its own words are on stderr.
        """
        process = self._process
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"operation": operation, **arguments}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended during {operation}: exit {process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
