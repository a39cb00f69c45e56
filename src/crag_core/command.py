"""The manners that all three commands share: options, settings, errors, exit codes, completion.

A role's ``cli.py`` lists its subcommands by name and import path, so that ``--help`` imports none
of them, and calls :func:`run`. Options are declared with :func:`option`; each has an environment
variable and a key in the configuration files (see :mod:`crag_core.config`).
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

from crag_core.config import SettingsFiles
from crag_core.console import Console
from crag_core.errors import CragError, UsageError

F = TypeVar("F", bound=Callable[..., Any])

INTERRUPTED = 130
# Settings that say who gets keys, documents or questions.
DESTINATIONS = frozenset(
    {"alt_trustee_url", "embedder_url", "proxy", "trustee", "trustee_certificate", "trustee_url"}
)


@dataclass
class Session:
    """What one run of a command knows: its role, its console, its settings files."""

    role: str
    console: Console = field(default_factory=Console)
    config: Path | None = None
    origins: dict[str, str] = field(default_factory=dict)
    _files: SettingsFiles | None = None

    @property
    def files(self) -> SettingsFiles:
        """The configuration files, read on first use."""
        if self._files is None:
            self._files = SettingsFiles.load(self.role, self.config)
        return self._files


def session(ctx: click.Context | None = None) -> Session:
    """The session of the running command."""
    ctx = ctx or click.get_current_context()
    found = ctx.find_root().obj
    if not isinstance(found, Session):
        raise TypeError("run a crag command through crag_core.command.run")
    return found


def console() -> Console:
    """The console of the running command."""
    return session().console


class CragOption(click.Option):
    """An option that is also a setting.

    Args:
        setting: its name in files and, in upper case, in variables; the Python name by default.
        secret: masked by ``config show``.
        literal_secret: a secret given as a literal flag: accepted, but warned about.
    """

    def __init__(
        self,
        *args: Any,
        setting: str | None = None,
        secret: bool = False,
        literal_secret: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.setting = setting or (self.name or "")
        self.secret = secret or literal_secret
        self.literal_secret = literal_secret

    def variables(self, role: str) -> tuple[str, str]:
        """The role's own variable and the one that all roles share."""
        name = self.setting.upper()
        return f"CRAG_{role.upper()}_{name}", f"CRAG_{name}"

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """The first non-empty of the option's variables."""
        if not self.expose_value:
            return super().resolve_envvar_value(ctx)
        for name in self.variables(session(ctx).role):
            value = os.environ.get(name)
            if value:
                session(ctx).origins[self.setting] = f"environment {name}"
                return value
        return super().resolve_envvar_value(ctx)

    def consume_value(
        self, ctx: click.Context, opts: Mapping[str, click.Parameter]
    ) -> tuple[Any, ParameterSource]:
        """Flag, then environment, then configuration files, then default."""
        value, source = super().consume_value(ctx, opts)
        if source is ParameterSource.COMMANDLINE:
            session(ctx).origins[self.setting] = "flag"
            if self.literal_secret:
                session(ctx).console.warn(
                    f"{self.opts[-1]} puts a secret on the command line, where other users of "
                    f"this machine can read it; prefer {self.opts[-1]}-file or the environment."
                )
        elif source not in (ParameterSource.ENVIRONMENT, ParameterSource.PROMPT):
            found = session(ctx).files.lookup(self.setting) if self.expose_value else None
            if found is not None:
                session(ctx).origins[self.setting] = found.origin
                if found.lying_about and self.setting in DESTINATIONS:
                    # Who was handed a folder may not have looked into it.
                    session(ctx).console.note(f"{self.setting} is set by {found.origin}")
                many = self.multiple or self.nargs != 1
                return found.value if many else str(found.value), ParameterSource.DEFAULT_MAP
        return value, source


def option(*names: str, **kwargs: Any) -> Callable[[F], F]:
    """Declare an option of a command; arguments as :func:`click.option` and :class:`CragOption`."""
    kwargs.setdefault("cls", CragOption)
    if "default" in kwargs and kwargs["default"] is not None and not kwargs.get("is_flag"):
        kwargs.setdefault("show_default", True)
    return click.option(*names, **kwargs)


