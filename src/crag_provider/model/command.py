"""``crag-provider model encrypt`` and ``model digest``."""

from __future__ import annotations

from pathlib import Path

import click

from crag_core.command import command, console, option

PATH = click.Path(path_type=Path)


@command("encrypt")
@click.argument("source", type=PATH)
@click.argument("target", type=PATH)
@option(
    "--key-file",
    type=PATH,
    setting="model_key_file",
    metavar="FILE",
    help="Where the new key goes, mode 0600; by default keys/model-NAME.key in crag's folder.",
)
def encrypt(source: Path, target: Path, key_file: Path | None) -> None:
    """Encrypt the model SOURCE (a file or folder) into the new gocryptfs volume TARGET.

    The key is made here and written to one file; push it to your Trustee with 'key push'.
    """
    from crag_core.config import home, write_private
    from crag_core.errors import BadInput
    from crag_provider.model.encryption import encrypt as run
    from crag_provider.model.encryption import new_password

    where = key_file or home() / "keys" / f"model-{target.name}.key"
    if where.exists():
        raise BadInput(
            f"The key file {where} exists already.",
            hint="Name another one with --key-file; a key belongs to one volume.",
        )
    console().note(f"encrypting {source}")
    with new_password() as password:
        write_private(where, bytes(password.buffer) + b"\n")
        try:
            made = run(source, target, password)
        except BaseException:
            where.unlink(missing_ok=True)
            raise
    digest = volume_digest(target)
    console().result(
        {
            "volume": str(target),
            "key_file": str(where),
            "digest": digest,
            "files": made.files,
            "bytes": made.size,
            "tool": made.tool,
        },
        f"volume {target}\nkey    {where}\ndigest {digest}",
    )


@command("digest")
@click.argument("directory", type=PATH)
def digest(directory: Path) -> None:
    """Print the digest that a service using the volume DIRECTORY is measured with."""
    found = volume_digest(directory)
    console().result({"volume": str(directory), "digest": found}, found)


def volume_digest(directory: Path) -> str:
    """SHA-256 (hex) of the canonical manifest of the volume's encrypted files."""
    from crag_core.attestation.measurement import Event, model

    return Event("model", model(directory)).digest.hex()
