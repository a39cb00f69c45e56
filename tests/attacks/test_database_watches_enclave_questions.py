"""The operator records everything that questions send to the database, and learns none from it."""

from __future__ import annotations

from typing import Any

import pytest

from crag_core.collection import Collection
from crag_core.keys import MasterKey
from crag_core.store.connection import BoundedConnection
from crag_core.store.postgres import PostgresStore
from support.database import draft, new_collection, vector_of

Seen = list[tuple[str, str]]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Every statement with its parameters, as it is about to be sent."""
    seen: Seen = []
    original = BoundedConnection.execute

    def recorded(self: Any, query: Any, params: Any = None, **more: Any) -> Any:
        if isinstance(query, bytes):
            text = query.decode()
        else:
            text = query if isinstance(query, str) else query.as_string(None)
        seen.append((text, repr(params)))
        return original(self, query, params, **more)

    monkeypatch.setattr(BoundedConnection, "execute", recorded)
    return seen


def asked(reader: Any, wire: Seen, question: str, **given: Any) -> tuple[Seen, list[str]]:
    wire.clear()
    hits = reader.search(vector_of(question), **given)
    return list(wire), [hit.text for hit in hits]


def filled(store: PostgresStore, key: MasterKey, mode: str) -> Collection:
    made = new_collection(store, key, search_mode=mode)
    made.put_documents([draft(made, "a.txt", labels={"team": "law"}), draft(made, "b.txt")])
    return made


@pytest.mark.parametrize("loaded", [True, False])
def test_all_questions_look_the_same_on_the_wire(
    store: PostgresStore, owner_key: MasterKey, wire: Seen, loaded: bool
) -> None:
    made = filled(store, owner_key, "enclave")
    reader = made.load() if loaded else made
    reader.search(vector_of("the first question reads the collection"))
    one, first = asked(reader, wire, "passage 0 of a.txt in version 1", k=1)
    two, second = asked(reader, wire, "passage 2 of b.txt in version 1", k=1)
    three, third = asked(reader, wire, "anything", k=9, filter={"team": "law"})
    assert (first, second) == (
        ["passage 0 of a.txt in version 1"],
        ["passage 2 of b.txt in version 1"],
    )
    assert len(third) == 3
    assert one == two == three
    assert one
    assert not [text for text, _ in one if "rows_" in text or "documents_" in text]


def test_in_mode_database_the_operator_would_tell_them_apart(
    store: PostgresStore, owner_key: MasterKey, wire: Seen
) -> None:
    """The recording itself works."""
    made = filled(store, owner_key, "database")
    one, _ = asked(made, wire, "passage 0 of a.txt in version 1")
    two, _ = asked(made, wire, "passage 2 of b.txt in version 1")
    assert one != two
    assert [text for text, _ in one if "rows_" in text]
