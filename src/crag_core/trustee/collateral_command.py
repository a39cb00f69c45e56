"""``trustee collateral export|import``: carry Intel's collateral to a machine without internet."""

from __future__ import annotations

import re
import time
from pathlib import Path

import click

from crag_core.command import command, console, option
from crag_core.config import home, read_secret_file
from crag_core.errors import BadInput
from crag_core.trustee.admin_options import click_path, directory_option, pccs_ca_option

_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)


@command("export")
@option(
    "--quote",
    "quotes",
    multiple=True,
    required=True,
    type=click_path(),
    metavar="FILE",
    help="A quote of a platform that the bundle shall serve; may be repeated.",
)
@option(
    "--pccs",
    setting="trustee_pccs",
    required=True,
    metavar="URL",
    help="The PCCS (or Intel's PCS) to fetch from.",
)
@pccs_ca_option
@option(
    "--key-file",
    setting="trustee_collateral_key_file",
    required=True,
    metavar="FILE",
    help="Ed25519 key (PEM) to sign the bundle with.",
)
@option("--rim", "rims", multiple=True, type=click_path(), metavar="FILE", help="A RIM to add.")
@option("-o", "--out", "out", required=True, type=click_path(), metavar="FILE", help="The bundle.")
def export(
    quotes: tuple[Path, ...],
    pccs: str,
    pccs_ca: Path | None,
    key_file: str,
    rims: tuple[Path, ...],
    out: Path,
) -> None:
    """Fetch the collateral for platforms and sign it, dated, as one file to carry."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from crag_core.attestation.bundle import Bundle, export_bundle
    from crag_core.attestation.pccs import PccsSource, platform_of
    from crag_core.trustee.local.identity import load_admin_key

    key = load_admin_key(read_secret_file(key_file, "bundle's key"), "The bundle's key")
    platforms = sorted({platform_of(_read(path)) for path in quotes})
    source = PccsSource(pccs, ca=pccs_ca)
    entries = [{**source.fetch(*platform), "ca": platform[1]} for platform in platforms]
    texts = tuple(_read(path).decode("utf-8", "replace") for path in rims)
    data = export_bundle(Bundle(int(time.time()), tuple(entries), texts), key)
    try:
        out.write_bytes(data)
    except OSError as error:
        raise BadInput(
            f"The file {out} cannot be written: {error.strerror}.", hint="Name another with -o."
        ) from None
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
    listed = [fmspc for fmspc, _ca, _tee in platforms]
    console().result(
        {"bundle": str(out), "key": public, "platforms": listed, "rims": len(texts)},
        f"wrote {out} for {', '.join(listed)}\nimport it with --trust {public}",
    )


@command("import")
@click.argument("bundle", type=click_path())
@option(
    "--trust",
    "trusted",
    multiple=True,
    metavar="HEX",
    help="The Ed25519 key that signed the bundle; needed once, then it is remembered.",
)
@directory_option
def import_(bundle: Path, trusted: tuple[str, ...], directory: Path | None) -> None:
    """Give a bundle to the local Trustee, once its signature and its date are verified."""
    from crag_core.attestation.bundle import import_bundle
    from crag_core.trustee.local.collateral import BUNDLE, FOLDER, TRUSTED
    from crag_core.trustee.local.folder import Folder

    if not all(_KEY.fullmatch(key) for key in trusted):
        raise BadInput(
            "A key that is named with --trust is not 64 hex digits.",
            hint="'trustee collateral export' prints it.",
        )
    data = _read(bundle)
    folder = Folder(directory or home() / "trustee")
    with folder.writing() as writer:
        known = (folder.read(FOLDER, TRUSTED) or b"").decode("ascii", "replace").split()
        keys = list(dict.fromkeys([*known, *trusted]))
        if not all(_KEY.fullmatch(key) for key in keys):
            raise BadInput(
                f"{folder.path(FOLDER, TRUSTED)} has a line that is not 64 hex digits.",
                hint="Correct it, or remove it and name the keys again with --trust.",
            )
        found = import_bundle(data, [bytes.fromhex(key) for key in keys], int(time.time()))
        writer.write("\n".join(keys).encode(), FOLDER, TRUSTED)
        writer.write(data, FOLDER, BUNDLE)
    console().result(
        {"created": found.created, "platforms": len(found.entries), "rims": len(found.rims)},
        f"{len(found.entries)} platforms, {len(found.rims)} RIMs",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"The file {path} cannot be read: {error.strerror}.", hint="Check the path."
        ) from None
