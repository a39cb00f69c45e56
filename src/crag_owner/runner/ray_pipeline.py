"""The ingest's pipeline with parsing, cutting and embedding on Ray workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from crag_core.embedding.options import EmbedderSettings
from crag_owner.files import Candidate
from crag_owner.ingest.pipeline import Admitted, Pipeline
from crag_owner.parsing import Unreadable
from crag_owner.parsing.sandbox import SandboxLimits
from crag_owner.runner.preparing import Assignment
from crag_owner.runner.ray_pool import Pending, RayPool


@dataclass
class RayPipeline(Pipeline):
    """As :class:`Pipeline`; files are read, compared, encrypted and written here, in their order.

    Args:
        embedder: where an embedding server is, for the workers.
        parsing: limits of their sandboxes.
        workers: how many; None means one per core of the cluster.
    """

    embedder: EmbedderSettings | None = None
    parsing: SandboxLimits = field(default_factory=SandboxLimits)
    workers: int | None = None

    def run(self, candidates: Sequence[Candidate]) -> None:
        """Take all files; those that cannot be read are reported and left out."""
        if self.dry_run:
            super().run(candidates)
            return
        waiting: deque[tuple[str, Admitted, Pending]] = deque()
        with ExitStack() as stack:
            pool: RayPool | None = None
            for number, candidate in enumerate(candidates, 1):
                place = f"{number}/{len(candidates)}"
                self._show(place, candidate)
                admitted = self._admitted(candidate)
                if admitted is None:
                    continue
                # Workers are started by the first file that needs them: most reruns have none.
                pool = pool or stack.enter_context(self._pool())
                while len(waiting) >= pool.capacity:
                    self._collect(pool, *waiting.popleft())
                suffix = candidate.path.suffix
                waiting.append((place, admitted, pool.submit(suffix, admitted.data)))
            while pool is not None and waiting:
                self._collect(pool, *waiting.popleft())
        self.flush()
        self.console.progress_end()

    def _admitted(self, candidate: Candidate) -> Admitted | None:
        try:
            return self._admit(candidate)
        except Unreadable as refused:
            self._fail(candidate, refused)
            return None

    def _pool(self) -> RayPool:
        private = self.target.require().private
        settings = self.embedder
        assignment = Assignment(
            profile={name: private[name] for name in ("embedder", "embedding") if name in private},
            chunking=self.target.policy.as_json(),
            limits=self.parsing,
            url=settings.url if settings else None,
            api_key=settings.api_key if settings else None,
        )
        return RayPool(assignment, self.workers)

    def _collect(self, pool: RayPool, place: str, admitted: Admitted, pending: Pending) -> None:
        prepared = pool.result(pending)
        if prepared.vectors is None:
            self._fail(admitted.candidate, Unreadable(prepared.refused))
            return
        self._embedded += len(prepared.chunks)
        self._show(place, admitted.candidate)
        self._keep(admitted, prepared.chunks, prepared.vectors)
        self._flush_if_due()
