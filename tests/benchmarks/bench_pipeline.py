"""``crag-owner ingest`` from files to rows: memory against the corpus, and what overlapping saves.

What is real: the program itself, its parsing sandbox (a process for each file), chunking,
encryption and PostgreSQL. What is replaced: the embedder, by an HTTP server on loopback that
returns prepared unit vectors after 1 ms a passage, which is an assumption about a server with a
GPU; the built-in one would take hours for 100 000 chunks. Texts are drawn at random, 20 chunks a
file.

``memory``: peak resident memory (VmHWM of the program's own process) of ingests of 1 000, 10 000
and 100 000 chunks, and the largest over the others. The first is less than the program holds at
most (2048 chunks under way, a sample of 4096 vectors), the second is more. ``overlap``: the time of
the stages one after the other, over that of the pipeline, in one process, the median of three
rounds; the stages are the product's own, driven file by file as before the pipeline had threads.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CHUNKS = 20
CORPORA = (1_000, 10_000, 100_000)
OVERLAP_CHUNKS = 2_000
ROUNDS = 3
SECONDS_PER_PASSAGE = 0.001
PREPARED_VECTORS = 512
_KIB_OF_A_MIB = 1024


def serve() -> None:
    """The embedding server, a program of its own; prints its port."""
    from synthetic import Topics

    vectors = [
        json.dumps([round(value, 6) for value in vector.tolist()])
        for vector in Topics().draw(PREPARED_VECTORS, 1)
    ]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            begun = time.monotonic()
            texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
            items = ",".join(
                f'{{"index":{index},"embedding":{vectors[hash(text) % PREPARED_VECTORS]}}}'
                for index, text in enumerate(texts)
            )
            body = f'{{"data":[{items}]}}'.encode()
            time.sleep(max(0.0, begun + SECONDS_PER_PASSAGE * len(texts) - time.monotonic()))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
    server.serve_forever()


@contextmanager
def _embedding_server() -> Iterator[str]:
    command = [sys.executable, __file__, "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdout is None or process.stdin is None:
            raise RuntimeError("no pipes")
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


def _corpus(folder: Path, chunks: int) -> Path:
    """Files whose paragraphs are one chunk each."""
    from synthetic import texts

    for number in range(chunks // CHUNKS):
        part = folder / f"{number // 100:03}"
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{number:05}.txt").write_text("\n\n".join(texts(CHUNKS, number)))
    return folder


def ingest(arguments: list[str]) -> None:
    """Run ``crag-owner`` in this process; prints its peak memory as the last line."""
    from crag_core.command import run as command
    from crag_owner.cli import root

    code = command(root, "owner", arguments)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"exit": code, "peak_kib": int(peak.split()[1])}))


def _measured(folder: Path, chunks: int, environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, __file__, "ingest", "ingest", str(folder), "--json"]
    done = subprocess.run(
        [*command, "--collection", f"bench-{chunks}"],
        env=environment,
        cwd=folder.parent,
        capture_output=True,
        check=True,
    )
    report, last = (json.loads(line) for line in done.stdout.splitlines())
    if last["exit"] != 0 or report["chunks"]["written"] != chunks:
        raise RuntimeError(f"not {chunks} chunks were written: {report}")
    return {
        "peak_mib": round(last["peak_kib"] / _KIB_OF_A_MIB, 1),
        "seconds": round(report["seconds"], 1),
    }


def _memory(url: str, work: Path, environment: dict[str, str]) -> dict[str, Any]:
    settings = environment | {"CRAG_EMBEDDER_URL": url, "CRAG_EMBEDDER": "openai:bench"}
    found = {
        str(chunks): _measured(_corpus(work / f"docs-{chunks}", chunks), chunks, settings)
        for chunks in CORPORA
    }
    *smaller, largest = CORPORA
    ratios = {
        f"ratio_of_peaks_to_{chunks}": round(
            found[str(largest)]["peak_mib"] / found[str(chunks)]["peak_mib"], 3
        )
        for chunks in smaller
    }
    return {**found, **ratios}


def _overlap(url: str, work: Path, settings: Any) -> dict[str, Any]:
    """The wall time of the pipeline against its stages one after the other."""
    from crag_core.store.options import open_store
    from crag_owner.files import Corpus
    from crag_owner.parsing.sandbox import ParsingSandbox

    corpus = Corpus.of([_corpus(work / "docs-overlap", OVERLAP_CHUNKS)], work)
    rounds: list[dict[str, float]] = []
    with open_store(settings) as store, ParsingSandbox() as sandbox:
        for number in range(ROUNDS + 1):
            target = _target(settings, store, url, work, f"apart-{number}")
            apart = _one_after_the_other(target, sandbox, corpus)
            target = _target(settings, store, url, work, f"together-{number}")
            rounds.append({**apart, "together": _together(target, sandbox, corpus)})
    # The first round starts the sandbox and fills caches.
    median = {name: statistics.median(each[name] for each in rounds[1:]) for name in rounds[0]}
    stages = median["parse"] + median["embed"] + median["write"]
    return {
        "ratio_of_stages_to_pipeline": round(
            statistics.median(
                (each["parse"] + each["embed"] + each["write"]) / each["together"]
                for each in rounds[1:]
            ),
            3,
        ),
        "ratio_of_slowest_stage_to_pipeline": round(
            max(median["parse"], median["embed"], median["write"]) / median["together"], 3
        ),
        "share_of_stages": {
            name: round(median[name] / stages, 3) for name in ("parse", "embed", "write")
        },
    }


def _target(settings: Any, store: Any, url: str, work: Path, name: str) -> Any:
    from crag_core.console import Console
    from crag_core.embedding.options import EmbedderSettings
    from crag_owner.ingest.target import Target
    from crag_owner.keyfile import KeySource

    embedder = EmbedderSettings(given="openai:bench", url=url)
    key = KeySource(path=str(work / "home" / "keys" / "master.key"))
    made = Target(settings, store, name, key, embedder, Console(quiet=True))
    made.require()
    return made


def _one_after_the_other(target: Any, sandbox: Any, corpus: Any) -> dict[str, float]:
    """Seconds of each stage, file by file, in batches within a document as before."""
    from crag_core.collection import ChunkDraft, DocumentDraft
    from crag_owner.files import Limits
    from crag_owner.ingest.admission import Admission
    from crag_owner.ingest.expiry import Expiry
    from crag_owner.ingest.labels_file import Labels
    from crag_owner.ingest.pipeline import BATCH_CHUNKS
    from crag_owner.ingest.preparing import LocalPreparation

    admission = Admission(target, Labels(), Expiry(), Limits())
    preparation = LocalPreparation(target, sandbox, 1)
    took = {"parse": 0.0, "embed": 0.0, "write": 0.0}
    pending: list[DocumentDraft] = []

    def write() -> None:
        begun = time.perf_counter()
        if pending:
            target.collection.put_documents(pending)
            target.anchors.save(target.collection)
            pending.clear()
        took["write"] += time.perf_counter() - begun

    for task in admission.tasks(corpus):
        begun = time.perf_counter()
        admitted = admission.admit(task)
        prepared = preparation.prepare(admitted.parser, ".txt", admitted.data, lambda: None)
        parsed = time.perf_counter()
        vectors = target.embedder.passages([chunk.embedded for chunk in prepared.chunks])
        took["parse"] += parsed - begun
        took["embed"] += time.perf_counter() - parsed
        pending.append(
            DocumentDraft(
                source=task.candidate.source,
                content_tag=admission.tag(target.collection, admitted.parser, admitted.digest),
                chunks=[
                    ChunkDraft(chunk.text, vector, chunk.page, chunk.heading)
                    for chunk, vector in zip(prepared.chunks, vectors, strict=True)
                ],
            )
        )
        if sum(len(draft.chunks) for draft in pending) >= BATCH_CHUNKS:
            write()
    write()
    return took


def _together(target: Any, sandbox: Any, corpus: Any) -> float:
    """Seconds of the pipeline."""
    from crag_core.console import Console
    from crag_owner.ingest.pipeline import Pipeline
    from crag_owner.ingest.preparing import LocalPreparation
    from crag_owner.ingest.report import IngestReport

    report = IngestReport("bench", "database")
    preparation = LocalPreparation(target, sandbox, len(os.sched_getaffinity(0)))
    begun = time.perf_counter()
    Pipeline(target, preparation, report, Console(quiet=True)).run(corpus)
    took = time.perf_counter() - begun
    if report.written != OVERLAP_CHUNKS:
        raise RuntimeError(f"not {OVERLAP_CHUNKS} chunks were written: {report.written}")
    return took


def run() -> dict[str, Any]:
    """``{"memory": {...}, "overlap": {...}}``, as the module says."""
    from server import postgres

    from crag_core.keys import MasterKey
    from crag_owner import keyfile

    with (
        tempfile.TemporaryDirectory(prefix="crag-bench-") as folder,
        postgres() as settings,
        _embedding_server() as url,
    ):
        work = Path(folder)
        environment = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "LANG", "OPENBLAS_NUM_THREADS")
            if name in os.environ
        }
        environment |= {
            "CRAG_HOME": str(work / "home"),
            "CRAG_DB_HOST": str(settings.host),
            "CRAG_DB_NAME": str(settings.database),
            "CRAG_DB_USER": str(settings.user),
        }
        os.environ["CRAG_HOME"] = environment["CRAG_HOME"]
        key = work / "home" / "keys" / "master.key"
        keyfile.store(key, MasterKey.generate())
        return {
            "overlap": _overlap(url, work, settings),
            "memory": _memory(url, work, environment),
        }


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        ingest(sys.argv[2:])
