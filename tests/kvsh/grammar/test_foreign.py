"""The words of Redis, etcd and other shells: each leads to something that exists here."""

import re

import pytest

from kvsh.grammar.foreign import OPTIONS, TABLE, option_for, ours_for, words
from kvsh.grammar.parse import parse
from kvsh.grammar.vocabulary import Mistake, usage_lines, vocabulary
from kvsh.render.help import COLUMNS
from kvsh.ui.topics import topic

# Capitals in the texts that are no commands: options, and what the shell is started with.
NO_COMMANDS = {"IF", "NX", "XX", "EX", "PX", "AT", "REVISION", "PREVIOUS", "SINCE", "VALUES", "FROM", "LIMIT", "WAIT"}
NO_COMMANDS |= {"NAME", "DIR", "FILE", "INCR", "PRETTY", "ON"}


def test_no_word_is_ours_and_each_stands_once():
    every = [word for table in TABLE.values() for names in table for word in names.split()]
    assert len(every) == len(set(every))
    assert every == [word.upper() for word in every]
    assert not set(words()) & {name.decode() for name in vocabulary()}


def test_what_is_advised_exists():
    for ours in (*words().values(), *OPTIONS.values()):
        capitals = set(re.findall(r"(?<![\w-])[A-Z][A-Z-]+(?![\w-])", ours))
        assert {name.encode() for name in capitals - NO_COMMANDS} <= set(usage_lines()), ours


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        (b"del a", 'there is no command "del": use CLEAR key...'),
        (b"Keys *", 'there is no command "Keys": use SCAN prefix (a page, in order), or `kvsh --scan=prefix` (all)'),
        (b"auth x", 'there is no command "auth": use --key FILE and --server-key FILE, when kvsh starts'),
        (b"?", 'there is no command "?": use HELP'),
        (rb"\q", r'there is no command "\\q": use QUIT'),
        (b"set k v get", 'SET has no place for "get": use PREVIOUS; the syntax is SET key value'),
        (b"get k --prefix", 'GET has no place for "--prefix": use SCAN prefix VALUES, COUNT prefix'),
        (b"once 12345678 mget a", 'there is no command "mget": use MULTIGET key...'),
    ],
)
def test_a_foreign_word_is_answered_with_ours(line, advice):
    with pytest.raises(Mistake) as mistake:
        parse(line)
    assert str(mistake.value).startswith(advice)


@pytest.mark.parametrize(
    "name",
    [
        "del",
        "delete",
        "keys",
        "dbsize",
        "flushall",
        "put",
        "subscribe",
        "monitor",
        "mget",
        "decr",
        "txn",
        "rename",
        "auth",
    ],
)
def test_the_words_that_users_typed(name):
    assert ours_for(name.encode())


def test_what_is_nobodys_word_is_none():
    assert ours_for(b"bogus") is ours_for(b"\xff") is option_for(b"bogus") is None


@pytest.mark.parametrize("name", ["keys", "WORDS"])
def test_the_pages_fit(name):
    assert all(len(line) <= COLUMNS for line in topic(name).splitlines())


def test_help_words_has_the_whole_table():
    page = topic("words")
    assert all(word in page for word in words())