def _set(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
        source = ctx.get_parameter_source(_parameter.name or "")
        if source is ParameterSource.DEFAULT or value is None:
            return
        setattr(session(ctx).console, name, value)

    return callback


def _set_config(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        session(ctx).config = value


def _common(*names: str, **kwargs: Any) -> click.Option:
    variable = f"CRAG_{names[-1].lstrip('-').upper()}"
    return click.Option(names, envvar=variable, is_eager=True, expose_value=False, **kwargs)


def _common_options() -> list[click.Option]:
    return [
        _common("--json", is_flag=True, callback=_set("json"), help="One JSON object on stdout."),
        _common("--events", is_flag=True, callback=_set("events"), help="JSON progress on stderr."),
        _common("-q", "--quiet", is_flag=True, callback=_set("quiet"), help="Say only warnings."),
        _common("-v", "--verbose", count=True, callback=_set("verbose"), help="Say more."),
        _common(
            "--config",
            type=click.Path(path_type=Path),
            callback=_set_config,
            metavar="FILE",
            help="Project configuration file.",
        ),
        _common(
            "--color",
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            callback=_set("color"),
            help="Colour of text.",
        ),
    ]


class CragCommand(click.Command):
    """A leaf command: adds the options that every command has."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_common_options())


def command(name: str | None = None, **kwargs: Any) -> Callable[[Callable[..., Any]], CragCommand]:
    """Declare a leaf command; its docstring is its help."""
    kwargs.setdefault("cls", CragCommand)
    return cast(Callable[[Callable[..., Any]], CragCommand], click.command(name, **kwargs))


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are run.

    Args:
        lazy: name -> (``"module:attribute"``, one-line help).
    """

    def __init__(
        self, *args: Any, lazy: Mapping[str, tuple[str, str]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})
        self.params.extend(_common_options())

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they were declared."""
        return [*self.lazy, *(name for name in self.commands if name not in self.lazy)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand, imported now if it is a lazy one."""
        if cmd_name in self.lazy:
            module, attribute = self.lazy[cmd_name][0].split(":")
            return cast(click.Command, getattr(importlib.import_module(module), attribute))
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of subcommands from their one-line helps, without importing them."""
        rows = []
        for name in self.list_commands(ctx):
            if name in self.lazy:
                rows.append((name, self.lazy[name][1]))
            else:
                found = self.commands[name]
                if not found.hidden:
                    rows.append((name, found.get_short_help_str(limit=80)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def group(
    name: str, help_text: str, lazy: Mapping[str, tuple[str, str]], version: str | None = None
) -> LazyGroup:
    """A group of lazily imported subcommands; the root one has ``--version``."""
    made = LazyGroup(name=name, help=help_text, lazy=lazy, no_args_is_help=True)
    if version is not None:
        click.version_option(version, prog_name=name)(made)
    return made


_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def _terminated(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def run(root: click.Group, role: str, argv: list[str] | None = None) -> int:
    """Run ``root`` for ``role`` and return the exit code of the contract.

    Every :class:`CragError` becomes a sentence on stderr (with ``--json`` an object on stdout).
    An error that is not ours is a defect: its type and place are shown, never its text, which
    might hold what must not be shown.
    """
    state = Session(role)
    state.console.program = f"crag-{role}"
    arguments = sys.argv[1:] if argv is None else argv
    # Set before click parses, so that a usage error is already reported in the form asked for.
    state.console.json = "--json" in arguments
    # Keys pass through every command; a crash must not leave them in a file.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(ValueError):  # only the main thread may set handlers
        signal.signal(signal.SIGTERM, _terminated)
    try:
        done = root.main(args=arguments, prog_name=f"crag-{role}", standalone_mode=False, obj=state)
        # click returns what a command gave to ctx.exit()
        return done if isinstance(done, int) else 0
    except CragError as error:
        return _report(state, error)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.UsageError as error:
        hint = f"See '{error.ctx.command_path} --help'." if error.ctx else "See --help."
        return _report(state, UsageError(error.format_message(), hint=hint))
    except click.ClickException as error:
        return _report(state, CragError(error.format_message()))
    except (KeyboardInterrupt, click.Abort):
        state.console.progress_end()
        interrupted = CragError("Interrupted.", hint="Run the same command again to go on.")
        interrupted.code = "interrupted"
        _report(state, interrupted)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the last line of defence: no text may leak
        return _report(state, _unexpected(error))


def _unexpected(error: Exception) -> CragError:
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        where = f" {error.filename}" if isinstance(error.filename, str) else ""
        return CragError(
            f"A file{where} cannot be written: {os.strerror(error.errno)}.",
            hint="Free space in CRAG_HOME and where the command writes, then run it again.",
            code="disk-full",
        )
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown place"
    return CragError(
        f"Unexpected {type(error).__name__} at {place}.",
        hint="This is a defect of crag; please report that line.",
        code="defect",
    )


def _report(state: Session, error: CragError) -> int:
    state.console.progress_end()
    if state.console.json:
        state.console.result(error.as_json())
    else:
        sys.stderr.write(f"{state.console.program}: {error.diagnostics()}\n")
        if state.console.verbose > 1 and isinstance(error.__cause__, CragError):
            sys.stderr.write(f"  because: {error.__cause__.message}\n")
    return error.exit_code
