"""`kvd keygen`: makes a key pair, and says where each half of it goes."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import click
import zmq
from zmq import auth as zmq_auth

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

TABLE = """\
[{name}]
key = "{public}"
role = "write"              # read, write or admin
# prefixes = ["{name}:"]     # only keys that begin so
"""
MADE = "Made {public_file} (to give away) and {secret_file} (secret, readable by you alone)."
TO_A_CLIENT = """\
The table on standard output goes into the daemon's access file; then send the daemon SIGHUP. {name} types, with the
daemon's public certificate:

    kvsh --url tcp://HOST:7411 --key {secret_file} --server-key daemon.key"""
TO_THE_DAEMON = """\
The daemon uses them so, and a client's table goes into access.toml (kvd keygen NAME >> access.toml):

    kvd serve --data DIRECTORY --key {secret_file} --access access.toml \\
        --listen 'tcp://*:7411' --publish 'tcp://*:7412'"""
DAEMON = "daemon"


@click.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Where to write the files; here if left out.",
)
@click.option("--daemon", is_flag=True, help="They are the daemon's: no table. The name daemon means so, too.")
@click.option("--table", is_flag=True, help="Make nothing: print the table of keys that are there.")
def keygen(name: str, directory: Path, *, daemon: bool, table: bool) -> None:
    """Make the keys of a client or of the daemon.

    They are NAME.key and NAME.key_secret. The table that lets a client in goes to standard output, for the daemon's
    access file; all else goes to standard error. Files that are there are not overwritten.

    Example: kvd keygen ada >> access.toml
    """
    if not NAME.fullmatch(name):
        raise click.BadParameter("1 to 64 letters, digits, - and _", param_hint="NAME")
    files = [directory / f"{name}.key_secret", directory / f"{name}.key"]
    if table:
        click.echo(TABLE.format(name=name, public=_public_in(files[1])), nl=False)
        return
    public, secret = (key.decode() for key in zmq.curve_keypair())
    texts = [
        CERTIFICATE.format(name=name, public=public, about=KEEP.format(name=name)) + SECRET_LINE.format(secret=secret),
        CERTIFICATE.format(name=name, public=public, about=GIVE_AWAY.format(name=name)),
    ]
    try:
        _write_new(files, texts)
    except OSError as error:
        end(f"{error.filename}: {_why_not(error, name)}")
    is_daemons = daemon or name == DAEMON
    told = f"{MADE}\n\n{TO_THE_DAEMON if is_daemons else TO_A_CLIENT}"
    click.echo(told.format(name=name, secret_file=files[0], public_file=files[1]), err=True)
    if not is_daemons:
        click.echo(TABLE.format(name=name, public=public), nl=False)


def _why_not(error: OSError, name: str) -> str | None:
    """Return why a file was not made, and how to get the table of keys that are there."""
    if not isinstance(error, FileExistsError):
        return error.strerror
    return f"is there already, and is not overwritten. Its table again: kvd keygen --table {name} >> access.toml"


def _public_in(path: Path) -> str:
    """Return the public key in a certificate; ends with a sentence when there is none."""
    try:
        return zmq_auth.load_certificate(path)[0].decode()
    except (OSError, ValueError) as error:
        end(f"{path}: {getattr(error, 'strerror', None) or error}")


def end(why: str) -> NoReturn:
    """End without the keys that were asked for."""
    click.echo(f"kvd: {why}", err=True)
    sys.exit(EXISTS)


def _write_new(files: list[Path], texts: list[str]) -> None:
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
