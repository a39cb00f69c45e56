"""The database's operator changes the snapshot, the profile or the documents' descriptions."""

# ruff: noqa: S608 - the hostile operator writes SQL by hand

from __future__ import annotations

import json
import uuid

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crag_core.collection import Collection
from crag_core.errors import CragError, IntegrityViolated, NotSupported
from crag_core.keys import MasterKey
from crag_core.snapshot import SIGNED_PREFIX
from crag_core.store.postgres import PostgresStore
from support.database import Postgres, Tables, draft, vector_of


@pytest.fixture
def tables(postgres: Postgres, collection: Collection) -> Tables:
    return Tables.of(postgres, collection)


def body_of(tables: Tables) -> dict[str, object]:
    ((body,),) = tables.sql("SELECT body FROM crag.snapshots WHERE collection_id = {number}")
    found: dict[str, object] = json.loads(body)
    return found


def put_body(tables: Tables, body: dict[str, object], key: Ed25519PrivateKey | None = None) -> None:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    tables.sql("UPDATE crag.snapshots SET body = %s WHERE collection_id = {number}", text)
    if key is not None:
        signature = key.sign(SIGNED_PREFIX + text.encode())
        tables.sql(
            "UPDATE crag.snapshots SET signature = %s WHERE collection_id = {number}", signature
        )


def refuse_everything(collection: Collection) -> None:
    report = collection.verify()
    assert not report.ok
    assert "snapshot" in {each.row for each in report.violations}
    for attempt in (
        collection.snapshot,
        collection.load,
        lambda: collection.search(vector_of("x")),
        lambda: collection.put_documents([draft(collection, "more.txt")]),
    ):
        with pytest.raises(IntegrityViolated):
            attempt()


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("sequence", 99),
        ("rows", 17),
        ("root", "00" * 32),
        ("created", "2020-01-01T00:00:00Z"),
        ("previous", ""),
        ("collection", "another"),
    ],
)
def test_a_changed_body_is_refused(
    collection: Collection, tables: Tables, member: str, value: object
) -> None:
    put_body(tables, {**body_of(tables), member: value})
    refuse_everything(collection)


def test_a_body_signed_by_somebody_else_is_refused(collection: Collection, tables: Tables) -> None:
    put_body(tables, {**body_of(tables), "sequence": 99}, Ed25519PrivateKey.generate())
    refuse_everything(collection)


@pytest.mark.parametrize(
    "change",
    [
        "signature = ''",
        "signature = set_byte(signature, 63, 255 - get_byte(signature, 63))",
        "state = set_byte(state, 5, 255 - get_byte(state, 5))",
        "state = ''",
        "body = ''",
        "body = body || ' '",
        "body = repeat('[', 100000)",
    ],
)
def test_a_damaged_snapshot_is_refused(collection: Collection, tables: Tables, change: str) -> None:
    tables.sql(f"UPDATE crag.snapshots SET {change} WHERE collection_id = {{number}}")
    refuse_everything(collection)


def test_a_deleted_snapshot_is_refused(collection: Collection, tables: Tables) -> None:
    tables.sql("DELETE FROM crag.snapshots WHERE collection_id = {number}")
    refuse_everything(collection)
    assert [(each.kind, each.row) for each in collection.verify().violations] == [
        ("missing", "snapshot")
    ]


