"""The words only the shell knows. They are declared as the daemon's commands are, so that everything else derives.

Nothing here is ever sent: the rooms above match on the class and act.
"""

import sys
from typing import Annotated

from msgspec import Meta

from kvd.commands.base import Ask, commands_in
from kvd.commands.fields import Key, Option, Prefix, Revision, Value

CommandName = Annotated[str, Meta(title="command")]
History = Annotated[str, Meta(min_length=1, max_length=64, title="history")]
FileName = Annotated[bytes, Meta(min_length=1, title="file")]


class ShellWord(Ask):
    """A word that the shell acts on by itself."""


class Begin(ShellWord, tag="BEGIN"):
    """Gather the commands that follow, for COMMIT to run as one.

    COMMIT sends them as a TRANSACTION, DISCARD drops them. With IF, nothing is done unless each key is
    still at its revision (0: it does not exist).
    """

    examples = ("BEGIN", "BEGIN IF city 7")
    conditions: Annotated[list[tuple[Key, Value]] | None, Option("IF", "key revision...")] = None


class Commit(ShellWord, tag="COMMIT"):
    """Run what was gathered since BEGIN: all of it or nothing."""

    examples = ("COMMIT",)


class Discard(ShellWord, tag="DISCARD"):
    """Drop what was gathered since BEGIN."""

    examples = ("DISCARD",)


class Watch(ShellWord, tag="WATCH"):
    """Show changes as they happen, of all keys or of some prefixes.

    With SINCE, first those after that revision. At the prompt it goes on until UNWATCH; in a pipe until
    interrupted, one JSON document a line. With HISTORY it fails when the daemon has another history: it was
    restored, or it is another store, and the revision means something else there.
    """

    examples = ("WATCH", "WATCH user: order:", "WATCH user: SINCE 41", "WATCH user: SINCE 41 HISTORY 9d01c2a4e6f80b35")
    prefixes: Annotated[list[Prefix], Meta(max_length=100)] | None = None
    since: Annotated[Revision | None, Option("SINCE", "revision")] = None
    history: Annotated[History | None, Option("HISTORY", "history")] = None


class Unwatch(ShellWord, tag="UNWATCH"):
    """Stop showing changes."""

    examples = ("UNWATCH",)


class Help(ShellWord, tag="HELP"):
    """Show all commands, or the syntax, meaning and examples of one."""

    examples = ("HELP", "HELP set")
    command: CommandName | None = None


class Source(ShellWord, tag="SOURCE"):
    """Run the commands in a file, as a script."""

    examples = ("SOURCE setup.kv",)
    file: FileName


class Format(ShellWord, tag="FORMAT"):
    """Choose how results are shown; alone it tells how they are.

    TERMINAL is for reading, RAW for the bytes as they are, JSON and CSV are for programs.
    """

    examples = ("FORMAT JSON", "FORMAT")
    exclusive = (("terminal", "raw", "json", "csv"),)
    terminal: Annotated[bool | None, Option("TERMINAL")] = None
    raw: Annotated[bool | None, Option("RAW")] = None
    json: Annotated[bool | None, Option("JSON")] = None
    csv: Annotated[bool | None, Option("CSV")] = None


class Timing(ShellWord, tag="TIMING"):
    """Show after each command how long it took.

    OFF shows it only from half a second on.
    """

    examples = ("TIMING ON", "TIMING OFF")
    exclusive = (("on", "off"),)
    on: Annotated[bool | None, Option("ON")] = None
    off: Annotated[bool | None, Option("OFF")] = None


class ClearScreen(ShellWord, tag="CLEAR-SCREEN"):
    """Clear the screen (not the keys: that is CLEARPREFIX)."""

    examples = ("CLEAR-SCREEN",)


class Quit(ShellWord, tag="QUIT"):
    """Leave the shell."""

    examples = ("QUIT",)


class Exit(ShellWord, tag="EXIT"):
    """Leave the shell."""

    examples = ("EXIT",)


SHELL_WORDS = tuple(cls for cls in commands_in([sys.modules[__name__]]) if cls is not ShellWord)
