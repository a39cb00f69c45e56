"""``crag-owner key import``: a key from elsewhere, or one that follows from a passphrase."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from crag_core.command import command, console, option
from crag_core.config import private_dir, read_secret_file, write_private
from crag_core.errors import BadInput, UsageError
from crag_core.keys import MasterKey
from crag_owner import keyfile
from crag_owner.key_derivation import SHORT, Recipe, recipe_path

_PATH = click.Path(path_type=Path)


@command("import")
@click.argument("file", required=False, metavar="[FILE]")
@option(
    "--passphrase",
    is_flag=True,
    setting="key_passphrase_prompt",
    help="Ask for a passphrase and make the key from it.",
)
@option(
    "--passphrase-file",
    metavar="FILE",
    setting="key_passphrase_file",
    help="File with the passphrase; - is stdin.",
)
@option(
    "--record",
    type=_PATH,
    metavar="FILE",
    setting="key_record",
    help="Make a passphrase's key again with the parameters in this file.",
)
@option(
    "--out",
    type=_PATH,
    metavar="FILE",
    setting="key_out",
    help="File to make. [default: keys/master.key in the state folder]",
)
def import_key(
    file: str | None,
    passphrase: bool,
    passphrase_file: str | None,
    record: Path | None,
    out: Path | None,
) -> None:
    """Take the key in FILE (- is stdin), or make one from a passphrase by Argon2id.

    A file of exactly 32 bytes is the key itself; of any other, one trailing newline is left out.
    Salt and parameters of a passphrase's key are kept beside it, so that it can be made again.
    """
    asked = passphrase or passphrase_file is not None
    if asked == (file is not None) or (record is not None and not asked):
        raise UsageError(
            "One source of the key is needed.",
            hint="Name a FILE, or give --passphrase or --passphrase-file (with --record to make a "
            "key again).",
        )
    path = out or keyfile.default_path()
    recipe = None
    if file is not None:
        key = _from_file(file)
    else:
        recipe = _recipe(record)
        key = recipe.derive(_passphrase(passphrase_file, confirm=record is None))
        recipe = replace(recipe, check_value=key.check_value())
    beside = _keep(path, key, recipe)
    if key.weak:
        console().warn(
            "this key can be guessed by trying; make a random one with `crag-owner key new`, or "
            "use --passphrase, which makes trying slow."
        )
    check = key.check_value()
    result = {
        "path": str(path),
        "check_value": check,
        "bytes": len(key.raw),
        "weak": key.weak,
        "record": None if beside is None else str(beside),
    }
    console().result(
        result,
        f"{path}\ncheck value {check}"
        + (f"\nsalt and parameters are in {beside}; keep a copy" if beside else ""),
    )


def _from_file(name: str) -> MasterKey:
    try:
        raw = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise BadInput(
            f"The key file {name} cannot be read: {error.strerror}.",
            hint="Check the path and its permissions.",
        ) from None
    if len(raw) == keyfile.KEY_BYTES:
        return MasterKey.from_bytes(raw)
    return keyfile.decode(raw.removesuffix(b"\n").removesuffix(b"\r"), name)


def _recipe(record: Path | None) -> Recipe:
    if record is None:
        return Recipe.fresh()
    try:
        return Recipe.from_bytes(record.read_bytes(), str(record))
    except OSError as error:
        raise BadInput(f"The record {record} cannot be read: {error.strerror}.") from None


def _passphrase(file: str | None, *, confirm: bool) -> str:
    if file is None:
        text = str(
            click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
        )
    else:
        try:
            text = read_secret_file(file, "passphrase").decode("utf-8")
        except UnicodeDecodeError:
            raise BadInput(f"The passphrase in {file} is not UTF-8.") from None
    if len(text) < SHORT:
        console().warn(
            f"a passphrase of {len(text)} characters can be guessed, even slowly; six random words "
            "are a good one."
        )
    return text


def _keep(path: Path, key: MasterKey, recipe: Recipe | None) -> Path | None:
    """Write the key's file and the record beside it; where the record lies."""
    beside = None if recipe is None else recipe_path(path)
    # The record first: a key without it could not be made again.
    if beside is not None and recipe is not None:
        if path.exists():
            raise keyfile.taken(path)
        private_dir(path.parent)
        write_private(beside, recipe.to_bytes())
    keyfile.store(path, key)
    return beside