@pytest.mark.parametrize(
    ("member", "value", "expected"),
    [
        ("approximation_factor", 0.0, IntegrityViolated),
        ("scaling_factor", 2.0, IntegrityViolated),
        ("dimension", 25, IntegrityViolated),
        ("dimension", "24", IntegrityViolated),
        ("search_mode", "enclave", IntegrityViolated),
        ("epoch", 2, IntegrityViolated),
        ("epoch", -1, IntegrityViolated),
        ("salt", "00" * 32, IntegrityViolated),
        ("salt", "zz", IntegrityViolated),
        ("salt", "", IntegrityViolated),
        ("check_value", "kcv1:" + "0" * 32, IntegrityViolated),
        ("check_value", None, IntegrityViolated),
        ("scheme", "sap-v0", NotSupported),
        ("format", "crag/collection/v0", NotSupported),
        ("extra", 1, IntegrityViolated),
    ],
)
def test_a_changed_profile_is_refused(
    store: PostgresStore,
    collection: Collection,
    owner_key: MasterKey,
    tables: Tables,
    member: str,
    value: object,
    expected: type[CragError],
) -> None:
    ((text,),) = tables.sql("SELECT profile FROM crag.collections WHERE id = {number}")
    changed = {**json.loads(text), member: value}
    tables.sql(
        "UPDATE crag.collections SET profile = %s WHERE id = {number}",
        json.dumps(changed, sort_keys=True, separators=(",", ":")),
    )
    with pytest.raises(expected):
        Collection.open(store, collection.name, owner_key)


@pytest.mark.parametrize("change", ["profile = profile || ' '", "profile = 'null'", "sealed = ''",
                                    "nonce = ''", "sealed = sealed || '\\x00'"])  # fmt: skip
def test_a_damaged_profile_is_refused(
    store: PostgresStore,
    collection: Collection,
    owner_key: MasterKey,
    tables: Tables,
    change: str,
) -> None:
    tables.sql(f"UPDATE crag.collections SET {change} WHERE id = {{number}}")
    with pytest.raises(IntegrityViolated, match="profile"):
        Collection.open(store, collection.name, owner_key)


def test_a_renamed_collection_is_refused(
    store: PostgresStore, collection: Collection, owner_key: MasterKey, tables: Tables
) -> None:
    name = f"renamed-{uuid.uuid4().hex}"
    tables.sql("UPDATE crag.collections SET name = %s WHERE id = {number}", name)
    with pytest.raises(IntegrityViolated):
        Collection.open(store, name, owner_key)


@pytest.mark.parametrize(
    "change",
    [
        "ct = set_byte(ct, 9, 255 - get_byte(ct, 9))",
        "nonce = set_byte(nonce, 9, 255 - get_byte(nonce, 9))",
        "version = 2",
        "epoch = 7",
        "ct = ''",
    ],
)
def test_a_changed_description_is_named(
    collection: Collection, tables: Tables, change: str
) -> None:
    found = collection.find("doc-3.txt")
    assert found is not None
    tables.sql(f"UPDATE {{documents}} SET {change} WHERE id = '{found.id}'")
    assert [(each.kind, each.row) for each in collection.verify().violations] == [
        ("tampered", found.id)
    ]
    for attempt in (
        collection.load,
        lambda: collection.find("doc-3.txt"),
        lambda: list(collection.documents()),
        lambda: collection.put_documents([draft(collection, "doc-3.txt", version="2")]),
        lambda: collection.remove_documents([found.key]),
    ):
        with pytest.raises(IntegrityViolated, match=found.id):
            attempt()


def test_a_description_under_another_id_is_named_by_the_id_that_it_had(
    collection: Collection, tables: Tables
) -> None:
    found = collection.find("doc-3.txt")
    assert found is not None
    tables.sql(f"UPDATE {{documents}} SET id = '{uuid.uuid4()}' WHERE id = '{found.id}'")
    assert [(each.kind, each.row) for each in collection.verify().violations] == [
        ("tampered", found.id)
    ]


def test_an_invented_description_is_named(collection: Collection, tables: Tables) -> None:
    copy, nonsense = str(uuid.uuid4()), str(uuid.uuid4())
    source = "FROM {documents} LIMIT 1"
    tables.sql(f"INSERT INTO {{documents}} SELECT '{copy}', 1, 1, nonce, ct {source}")
    tables.sql(f"INSERT INTO {{documents}} SELECT '{nonsense}', 1, 1, nonce, '\\x00' {source}")
    found = {(each.kind, each.row) for each in collection.verify().violations}
    assert found == {("added", copy), ("tampered", nonsense)}
