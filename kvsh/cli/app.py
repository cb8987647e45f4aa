"""The options of kvsh, and the choice between one command, a mode, a script and the prompt."""

import gc
import os
import signal
import sys
from contextlib import ExitStack
from importlib import import_module
from typing import Any

import click

from kvd.client.stream import DEFAULT_ENDPOINT
from kvd.errors import Conflict, KvdError
from kvd.version import VERSION
from kvsh.cli import ways
from kvsh.cli.options import (
    EXEC,
    FORMS,
    NO_ENV,
    TRAILING,
    Seconds,
    config_path,
    name_variable,
    one_daemon,
    settings_of,
)
from kvsh.grammar.vocabulary import Mistake
from kvsh.ui.outcome import BROKEN_IO, CONFLICT, INTERRUPTED, USAGE, Failure, exit_code, failure_document, sentence
from kvsh.ui.output import Output
from kvsh.ui.settings import Settings

CONTEXT = {"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "KVSH", "allow_interspersed_args": False}
EPILOG = """Without COMMAND, commands are read from -f FILE or a pipe, one a line; at a terminal kvsh prompts for them.
`kvsh help` lists the commands. In the environment KVSH_URL, KVSH_PROFILE, KVSH_LOCAL, KVSH_KEY, KVSH_SERVER_KEY,
KVSH_TIMEOUT, KVSH_FORMAT, KVSH_ECHO, KVSH_PROGRESS, KVSH_VI and KVSH_NO_COLOR set the options of these names; most can
also be in $XDG_CONFIG_HOME/kvsh/config.toml. `kvsh -- set k "$v"` stores any value, even -x.

Exit codes: 0 success, 1 get/exists/entry: no such key, 2 usage or parse error, 3 daemon unreachable or outcome
unknown, 4 refused, 5 conflict, 74 the output cannot be written, 130 interrupted, 141 the reader of the output has
exited. A script exits with the code of its first failure."""


def _load_profile(context: click.Context, _: click.Parameter, name: str | None) -> str | None:
    """Make the configuration file the defaults of the other options; return the profile's name."""
    path = config_path()
    if os.path.lexists(path):
        return import_module("kvsh.cli.profile").load(context, path, name)  # type: ignore[no-any-return]  # tomllib costs 4 ms
    if name is not None:
        raise click.UsageError(f"there is no profile {name!r}: {path} does not exist")
    return None


def _complete_word(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Return the completions of the first word of the command."""
    return import_module("kvsh.cli.completion").word(context, parameter, incomplete)  # type: ignore[no-any-return]


def _split_trailing(
    words: tuple[str, ...], options: dict[str, Any]
) -> tuple[tuple[str, ...], dict[str, Any], frozenset[str]]:
    """Split options off the end of the words, where no argument of the command fits; return their names too.

    `-x` there stands for the argument that it reads. After `--` all words belong to the command.
    """
    is_marked = sys.argv[-len(words) - 1 :][:1] == ["--"]
    if not words or is_marked or not (words[-1] in {"-x", *TRAILING} or EXEC in words):
        return words, options, frozenset()
    rest, split = import_module("kvsh.cli.trailing_options").split_options(words, options)
    return rest, split, frozenset(name for name, value in split.items() if value != options[name])


@click.command(context_settings=CONTEXT, epilog=EPILOG)
@click.argument("words", metavar="[COMMAND [ARG]...]", nargs=-1, type=click.UNPROCESSED, shell_complete=_complete_word)
@click.option("--url", default=DEFAULT_ENDPOINT, show_default=True, help="The daemon: tcp://HOST:PORT or ipc://PATH.")
@click.option(
    "--profile",
    metavar="NAME",
    is_eager=True,
    callback=_load_profile,
    help="Use a profile of the configuration file.",
)
@click.option("--local", metavar="DIR", help="Run a daemon on this directory for as long as kvsh runs.")
@click.option("--key", metavar="FILE", help="The client's CURVE certificate, with its secret key.")
@click.option("--server-key", metavar="FILE", help="The daemon's public CURVE certificate.")
@click.option(
    "--timeout",
    type=Seconds(min=0.001),
    default=5.0,
    show_default=True,
    help="How long to wait for a reply.",
)
@click.option("-f", "--file", metavar="FILE", help="Run the commands in a file.", **NO_ENV)
@click.option("--format", "form", envvar="KVSH_FORMAT", type=click.Choice(FORMS), help="The format of results.")
@click.option("--json", "shortcut", flag_value="json", help="One JSON document for each command, errors too.", **NO_ENV)
@click.option("--csv", "shortcut", flag_value="csv", help="RFC 4180 rows.", **NO_ENV)
@click.option("--raw", "shortcut", flag_value="raw", help="Bytes unchanged (the default in a pipe).", **NO_ENV)
@click.option(
    "--terminal",
    "shortcut",
    flag_value="terminal",
    help="For reading (the default at a terminal).",
    **NO_ENV,
)
@click.option(
    "--pretty",
    "shortcut",
    flag_value="pretty",
    help="JSON values indented, binary values as a hex dump.",
    **NO_ENV,
)
@click.option("-0", "--nul", "shortcut", flag_value="nul", help="As --raw, with NUL bytes for newlines.", **NO_ENV)
@click.option("-n", "no_newline", is_flag=True, help="No newline after the result.", **NO_ENV)
@click.option(
    "-q",
    "quiet",
    is_flag=True,
    help="Write no result and no message about a CONFLICT; check the exit code.",
    **NO_ENV,
)
@click.option("-e", "stop_on_error", is_flag=True, help="Run nothing after a line that fails.", **NO_ENV)
@click.option(
    "-x",
    "last_from_stdin",
    is_flag=True,
    help="Read the last argument from standard input; also as the last word.",
    **NO_ENV,
)
@click.option(
    "--exec",
    "hook",
    metavar="COMMAND",
    help="With WATCH: run a shell's command line for each change.",
    **NO_ENV,
)
@click.option("-r", "repeat", type=click.IntRange(min=1), metavar="N", help="Run COMMAND N times.", **NO_ENV)
@click.option(
    "-i",
    "interval",
    type=Seconds(min=0),
    help="The time between runs; with --bench, the time of each measurement.",
    **NO_ENV,
)
@click.option("--echo", is_flag=True, help="Write each command of a script before its result.")
@click.option("--dry-run", is_flag=True, help="Check a command or a script, and send nothing.", **NO_ENV)
@click.option(
    "--progress/--no-progress", default=None, help="Show the progress of a script (default: long files at a terminal)."
)
@click.option(
    "--scan",
    metavar="[PREFIX]",
    is_flag=False,
    flag_value="",
    help="List the keys that begin with PREFIX.",
    **NO_ENV,
)
@click.option("--stat", is_flag=True, help="Show the daemon's activity every second.", **NO_ENV)
@click.option("--latency", is_flag=True, help="Measure round-trip times.", **NO_ENV)
@click.option("--bench", is_flag=True, help="Measure the throughput of the daemon.", **NO_ENV)
@click.option("--bigkeys", is_flag=True, help="Find the largest values and prefixes.", **NO_ENV)
@click.option("--vi", is_flag=True, help="Edit the line with vi keys.")
@click.option(
    "--pager/--no-pager",
    default=True,
    help="Show long results through $PAGER (at a terminal; the default).",
    **NO_ENV,
)
@click.option("--no-color", is_flag=True, help="No colours and no other escape sequences for appearance.")
@click.option(
    "--completion",
    type=click.Choice(["bash", "zsh", "fish"]),
    help="Print the completion script for a shell.",
    **NO_ENV,
)
@click.version_option(VERSION, prog_name="kvsh", **NO_ENV)
@click.pass_context
def command(context: click.Context, /, words: tuple[str, ...], **options: Any) -> int:
    """Talk to kvd, the key-value daemon.

    Examples: kvsh set city Ahmedabad; kvsh get city; kvsh < commands.kv; kvsh --local .data
    """
    _hear_interrupts()
    given = ways.flag_names(context)
    words, options, trailing = _split_trailing(words, options)
    way = ways.choose(words, options)
    ways.check(context, way, given | trailing, options)
    if options["completion"]:
        return int(import_module("kvsh.cli.completion").print_source(options["completion"]))
    options = one_daemon(context, options, given)
    settings = settings_of(context, options)
    output = Output(is_terminal=os.isatty(1) and settings.form in ("raw", "csv", "nul"))
    with ExitStack() as stack:
        try:
            if options["local"] is not None and not settings.dry_run:
                local_daemon = import_module("kvsh.cli.local").local_daemon  # loaded here only: it costs 6 ms
                settings = settings._replace(url=stack.enter_context(local_daemon(options["local"])))
            return enter(way, words, options, settings, output)
        except Conflict as failure:
            return CONFLICT if settings.quiet else _report_failure(failure, settings, output)
        except (Mistake, KvdError) as failure:
            return _report_failure(failure, settings, output)
        except KeyboardInterrupt:  # click would always write a newline, even if no ^C is echoed
            return INTERRUPTED


def enter(way: str, words: tuple[str, ...], options: dict[str, Any], settings: Settings, output: Output) -> int:
    """Run the chosen way, and load only its modules; return the exit code. Raises Mistake, KvdError."""
    if way == ways.COMMAND:
        return int(import_module("kvsh.cli.oneshot").run_words(words, settings, output))
    gc.freeze()
    gc.enable()  # the run may be long
    if way == ways.SCRIPT:
        return int(import_module("kvsh.cli.script").run_script(options["file"], settings, output))
    if way in (ways.PROMPT, ways.PLAIN):
        module = "kvsh.repl.prompt" if way == ways.PROMPT else "kvsh.repl.dumb_terminal"
        return int(import_module(module).run(settings, output))  # asyncio and prompt_toolkit cost 80 ms
    mode = way.removeprefix("--")
    settings = settings._replace(form="terminal") if settings.form == "pretty" else settings
    return int(import_module(f"kvsh.modes.{mode}").run(settings, output, options[mode]))


def _report_failure(failure: Failure, settings: Settings, output: Output) -> int:
    """Report a failure; return its exit code."""
    if settings.form == "json":
        output.data(failure_document(failure, settings.url))
    output.message(f"kvsh: {sentence(failure, settings.url)}")
    return exit_code(failure)


def _hear_interrupts() -> None:
    """Let Ctrl-C raise KeyboardInterrupt from now on. Before this nothing was sent, and it ended kvsh at once."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # set by nohup
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _fill_descriptors() -> None:
    """Ensure that no socket gets the number of a closed standard stream. Raises OSError for the output's."""
    os.fstat(1)
    for fd in (0, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), fd)


def main() -> int:
    """Run kvsh; return the exit code. A closed pipe ends it like any filter (141); Ctrl-C gives 130."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        _fill_descriptors()
        if "_KVSH_COMPLETE" in os.environ:  # click needs the class of the shell before it reads any option
            import_module("kvsh.cli.completion")
        code = int(command.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        if isinstance(error, click.BadParameter):
            name_variable(error)
        error.show()
        code = USAGE
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except OSError as error:
        click.echo(f"kvsh: {error.strerror or error}", err=True)
        code = BROKEN_IO
    except (Mistake, ValueError) as error:
        click.echo(f"kvsh: {error}", err=True)
        code = USAGE
    return code
