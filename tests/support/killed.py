"""Kill a program with SIGKILL at its n-th word with the database, for every n."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

from crag_core.store.connection import BoundedConnection
from crag_core.store.postgres import PostgresStore
from crag_core.store.settings import DatabaseSettings

KILLED, DONE = "killed", "done"


def killed_at(
    count: int, settings: DatabaseSettings, action: Callable[[PostgresStore], object]
) -> str:
    """Run ``action`` in a process of its own that kills itself before its ``count``-th exchange
    with the database (a statement, a block of a COPY, a commit); ``killed``, or ``done`` where it
    had fewer.
    """
    child = os.fork()
    if child == 0:
        _child(count, settings, action)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return KILLED
    assert os.waitstatus_to_exitcode(status) == 0, "the child failed; see its traceback"
    return DONE


def _child(
    count: int, settings: DatabaseSettings, action: Callable[[PostgresStore], object]
) -> None:
    code = 1
    try:
        with PostgresStore(settings) as store:
            _arm(count)
            action(store)
        code = 0
    except BaseException:  # noqa: BLE001 - whatever it was, the fork must not go on as pytest
        traceback.print_exc()
    finally:
        os._exit(code)


def _arm(count: int) -> None:
    usual = BoundedConnection.wait
    seen = 0

    def wait(self: BoundedConnection, *args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(self, *args, **kwargs)

    BoundedConnection.wait = wait  # type: ignore[method-assign]
