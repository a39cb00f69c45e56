"""The ingest's preparation on Ray workers, which parse, cut and embed."""

from __future__ import annotations

import threading
from collections.abc import Callable

from crag_core.embedding.options import EmbedderSettings
from crag_owner.ingest.preparing import Prepared
from crag_owner.ingest.target import Target
from crag_owner.parsing import Parser, Unreadable
from crag_owner.parsing.sandbox import SandboxLimits
from crag_owner.runner.preparing import Assignment
from crag_owner.runner.ray_pool import RayPool

# Threads wait for workers; they are made when so many files are under way.
MOST_THREADS = 1024
# Before it is known how many workers there are.
FIRST_FILES = 2


class RayPreparation:
    """As :class:`LocalPreparation`, on a cluster; files are read, compared, encrypted and written
    by the process that the owner started.

    Args:
        target: whose embedder and policy the workers use.
        embedder: where an embedding server is, for the workers.
        parsing: limits of their sandboxes.
        workers: how many; None means one per core of the cluster.
    """

    threads = MOST_THREADS

    def __init__(
        self,
        target: Target,
        embedder: EmbedderSettings,
        parsing: SandboxLimits,
        workers: int | None = None,
    ) -> None:
        self._target = target
        self._embedder = embedder
        self._parsing = parsing
        self._workers = workers
        self._pool: RayPool | None = None
        self._guard = threading.Lock()

    @property
    def ahead(self) -> int:
        """As many files as the workers take."""
        pool = self._pool
        return FIRST_FILES if pool is None else min(pool.capacity, MOST_THREADS)

    def prepare(
        self, parser: Parser, suffix: str, data: bytes, check: Callable[[], None]
    ) -> Prepared:
        """See :class:`Preparation`; a worker finds the parser again by ``suffix``.

        Raises:
            CragError: see :class:`RayPool`.
        """
        del parser
        pool = self._started(check)
        done = pool.result(pool.submit(suffix, data))
        if done.vectors is None:
            raise Unreadable(done.refused)
        return Prepared(done.chunks, done.vectors, done.missing)

    def stop(self) -> None:
        """End the workers."""
        with self._guard:
            if self._pool is not None:
                self._pool.stop()

    def close(self) -> None:
        """End the workers and a cluster of this machine."""
        with self._guard:
            if self._pool is not None:
                self._pool.close()
                self._pool = None

    def _started(self, check: Callable[[], None]) -> RayPool:
        """The workers, started by the first file that needs them: most reruns have none."""
        with self._guard:
            check()
            if self._pool is None:
                assignment = Assignment(
                    profile=self._target.embedding,
                    chunking=self._target.policy.as_json(),
                    limits=self._parsing,
                    url=self._embedder.url,
                    api_key=self._embedder.api_key,
                )
                self._pool = RayPool(assignment, self._workers)
            return self._pool
