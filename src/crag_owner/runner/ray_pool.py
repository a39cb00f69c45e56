"""Workers on Ray: one actor with a :class:`Preparer` each.

``RAY_ADDRESS`` names a cluster; without it one is started on this machine, reachable by loopback
only, that does not spill objects to disk. Ray hands a worker the environment of whoever started it,
and notes the command line of a driver: settings of crag are taken out of the environment while Ray
starts, and a command line that quotes a secret is refused.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from crag_core.errors import CragError, NotSupported, Unreachable, UsageError
from crag_owner.runner.preparing import Assignment, Prepared, Preparer

ADDRESS = "RAY_ADDRESS"
SETTINGS_PREFIX = "CRAG_"
SECRET_OPTIONS = ("--master-key", "--password", "-P", "--embedder-api-key")
OBJECT_STORE_BYTES = 256 * 1024 * 1024
START_SECONDS = 120.0
# Files that wait per worker: it is never idle, and memory holds a few files at most.
AHEAD = 2


def refuse_quoted_secrets(arguments: Sequence[str]) -> None:
    """Raise UsageError where a command line holds a secret, because Ray keeps the driver's.

    Args:
        arguments: the command line after the program's name.
    """
    for argument in arguments:
        for option in SECRET_OPTIONS:
            attached = not option.startswith("--") and argument.startswith(option)
            if argument == option or argument.startswith(f"{option}=") or attached:
                raise UsageError(
                    f"Ray keeps the command line, and {option} quotes a secret in it.",
                    hint="Give the secret by a file or the environment instead.",
                )


@contextmanager
def without_settings() -> Iterator[None]:
    """No setting of crag in the environment for one block: processes inherit it."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if _ours(name)}
    try:
        yield
    finally:
        os.environ.update(kept)


def _ours(name: str) -> bool:
    return name.startswith(SETTINGS_PREFIX)


@dataclass(frozen=True)
class Pending:
    """A file that a worker has."""

    worker: int
    reference: Any


class RayPool:
    """The workers; a context manager. :meth:`submit` and :meth:`result` are thread-safe.

    Args:
        assignment: for each of them.
        workers: how many; None means one per core of the cluster.

    Raises:
        NotSupported: Ray is not installed.
        UsageError: the command line quotes a secret.
        Unreachable: the cluster does not answer, or its workers do not start.
    """

    def __init__(self, assignment: Assignment, workers: int | None = None) -> None:
        refuse_quoted_secrets(sys.argv[1:])
        self._ray = _connected()
        try:
            count = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
            actor = self._ray.remote(num_cpus=1, max_restarts=0)(Preparer)
            self._actors = [actor.remote(assignment) for _ in range(count)]
            self._loads = [0] * count
            self._guard = threading.Lock()
        except BaseException:
            self._ray.shutdown()
            raise

    @property
    def capacity(self) -> int:
        """How many files may be with the workers at once."""
        return AHEAD * len(self._actors)

    def submit(self, suffix: str, data: bytes) -> Pending:
        """Give a file to the worker with the least to do."""
        with self._guard:
            worker = min(range(len(self._loads)), key=self._loads.__getitem__)
            self._loads[worker] += 1
        return Pending(worker, self._actors[worker].prepare.remote(suffix, data))

    def result(self, pending: Pending) -> Prepared:
        """What became of a file; waits for it.

        Raises:
            CragError: what the worker raised, such as Unreachable from an embedding server.
            Unreachable: the worker is gone.
        """
        errors = self._ray.exceptions
        try:
            prepared: Prepared = self._ray.get(pending.reference)
        except errors.RayTaskError as failed:
            if isinstance(failed.cause, CragError):
                raise failed.cause from None
            # The text of the error may quote the document.
            raise CragError(
                f"A worker failed with {type(failed.cause).__name__}.",
                hint="What was committed stays; the same command goes on from there.",
                code="worker-failed",
            ) from None
        except errors.RayError as failed:
            raise Unreachable(
                f"A worker of the Ray cluster is gone ({type(failed).__name__}).",
                hint="What was committed stays; the same command goes on from there.",
            ) from None
        with self._guard:
            self._loads[pending.worker] -= 1
        return prepared

    def stop(self) -> None:
        """End the workers; calls of :meth:`result` under way raise Unreachable."""
        for actor in self._actors:
            self._ray.kill(actor)

    def close(self) -> None:
        """End the workers, and a cluster that was started here; no call may be under way."""
        self.stop()
        self._ray.shutdown()

    def __enter__(self) -> RayPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _connected() -> Any:
    """The module ``ray``, connected.

    Raises:
        NotSupported, Unreachable: see :class:`RayPool`.
    """
    # Nothing is reported to the makers of Ray.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError:
        raise NotSupported(
            "Ray is not installed.", hint="Install crag-owner[ray], or use --runner local."
        ) from None
    address = os.environ.get(ADDRESS)
    quiet = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    local = {
        "address": "local",
        "_node_ip_address": "127.0.0.1",
        "object_store_memory": OBJECT_STORE_BYTES,
        # Spilled objects would be plaintext on disk.
        "_system_config": {"automatic_object_spilling_enabled": False},
    }
    where = f"at {address}" if address else "on this machine"
    try:
        with without_settings():
            ray.init(**({"address": address} if address else local), **quiet)
    except (RuntimeError, ConnectionError, ValueError, TimeoutError) as failed:
        raise Unreachable(
            f"The Ray cluster {where} does not start or answer ({type(failed).__name__}).",
            hint=f"Check {ADDRESS}, or use --runner local.",
        ) from None
    return ray
