"""`kvd check`, `kvd backup`, `kvd restore`: work on a data directory, beside a daemon or without one."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import click

from kvd.cli.exits import IO_ERROR, fail, report_errors
from kvd.errors import InUse
from kvd.storage import Damage, at_rest, back_up, check, report_if_whole, restore, salvage

DIRECTORY = click.Path(path_type=Path, file_okay=False, exists=True)
FILE = click.Path(path_type=Path, dir_okay=False)
DAMAGED = IO_ERROR


@contextmanager
def _work_offline() -> Iterator[None]:
    """Exit with a message and the exit code of an error. New files are readable by their owner alone."""
    os.umask(0o077)
    with report_errors():
        yield


@click.command("check")
@click.argument("directory", type=DIRECTORY)
@click.option("--repair", is_flag=True, help="Keep the intact data, move the files aside. Stop the daemon first.")
def check_command(directory: Path, *, repair: bool) -> None:
    """Read everything in a data directory and report damage.

    The directory may be in use. Nothing is changed, unless --repair is given and something is damaged: then new files
    are made of the intact data, the old files are moved into a folder beside them, and the losses are listed. Exit code
    74: something is damaged.

    Example: kvd check /var/lib/kvd
    """
    with _work_offline():
        if repair and (whole := report_if_whole(directory, _check_interrupted)) is not None:
            click.echo(f"nothing to repair: {whole.entries:,} entries and {whole.changes:,} changes are whole")
            return
        if repair:
            _repair_directory(directory)
        with _in_any_state(directory):
            report = check(directory, _check_interrupted)
    for damage in report.damages:
        click.echo(_line_of(damage))
    click.echo(f"{report.entries:,} entries and {report.changes:,} changes are whole, {len(report.damages)} damages")
    if report.damages:
        fail(DAMAGED, f"to keep the intact data, stop the daemon and: kvd check --repair {directory}")


def _repair_directory(directory: Path) -> None:
    """Make new files of the intact data, and list the losses."""
    repair = salvage(directory, time.strftime("damaged-%Y%m%dT%H%M%S"))
    for loss in repair.losses:
        click.echo(loss)
    click.echo(
        f"repaired: {repair.entries:,} entries, up to revision {repair.revision}; the history is new, so watchers have "
        f"to read everything again, and the ONCE tokens are forgotten. The old files: {repair.aside}"
    )


def _line_of(damage: Damage) -> str:
    place = "" if damage.key is None else f" key {damage.key!r}:"
    return f"{damage.file}:{place} {damage.message}"


@click.command("backup")
@click.argument("directory", type=DIRECTORY)
@click.argument("destination", type=FILE)
def backup_command(directory: Path, destination: Path) -> None:
    """Copy a data directory, in use or not, into one new file.

    The file has all entries, as of one commit.

    Example: kvd backup /var/lib/kvd /backup/monday.kvd
    """
    with _work_offline(), _in_any_state(directory):
        backup = back_up(directory, destination, _check_interrupted)
    click.echo(f"{destination}: {backup.entries:,} entries as of revision {backup.revision}, {backup.bytes:,} bytes")


@click.command("restore")
@click.argument("source", type=FILE)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
def restore_command(source: Path, directory: Path) -> None:
    """Make a data directory from a backup. It must not exist, or be empty.

    The restored store has a new history: clients that watched the old one have to read everything again.

    Example: kvd restore /backup/monday.kvd /var/lib/kvd
    """
    with _work_offline():
        restored = restore(source, directory)
    click.echo(f"{directory}: {restored.entries:,} entries as of revision {restored.revision}")


@contextmanager
def _in_any_state(directory: Path) -> Iterator[None]:
    """Lock a directory that no daemon serves; one that a daemon serves may be read beside it."""
    with ExitStack() as stack:
        with suppress(InUse):
            for note in stack.enter_context(at_rest(directory)):
                click.echo(f"kvd: {note}", err=True)
        yield


def _check_interrupted() -> None:
    """Do nothing: this process has no other work."""
