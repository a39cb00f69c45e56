"""Workers on Ray: one actor with a :class:`Preparer` each.

``RAY_ADDRESS`` names a cluster; without it one is started on this machine, that does not spill
objects to disk. Ray listens on every interface whatever it is told, so this cluster asks everybody
for a token that only this user can read. Ray hands a worker the environment of whoever started it,
and notes the command line of a driver: settings of crag and of libpq are taken out of the
environment while Ray starts, and a command line that quotes a secret is refused.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from crag_core.errors import CragError, NotSupported, Unreachable, UsageError
from crag_owner.runner.preparing import Assignment, Prepared, Preparer

ADDRESS = "RAY_ADDRESS"
SETTINGS_PREFIXES = ("CRAG_", "PG")
AUTH_MODE, AUTH_TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"
# Ray's sockets lie below it, some 70 characters further; a socket's path may have 107.
LONGEST_FOLDER = 24
SECRET_OPTIONS = ("--master-key", "--password", "--embedder-api-key")
# Alone, or behind flags of one letter, its value attached or not.
_SHORT_PASSWORD = re.compile(r"-[qv]*P")
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
        if _url_with_password(argument.removeprefix("--db=")):
            raise UsageError(
                "Ray keeps the command line, and the database's URL quotes a password in it.",
                hint="Give the password by --password-file or the environment instead.",
            )
        if _SHORT_PASSWORD.match(argument):
            raise UsageError(
                "Ray keeps the command line, and -P quotes a secret in it.",
                hint="Give the secret by a file or the environment instead.",
            )
        for option in SECRET_OPTIONS:
            if argument == option or argument.startswith(f"{option}="):
                raise UsageError(
                    f"Ray keeps the command line, and {option} quotes a secret in it.",
                    hint="Give the secret by a file or the environment instead.",
                )


def _url_with_password(text: str) -> bool:
    try:
        found = urlsplit(text)
    except ValueError:
        return False
    quoted = found.password is not None or "password=" in found.query
    return quoted and found.scheme in ("postgresql", "postgres")


@contextmanager
def without_settings() -> Iterator[None]:
    """No setting of crag or libpq in the environment for one block: processes inherit it."""
    kept = {name: os.environ.pop(name) for name in list(os.environ) if _ours(name)}
    try:
        yield
    finally:
        os.environ.update(kept)


def _ours(name: str) -> bool:
    return name.startswith(SETTINGS_PREFIXES)


@contextmanager
def own_cluster_settings() -> Iterator[dict[str, Any]]:
    """Arguments for a cluster on this machine, its folder and its token for one block.

    The folder, with Ray's logs and sockets, is this user's alone and removed at the end.
    """
    base = tempfile.gettempdir()
    base = base if len(base) <= LONGEST_FOLDER else "/tmp"  # noqa: S108 - mkdtemp makes it private
    folder = Path(tempfile.mkdtemp(prefix="crag-ray-", dir=base))
    token = folder / "token"
    before = {name: os.environ.get(name) for name in (AUTH_MODE, AUTH_TOKEN_PATH)}
    try:
        descriptor = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32))
        os.environ[AUTH_MODE], os.environ[AUTH_TOKEN_PATH] = "token", str(token)
        yield {
            "address": "local",
            "object_store_memory": OBJECT_STORE_BYTES,
            # Ray opens this one to everybody; the folder around it stays closed.
            "_temp_dir": str(folder / "ray"),
            # Spilled objects would be plaintext on disk.
            "_system_config": {"automatic_object_spilling_enabled": False},
        }
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


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
        self._cluster = ExitStack()
        try:
            self._ray = _connected(self._cluster)
            count = workers or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
            actor = self._ray.remote(num_cpus=1, max_restarts=0)(Preparer)
            self._actors = [actor.remote(assignment) for _ in range(count)]
            self._loads = [0] * count
            self._guard = threading.Lock()
        except BaseException:
            self._cluster.close()
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
        self._cluster.close()

    def __enter__(self) -> RayPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _connected(cluster: ExitStack) -> Any:
    """The module ``ray``, connected until ``cluster`` is closed.

    Raises:
        NotSupported, Unreachable: see :class:`RayPool`.
    """
    # Nothing is reported to the makers of Ray.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    address = os.environ.get(ADDRESS)
    # Before the import, which reads how to authenticate.
    given = {"address": address} if address else cluster.enter_context(own_cluster_settings())
    try:
        import ray
    except ImportError:
        raise NotSupported(
            "Ray is not installed.", hint="Install crag-owner[ray], or use --runner local."
        ) from None
    quiet = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    where = f"at {address}" if address else "on this machine"
    try:
        with without_settings():
            cluster.callback(ray.shutdown)
            ray.init(**given, **quiet)
    except (RuntimeError, ConnectionError, ValueError, TimeoutError) as failed:
        raise Unreachable(
            f"The Ray cluster {where} does not start or answer ({type(failed).__name__}).",
            hint=f"Check {ADDRESS}, or use --runner local.",
        ) from None
    return ray
