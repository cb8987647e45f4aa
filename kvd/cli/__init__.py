"""The command `kvd`: a file for each of its commands."""

import click

from kvd.cli.directory import backup_command, check_command, restore_command
from kvd.cli.gateway import gateway
from kvd.cli.keygen import keygen
from kvd.cli.metrics import metrics
from kvd.cli.serve import serve
from kvd.cli.transfer import export_command, import_command
from kvd.version import VERSION


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="kvd")
def main() -> None:
    """Run kvd, a key-value daemon."""


COMMANDS = (
    serve,
    check_command,
    backup_command,
    restore_command,
    keygen,
    export_command,
    import_command,
    metrics,
    gateway,
)
for command in COMMANDS:
    main.add_command(command)
