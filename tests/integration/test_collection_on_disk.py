"""Where rows lie on disk, and that PostgreSQL neither compresses nor reorders them."""

from __future__ import annotations

import pytest

from crag_core.collection import Collection
from crag_core.collection.rotation import rotate
from crag_core.keys import MasterKey
from crag_core.store.postgres import PostgresStore
from support.database import Postgres, draft, new_collection


def tables(collection: Collection) -> list[str]:
    generation = collection._context.generation
    return [
        f"crag.{kind}_{generation.collection}_{generation.epoch}" for kind in ("rows", "documents")
    ]


def on_disk(postgres: Postgres, table: str) -> list[bytes]:
    found = postgres.sql(f"SELECT uuid_send(id) FROM {table} ORDER BY ctid")  # noqa: S608
    return [bytes(identity) for (identity,) in found]


@pytest.mark.parametrize("mode", ["database", "enclave"])
def test_the_place_of_a_row_on_disk_follows_from_its_id_alone(
    postgres: Postgres, store: PostgresStore, owner_key: MasterKey, mode: str
) -> None:
    collection = new_collection(store, owner_key, search_mode=mode)
    collection.put_documents([draft(collection, f"{n}.txt", chunks=5) for n in range(30)])
    reading = [identity for document in collection.documents() for identity, _ in document.members]
    rows, documents = (on_disk(postgres, table) for table in tables(collection))
    assert rows == sorted(reading) != reading
    assert documents == sorted(documents)
    rotate(store, collection.name, owner_key)
    turned = Collection.open(store, collection.name, owner_key)
    after = on_disk(postgres, tables(turned)[0])
    assert after == sorted(after)
    assert len(after) == len(rows)
    assert not set(after) & set(rows)


def test_no_ciphertext_is_tried_to_be_compressed_in_any_epoch(
    postgres: Postgres, store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    rotate(store, collection.name, owner_key)
    for table in tables(Collection.open(store, collection.name, owner_key)):
        found = postgres.sql(
            "SELECT attname, attstorage FROM pg_attribute WHERE attrelid = %s::regclass"
            " AND attname IN ('emb', 'ct')",
            table,
        )
        wanted = {"emb": "p", "ct": "e"} if "rows" in table else {"ct": "e"}
        assert {name: _text(storage) for name, storage in found} == wanted


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
