"""The words that fit a place of kvsh's command line: names, options, live keys of the daemon, or any file.

The rules of place are the prompt's (`kvsh/grammar/completion.py`). Nothing here depends on the shell.
"""

import os
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from kvd.client.stream import Stream
from kvd.commands import Command
from kvd.commands.keys import Scan
from kvd.errors import KvdError
from kvsh.cli.options import TRAILING, as_words, config_path, settings_of
from kvsh.cli.trailing_options import is_command, lacks_word, split_options
from kvsh.grammar.completion import NAMED, Place, argument_place, command_place
from kvsh.grammar.key_prefixes import common_prefixes, longest_common_prefix
from kvsh.grammar.shell import SHELL_WORDS, Help, Watch
from kvsh.grammar.vocabulary import info_of, lookup
from kvsh.grammar.walk import Walk
from kvsh.words import Word

KEYS_OFFERED = 100
# Time for an answer from the start of the process. Loading takes 60 ms of it; with its end a completion takes 100 ms.
ANSWERED_S = 0.08
WAIT_S_MIN, WAIT_S_MAX = 0.01, 0.03  # a daemon on this machine answers in 1 to 4 ms
PATHS = {"FILE": "file", "DIR": "dir"}
NOT_ALONE = frozenset(info_of(each).syntax.name for each in SHELL_WORDS if each not in (Help, Watch))

Item = CompletionItem[str]


def command_items(context: click.Context, args: Sequence[str], incomplete: str) -> list[Item]:
    """Return what fits after the words of a command. Raises Mistake where they are wrong."""
    words = context.params["words"] or ()
    is_marked = args[len(args) - len(words) - 1 :][:1] == ["--"]
    before, typed = as_words(words), Word(os.fsencode(incomplete))
    place = argument_place(before, typed) if before else command_place(typed)
    choices = [CompletionItem(choice.word, "word", help=choice.about) for choice in place.choices]
    if not before:
        return [item for item in choices if item.value.upper() not in NOT_ALONE]
    if place.kind == "file":
        return [CompletionItem(incomplete, "file")]
    options = [] if is_marked else _option_candidates(context, words, incomplete)
    stemmed, keys = _live_items(context, place)
    offered = [key for key in keys if key not in place.taken and _is_value(key, place, words, is_marked=is_marked)]
    return [*choices, *options, *_key_items(stemmed, offered)]


def _key_items(stemmed: Sequence[bytes], keys: Sequence[bytes]) -> list[Item]:
    """Return prefixes of keys, and keys, as items."""
    kinds = [(stem, "stem") for stem in stemmed] + [(key, "key") for key in keys]
    return [CompletionItem(os.fsdecode(value), kind) for value, kind in kinds]


def _live_items(context: click.Context, place: Place) -> tuple[list[bytes], list[bytes]]:
    """Return the common prefixes of the keys that fit if the place is a prefix's, and the keys."""
    if place.kind not in ("key", "prefix", *NAMED):
        return [], []
    try:
        if place.kind in NAMED:
            return [], _live_names(context, NAMED[place.kind], place.typed.value)
        keys = _live_keys(context, place.typed.value)
    except (KvdError, ValueError, OSError, click.UsageError):  # no answer, no endpoint, no certificate, only one of two
        return [], []
    return common_prefixes(keys, len(place.typed.value)) if place.kind == "prefix" else [], keys


def _is_value(key: bytes, place: Place, words: Sequence[str], *, is_marked: bool) -> bool:
    """Return whether a key is read as an argument at a place; it may also be the name of an option."""
    text = os.fsdecode(key)
    if not is_marked and text in {"-x", *TRAILING} and split_options((*words, text), {})[0] == words:
        return False
    if key.upper() not in place.reserved:
        return True
    before = as_words(words)
    return Walk(lookup(before[0].value)).take_all(before[1:]).innermost.needs_word()


