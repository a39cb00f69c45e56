"""Parsing in child processes that can reach nothing.

client.py    starts the fork server, hands it one file at a time, enforces the clock
zygote.py    the fork server: a fresh program that has never seen a key; forks one child a file
worker.py    one child: lock itself in, read the bytes, parse, answer
jail.py      what a child gives up, and in which order
seccomp.py   the filter of system calls; syscalls.py has the numbers
result.py    the answer's form, and its check by the parent, which trusts no child
"""

from __future__ import annotations

from crag_owner.parsing.sandbox.client import ParsingSandbox
from crag_owner.parsing.sandbox.limits import SandboxLimits

__all__ = ["ParsingSandbox", "SandboxLimits"]
