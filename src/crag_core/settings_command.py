"""``config show`` and ``completion``, mounted by all three commands."""

from __future__ import annotations

from typing import Any

import click

from crag_core.command import CragOption, command, console, group, session
from crag_core.errors import UsageError

config_group = group(
    "config",
    "Show the effective settings.",
    {"show": ("crag_core.settings_command:show", "Each effective value and where it came from.")},
)


def _walk(root: click.Group, ctx: click.Context) -> dict[str, tuple[CragOption, str]]:
    """Every setting of every command below ``root``: name -> (option, command)."""
    found: dict[str, tuple[CragOption, str]] = {}
    for name in root.list_commands(ctx):
        child = root.get_command(ctx, name)
        if isinstance(child, click.Group):
            found = {**_walk(child, ctx), **found}
        elif child is not None:
            for parameter in child.params:
                if isinstance(parameter, CragOption):
                    found.setdefault(parameter.setting, (parameter, name))
    return found


@command("show")
@click.pass_context
def show(ctx: click.Context) -> None:
    """Print each effective setting and where it came from; secrets are masked."""
    state = session(ctx)
    root = ctx.find_root().command
    if not isinstance(root, click.Group):
        raise UsageError("config show runs below a crag command.")
    rows: list[dict[str, Any]] = []
    for setting, (parameter, _owner) in sorted(_walk(root, ctx).items()):
        state.origins.pop(setting, None)
        value, _source = parameter.consume_value(ctx, {})
        plain = None if type(value).__name__ == "Sentinel" else value
        if callable(plain):
            plain = plain()
        shown = "********" if parameter.secret and plain else plain
        rows.append(
            {
                "setting": setting,
                "value": shown
                if isinstance(shown, (str, int, float, bool, list, type(None)))
                else str(shown),
                "origin": state.origins.get(setting, "default"),
                "variable": parameter.variables(state.role)[0],
            }
        )

    def human() -> None:
        console().table(
            ["setting", "value", "from", "variable"],
            [
                [r["setting"], "" if r["value"] is None else r["value"], r["origin"], r["variable"]]
                for r in rows
            ],
        )

    console().result({"settings": rows}, human)


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL; source it from the shell's start file."""
    from click.shell_completion import get_completion_class

    program = f"crag-{session(ctx).role}"
    variable = f"_{program.upper().replace('-', '_')}_COMPLETE"
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"There is no completion for {shell}.", hint="Use bash, zsh or fish.")
    root = ctx.find_root().command
    console().line(kind(root, {}, program, variable).source())
