"""Notice that a collection was rotated to a new epoch, and go on in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from crag_core.collection.context import Context
from crag_core.collection.fetching import recorded
from crag_core.collection.profile import Profile, open_with_keys
from crag_core.errors import IntegrityViolated, Unreachable
from crag_core.store.interface import Reader, Store

T = TypeVar("T")


@dataclass(frozen=True)
class Successor:
    """The collection in its new epoch."""

    context: Context
    private: dict[str, Any]


def successor(context: Context, reader: Reader) -> Successor | None:
    """The collection in the epoch that the database is in, or None where it is no later one.

    The new context remembers the newest snapshot of the old one, because sequences go on from
    epoch to epoch: a rollback is noticed across a rotation.

    Raises:
        IntegrityViolated: it was rotated to another master key, or its profile was changed.
    """
    stored = reader.collection(context.name)
    if stored is None or stored.id != context.identity:
        return None
    profile = Profile.parse(context.name, stored.profile)
    if profile.epoch <= context.profile.epoch:
        return None
    keys = context.keys.with_salt(bytes.fromhex(profile.salt))
    if not keys.matches(profile.check_value):
        raise IntegrityViolated(
            f"The collection {context.name} is in epoch {profile.epoch} now, and the master key "
            "of before does not open it.",
            hint="If the owner rotated it to a new master key, start again with that key; the "
            "Trustee has it after `crag-owner key push`. If not, the profile was changed in the "
            "database.",
            code="wrong-key",
            details={"collection": context.name, "epoch": profile.epoch},
        )
    private = open_with_keys(stored, keys)
    made = Context(
        context.identity, context.name, profile, keys, context.seen, fetch=recorded(private)
    )
    return Successor(made, private)


def moved(context: Context, store: Store) -> Successor | None:
    """As :func:`successor`, in a view of its own."""
    with store.reader() as reader:
        return successor(context, reader)


def refuse_while_rotating(context: Context, reader: Reader) -> None:
    """Refuse to change a collection whose rows are on the way to a new epoch.

    Raises:
        Unreachable: a rotation was begun and has not switched yet.
    """
    record = reader.rotation(context.identity)
    if record is not None and record.profile != context.profile.text():
        raise Unreachable(
            f"The collection {context.name} is being rotated to a new epoch; nothing can be added "
            "or removed until that is done.",
            hint="Try again afterwards. If that rotation was interrupted, `crag-owner rotate` goes "
            "on with it, and `crag-owner rotate --abort` gives it up.",
            code="rotating",
        )


def retried(action: Callable[[], T], follow: Callable[[], bool]) -> T:
    """What ``action`` returns; once more where it failed because the epoch changed meanwhile.

    Args:
        follow: goes on to the new epoch; False where there is none.
    """
    try:
        return action()
    except IntegrityViolated:
        if not follow():
            raise
        return action()
