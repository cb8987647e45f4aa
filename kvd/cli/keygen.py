"""`kvd keygen`: makes a key pair, and says where each half of it goes."""

import os
import sys
from pathlib import Path

import click
import zmq

from kvd.access import NAME

EXISTS = 73  # EX_CANTCREAT of sysexits.h
PUBLIC_MODE, SECRET_MODE = 0o644, 0o600

# The form that `zmq.auth.load_certificate` reads (https://rfc.zeromq.org/spec/4/).
CERTIFICATE = """\
#   A CURVE certificate of {name}, made by kvd keygen.
#   {about}

metadata
    name = "{name}"
curve
    public-key = "{public}"
"""
SECRET_LINE = '    secret-key = "{secret}"\n'  # noqa: S105  # a form
GIVE_AWAY = "The public key: give it to whoever should know {name}."
KEEP = "WITH THE SECRET KEY: it is for {name} alone. Whoever has this file is {name}."

TOLD = """\
Made {public_file} (to give away) and {secret_file} (secret, readable by you alone).

If {name} is a client, add this to the daemon's access file, and send the daemon SIGHUP:

    [{name}]
    key = "{public}"
    role = "write"              # read, write or admin
    # prefixes = ["{name}:"]     # only keys that begin so

and let {name} type, with the daemon's public certificate:

    kvsh --url tcp://HOST:7411 --key {secret_file} --server-key daemon.key

If {name} is the daemon:

    kvd serve --data DIRECTORY --key {secret_file} --access access.toml \\
        --listen 'tcp://*:7411' --publish 'tcp://*:7412'
"""


@click.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Where to write the files; here if left out.",
)
def keygen(name: str, directory: Path) -> None:
    """Make the keys of a client, or of the daemon: NAME.key and NAME.key_secret.

    Example: kvd keygen ada
    """
    if not NAME.fullmatch(name):
        raise click.BadParameter("1 to 64 letters, digits, - and _", param_hint="NAME")
    files = [directory / f"{name}.key_secret", directory / f"{name}.key"]
    public, secret = (key.decode() for key in zmq.curve_keypair())
    texts = [
        CERTIFICATE.format(name=name, public=public, about=KEEP.format(name=name)) + SECRET_LINE.format(secret=secret),
        CERTIFICATE.format(name=name, public=public, about=GIVE_AWAY.format(name=name)),
    ]
    try:
        write_new(files, texts)
    except OSError as error:
        why = "is there already, and is not overwritten" if isinstance(error, FileExistsError) else error.strerror
        click.echo(f"kvd: {error.filename}: {why}", err=True)
        sys.exit(EXISTS)
    click.echo(TOLD.format(name=name, public=public, secret_file=files[0], public_file=files[1]))


def write_new(files: list[Path], texts: list[str]) -> None:
    """Write files that are not there yet, all or none, the first one for its owner alone. Raises OSError."""
    made: list[Path] = []
    try:
        for path, text, mode in zip(files, texts, (SECRET_MODE, PUBLIC_MODE), strict=True):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            made.append(path)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        for path in made:
            path.unlink()
        error.filename = error.filename or str(path)
        raise
