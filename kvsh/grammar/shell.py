"""The words of the shell itself, declared like the daemon's commands, so that everything else derives from them.

They are never sent: the packages above act on the class.
"""

import sys
from typing import TYPE_CHECKING, Annotated, ClassVar, Union

from msgspec import Meta

from kvd.commands import COMMANDS, Command
from kvd.commands.base import ServerCommand, commands_in
from kvd.commands.fields import Duration, Key, Prefix, Revision, Value, argument, option

if TYPE_CHECKING:
    AnyCommand = Command
else:
    AnyCommand = Union[tuple(COMMANDS.values())]  # noqa: UP007  # built at run time

CommandName = Annotated[str, Meta(title="command")]
History = Annotated[str, Meta(min_length=1, max_length=64, title="history")]
FileName = Annotated[bytes, Meta(min_length=1, title="file")]


class ShellWord(ServerCommand):
    """A word that the shell itself acts on."""


class Begin(ShellWord, tag="BEGIN"):
    """Collect the commands that follow, for COMMIT to run as one.

    COMMIT sends them as a TRANSACTION, DISCARD drops them. With IF, nothing is done unless each key is still at its
    revision (0: it does not exist).
    """

    examples = ("BEGIN", "BEGIN IF city 7")
    conditions: Annotated[list[tuple[Key, Value]] | None, option("IF", "key revision...")] = None


class Commit(ShellWord, tag="COMMIT"):
    """Run the commands collected since BEGIN: all of them or none."""

    examples = ("COMMIT",)


class Discard(ShellWord, tag="DISCARD"):
    """Drop the commands collected since BEGIN."""

    examples = ("DISCARD",)


class Watch(ShellWord, tag="WATCH"):
    """Show changes as they happen, of all keys or of some prefixes.

    With SINCE, the changes after that revision come first. At the prompt WATCH runs until UNWATCH; in a pipe it runs
    until it is interrupted, and writes one JSON document a line. With HISTORY it fails if the daemon has another
    history: the store was restored or replaced, and the revision means something else there.
    """

    examples = ("WATCH", "WATCH user: order:", "WATCH user: SINCE 41", "WATCH user: SINCE 41 HISTORY 9d01c2a4e6f80b35")
    prefixes: Annotated[list[Prefix], Meta(max_length=100)] | None = None
    since: Annotated[Revision | None, option("SINCE", "revision")] = None
    history: Annotated[History | None, option("HISTORY", "history")] = None


class Unwatch(ShellWord, tag="UNWATCH"):
    """Stop showing changes."""

    examples = ("UNWATCH",)


class Help(ShellWord, tag="HELP"):
    """Show all commands, or the syntax, meaning and examples of one.

    HELP KEYS shows the keys of the prompt. HELP WORDS shows what replaces the words of Redis and etcd.
    """

    examples = ("HELP", "HELP set", "HELP KEYS")
    topics: ClassVar = {"KEYS": "the keys of the prompt", "WORDS": "the words of Redis and etcd"}
    command: CommandName | None = None


class Source(ShellWord, tag="SOURCE"):
    """Run the commands in a file, as a script."""

    examples = ("SOURCE setup.kv",)
    file: FileName


class Format(ShellWord, tag="FORMAT"):
    """Choose the format of results; without an argument show it.

    TERMINAL and PRETTY are for reading; PRETTY indents JSON values and shows binary values as a hex dump. RAW writes
    the bytes unchanged, NUL the same with NUL bytes for newlines. JSON and CSV are for programs.
    """

    examples = ("FORMAT PRETTY", "FORMAT JSON", "FORMAT")
    exclusive = (("terminal", "pretty", "raw", "json", "csv", "nul"),)
    terminal: Annotated[bool | None, option("TERMINAL")] = None
    pretty: Annotated[bool | None, option("PRETTY")] = None
    raw: Annotated[bool | None, option("RAW")] = None
    json: Annotated[bool | None, option("JSON")] = None
    csv: Annotated[bool | None, option("CSV")] = None
    nul: Annotated[bool | None, option("NUL")] = None


class Timing(ShellWord, tag="TIMING"):
    """Show the duration of each command.

    With OFF, only durations of half a second and more are shown.
    """

    examples = ("TIMING ON", "TIMING OFF")
    exclusive = (("on", "off"),)
    on: Annotated[bool | None, option("ON")] = None
    off: Annotated[bool | None, option("OFF")] = None


class ClearScreen(ShellWord, tag="CLEAR-SCREEN"):
    """Clear the screen (not the keys: that is CLEARPREFIX)."""

    examples = ("CLEAR-SCREEN",)


class Every(ShellWord, tag="EVERY"):
    """Repeat a command every given number of seconds, until Ctrl-C.

    A number before it limits the runs: 10 EVERY 2 INFO traffic. It stops when the command fails.
    """

    examples = ("EVERY 2 COUNT user:", "EVERY 0.5 GET visits")
    pause_ms: Annotated[Duration, argument("seconds", 1000)]
    again: Annotated[AnyCommand, argument("command")]


class Quit(ShellWord, tag="QUIT"):
    """Leave the shell."""

    examples = ("QUIT",)


class Exit(ShellWord, tag="EXIT"):
    """Leave the shell."""

    examples = ("EXIT",)


SHELL_WORDS = tuple(cls for cls in commands_in([sys.modules[__name__]]) if cls is not ShellWord)
