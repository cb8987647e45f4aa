"""`kvd keygen`: makes a key pair, and explains where each half goes."""

import os
from pathlib import Path

import click
import zmq
from zmq import auth as zmq_auth

from kvd.access import NAME
from kvd.cli.exits import CANNOT_CREATE, fail

EXISTS = CANNOT_CREATE
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
GIVE_AWAY = "The public key: for everybody who should recognize {name}."
KEEP = "WITH THE SECRET KEY: for {name} alone. Anybody with this file can act as {name}."

TABLE = """\
[{name}]
key = "{public}"
role = "write"              # read, write or admin
# prefixes = ["{name}:"]     # only keys with these prefixes
"""
MADE = "Made {public_file} (to give away) and {secret_file} (secret, readable by you alone)."
TO_A_CLIENT = """\
The table on standard output goes into the daemon's access file; then send the daemon SIGHUP. {name} connects with the
daemon's public certificate:

    kvsh --url tcp://HOST:7411 --key {secret_file} --server-key daemon.key"""
TO_THE_DAEMON = """\
The daemon is started with them like this; a client's table goes into access.toml (kvd keygen NAME >> access.toml):

    kvd serve --data DIRECTORY --key {secret_file} --access access.toml \\
        --listen 'tcp://*:7411' --publish 'tcp://*:7412'"""
DAEMON = "daemon"


@click.command()
@click.argument("name")
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="Where to write the files; the default is the current directory.",
)
@click.option("--daemon", is_flag=True, help="Make the daemon's keys: no table. The name daemon implies this.")
@click.option("--table", is_flag=True, help="Make nothing: print the table of existing keys.")
def keygen(name: str, directory: Path, *, daemon: bool, table: bool) -> None:
    """Make the keys of a client or of the daemon.

    The files are NAME.key and NAME.key_secret. The table that admits a client goes to standard output, for the daemon's
    access file; everything else goes to standard error. Existing files are not overwritten.

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
        fail(EXISTS, f"{error.filename}: {_why_not(error, name)}")
    is_daemons = daemon or name == DAEMON
    text = f"{MADE}\n\n{TO_THE_DAEMON if is_daemons else TO_A_CLIENT}"
    click.echo(text.format(name=name, secret_file=files[0], public_file=files[1]), err=True)
    if not is_daemons:
        click.echo(TABLE.format(name=name, public=public), nl=False)


def _why_not(error: OSError, name: str) -> str | None:
    """Return why a file was not made, and how to print the table of existing keys."""
    if not isinstance(error, FileExistsError):
        return error.strerror
    return f"exists and is not overwritten. To print its table: kvd keygen --table {name} >> access.toml"


def _public_in(path: Path) -> str:
    """Return the public key in a certificate; exit with a message if there is none."""
    try:
        return zmq_auth.load_certificate(path)[0].decode()
    except (OSError, ValueError) as error:
        fail(EXISTS, f"{path}: {getattr(error, 'strerror', None) or error}")


def _write_new(files: list[Path], texts: list[str]) -> None:
    """Write new files, all or none; the first is readable by its owner alone. Raises OSError."""
    written: list[Path] = []
    try:
        for path, text, mode in zip(files, texts, (SECRET_MODE, PUBLIC_MODE), strict=True):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            written.append(path)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink()
        error.filename = error.filename or str(path)
        raise