def _option_candidates(context: click.Context, words: Sequence[str], incomplete: str) -> list[Item]:
    """Return the options that may follow the words, where no argument fits."""
    names = [name for name in TRAILING if is_command(words) and not is_command([*words, name])]
    if lacks_word(words):
        names.append("-x")
    fitting = [name for name in names if incomplete.startswith("-") and name.startswith(incomplete)]
    return [CompletionItem(name, "word", help=_option_named(context, name).help) for name in fitting]


def _option_named(context: click.Context, name: str) -> click.Option:
    return next(each for each in context.command.params if isinstance(each, click.Option) and name in each.opts)


def option_with_value(context: click.Context, name: str) -> click.Option | None:
    """Return the option of a name if it takes a value."""
    options = [each for each in context.command.params if isinstance(each, click.Option) and not each.is_flag]
    return next((option for option in options if name in option.opts), None)


def option_items(context: click.Context, option: click.Option, incomplete: str) -> list[Item]:
    """Return what fits as an option's value. Raises UsageError when the configuration file is wrong."""
    if option.metavar in PATHS:
        return [CompletionItem(incomplete, PATHS[option.metavar])]
    if option.name == "profile":
        path = config_path()
        profiles = import_module("kvsh.cli.profile").read(path).profiles
        return [CompletionItem(name) for name in profiles if name.startswith(incomplete)]
    if option.name == "scan":
        return _key_items(*_live_items(context, Place(Word(os.fsencode(incomplete)), kind="prefix")))
    return option.shell_complete(context, incomplete)


def _live_keys(context: click.Context, prefix: bytes) -> list[bytes]:
    """Return the first keys that begin with a prefix. Raises KvdError when the daemon does not answer in time.

    If there are more, later keys are added until the common prefix of the result is that of all keys: a shell inserts
    it.
    """
    connection = _connection_of(context)
    if connection is None:
        return []
    wait = wait_s()
    until = time.monotonic() + wait
    with Stream(timeout=wait, **connection) as stream:
        keys: list[bytes]
        keys, after = stream.answer(Scan(prefix, limit=KEYS_OFFERED)).result
        while after is not None and len(common := longest_common_prefix(keys)) > len(prefix):
            stream.timeout = max(0.0, until - time.monotonic())
            later, _ = stream.answer(Scan(prefix, after=common + b"\xff", limit=1)).result
            if not later or later[0].startswith(common):
                break
            keys += later
    return keys


def _live_names(context: click.Context, command: Command, start: bytes) -> list[bytes]:
    """Return the names with a prefix in a command's map. Raises KvdError as `_live_keys` does."""
    connection = _connection_of(context)
    if connection is None:
        return []
    with Stream(timeout=wait_s(), **connection) as stream:
        names: dict[str, Any] = stream.answer(command).result
    return [name.encode() for name in names if name.startswith(os.fsdecode(start))]


def wait_s() -> float:
    """Return how long to wait for the daemon."""
    return min(max(WAIT_S_MIN, ANSWERED_S - _process_age_s()), WAIT_S_MAX)


def _process_age_s() -> float:
    """Return the age of this process, to 10 ms; 0 where the system does not report it."""
    try:
        with open("/proc/self/stat", "rb") as file:  # noqa: PTH123
            began = int(file.read().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began
    except (OSError, AttributeError):
        return 0.0


def _connection_of(context: click.Context) -> dict[str, Any] | None:
    """Return the endpoint and keys of the command line; None if they are wrong."""
    if _is_misconfigured(context):
        return None
    settings = settings_of(context, context.params)
    directory = context.params["local"]
    if directory is None:
        return {"endpoint": settings.url, "keys": settings.keys}
    return {"endpoint": f"ipc://{os.path.realpath(directory)}/kvd.sock"}  # without a daemon, the connection fails


def _is_misconfigured(context: click.Context) -> bool:
    """Return whether the profile or its file is wrong. click ignores that during completion."""
    if context.params["profile"] is not None:
        return False
    if context.get_parameter_source("profile") is not ParameterSource.DEFAULT:
        return True
    path = config_path()
    try:
        if os.path.lexists(path):
            import_module("kvsh.cli.profile").load(context, path, None)
    except click.UsageError:
        return True
    return False
