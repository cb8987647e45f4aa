"""Lines to commands and back: what a line means, the sentences about mistakes, and that printing undoes parsing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.kvsh_cases import commands_of

from kvd.commands import COMMANDS
from kvd.commands.atomic import Once
from kvd.commands.changes import Changes
from kvd.commands.expiry import Expire, GetEx
from kvd.commands.keys import Scan
from kvd.commands.values import Clear, Get, Incr, MultiSet, Set, TakeFirst
from kvsh.grammar.parse import command_of, line_of, parse
from kvsh.grammar.shell import SHELL_WORDS, Begin, Every, Format, Quit, Watch
from kvsh.grammar.vocabulary import Mistake, vocabulary

MULTISET = "MULTISET key value... [EX seconds | PX ms | AT unix-ms]"
SCAN = "SCAN [prefix] [AFTER key] [LIMIT n] [VALUES | SIZES] [FROM key] [TO key] [REVERSE]"
SET = "SET key value [EX seconds | PX ms | AT unix-ms | KEEPTTL] [NX | XX | REVISION n] [PREVIOUS]"
TYPED = [cls for name, cls in COMMANDS.items() if name.encode() in vocabulary() and name != "ONCE"]


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"get city", Get(b"city")),
        (b"  GeT  city  ", Get(b"city")),
        (b'set "a b" ""', Set(b"a b", b"")),
        (b"set k v ex .5", Set(b"k", b"v", ttl=500)),
        (b"set k v EX 1.5 nx previous", Set(b"k", b"v", ttl=1500, nx=True, previous=True)),
        (b"set k v px 20 REVISION 0", Set(b"k", b"v", ttl=20, revision=0)),
        (b"set k v at 1763700000000", Set(b"k", b"v", at=1763700000000)),
        (b"set ex nx", Set(b"ex", b"nx")),
        (b"set k -1", Set(b"k", b"-1")),
        (b"incr k -5", Incr(b"k", -5)),
        (b"clear a b c", Clear([b"a", b"b", b"c"])),
        (b"clear a revision 7", Clear([b"a"], 7)),
        (b'clear a "revision" "7"', Clear([b"a", b"revision", b"7"])),
        (b"clear revision revision 7", Clear([b"revision"], 7)),
        (b"multiset a 1 b 2", MultiSet([(b"a", b"1"), (b"b", b"2")])),
        (b"multiset a 1 b 2 ex 5", MultiSet([(b"a", b"1"), (b"b", b"2")], 5000)),
        (b"multiset ex px at 9", MultiSet([(b"ex", b"px")], at=9)),
        (b'multiset a 1 "ex" 5', MultiSet([(b"a", b"1"), (b"ex", b"5")])),
        (b"scan from a to b reverse", Scan(start=b"a", stop=b"b", reverse=True)),
        (b"takefirst job: wait 100", TakeFirst(b"job:", 100)),
        (b"getex k ex 1.5", GetEx(b"k", 1500)),
        (b"getex k persist", GetEx(b"k", persist=True)),
        (b"scan", Scan()),
        (b"scan limit 3", Scan(limit=3)),
        (b"scan 'limit' limit 3", Scan(b"limit", limit=3)),
        (b"scan limit 3 user: values", Scan(b"user:", limit=3, values=True)),
        (b"scan user: after limit", Scan(b"user:", after=b"limit")),
        (b"changes 41 WAIT 1000", Changes(41, wait_ms=1000)),
        (b"expire k 1.5", Expire(b"k", 1500)),
        (b"once 12345678 set k v ex 1", Once(b"12345678", Set(b"k", b"v", ttl=1000))),
        (b"begin if a 1 since 2", Begin([(b"a", b"1"), (b"since", b"2")])),
        (b"watch a b since 3", Watch([b"a", b"b"], 3)),
        (b"watch 'since' since 3", Watch([b"since"], 3)),
        (b"watch", Watch()),
        (b"watch since 0", Watch(None, 0)),
        (b"format json", Format(json=True)),
        (b"quit", Quit()),
    ],
)
def test_a_line_is_the_command_it_says(line, command):
    assert parse(line) == command


@pytest.mark.parametrize(
    ("line", "message", "position"),
    [
        (b"", "there is no command: HELP lists them", 0),
        (b" gte k", 'there is no command "gte": did you mean GETEX or GET?', 1),
        (b"1000000 INCR x", 'there is no command "1000000": a count repeats a command at the prompt only', 0),
        (b"frobnicate k", 'there is no command "frobnicate": HELP lists them', 0),
        (b"\x1b[2Jx", r'there is no command "\x1b[2Jx": HELP lists them', 0),
        (b"x" * 50, f'there is no command "{"x" * 40}...": HELP lists them', 0),
        (b"transaction a b", 'there is no command "transaction": HELP lists them', 0),
        (b"get", "GET needs the key; the syntax is GET key", 3),
        (b"get a b", 'GET has no place for "b"; the syntax is GET key', 6),
        (b"get 'a", "this quote is not closed: 'a", 4),
        (b"set k", f"SET needs the value; the syntax is {SET}", 5),
        (b"set k v ex", f"SET needs the seconds after EX; the syntax is {SET}", 10),
        (b"set k v ex soon", f'SET: EX is a number, not "soon"; the syntax is {SET}', 11),
        (b"set k v px 1.5", f'SET: PX is an integer, not "1.5"; the syntax is {SET}', 11),
        (b"set k v ex 1 px 2", f"SET: EX and PX exclude each other; the syntax is {SET}", 13),
        (b"set k v nx NX", f"SET: NX is given twice; the syntax is {SET}", 11),
        (b"set k v nxx", f'SET has no place for "nxx": did you mean XX or NX? The syntax is {SET}', 8),
        (b"set k v 'nx'", f'SET has no place for "nx": did you mean NX? The syntax is {SET}', 8),
        (b"set k v ex 0", f"SET: EX has to be at least 0.001; the syntax is {SET}", 0),
        (b"set '' v", f"SET: a key cannot be empty; the syntax is {SET}", 0),
        (b"get " + b"k" * 4097, "GET: key has to be at most 4096 bytes; the syntax is GET key", 0),
        (
            b"clear" + b" k" * 10001,
            "CLEAR: key has to be at most 10000 items; the syntax is CLEAR key... [REVISION n]",
            0,
        ),
        (b"multiset a 1 b", f"MULTISET needs the value of the last pair; the syntax is {MULTISET}", 14),
        (
            b"scan limit 0",
            f"SCAN: LIMIT has to be at least 1; the syntax is {SCAN}",
            0,
        ),
        (b"expire k x", 'EXPIRE: seconds is a number, not "x"; the syntax is EXPIRE key seconds [REVISION n]', 9),
        (b"expire k 0", "EXPIRE: seconds has to be at least 0.001; the syntax is EXPIRE key seconds [REVISION n]", 0),
        (b"once 12345678", "ONCE needs the command; the syntax is ONCE token command", 13),
        (b"once 12345678 get k", "ONCE cannot run GET; the syntax is ONCE token command", 0),
        (b"once 12345678 get", "GET needs the key; the syntax is GET key", 17),
        (b"once 12345678 gte k", 'there is no command "gte": did you mean GETEX or GET?', 14),
        (b"begin if a", "BEGIN needs the revision after IF; the syntax is BEGIN [IF key revision...]", 10),
        (b"begin if", "BEGIN needs the key after IF; the syntax is BEGIN [IF key revision...]", 8),
    ],
)
def test_a_mistake_is_a_sentence_with_the_syntax_and_the_place(line, message, position):
    with pytest.raises(Mistake) as caught:
        parse(line)
    assert (str(caught.value), caught.value.position) == (message, position)


@given(commands_of(TYPED + [cls for cls in SHELL_WORDS if cls not in (Begin, Every)]))
def test_a_command_printed_is_parsed_to_the_same_command(command):
    assert parse(line_of(command).encode(errors="surrogateescape")) == command


@given(st.binary(min_size=8, max_size=64), commands_of([Set, Clear, MultiSet]))
def test_so_is_a_command_within_another(token, command):
    once = Once(token, command)
    assert parse(line_of(once).encode(errors="surrogateescape")) == once
    every = Every(1500, command)
    assert parse(line_of(every).encode(errors="surrogateescape")) == every


def test_printing_quotes_what_would_be_read_as_a_keyword():
    assert line_of(Scan(b"limit", limit=3, values=True)) == 'SCAN "limit" LIMIT 3 VALUES'
    assert line_of(Set(b"k", b"v", ttl=1500, keep_ttl=False)) == "SET k v PX 1500"
    assert line_of(Expire(b"k", 1500)) == "EXPIRE k 1.5"


@pytest.mark.parametrize("name", [name for name in vocabulary() if name != b"TRANSACTION"])
def test_every_example_of_every_command_is_a_line(name):
    for example in vocabulary()[name].syntax.examples:
        assert isinstance(parse(example.encode()), vocabulary()[name].command)


def test_no_words_are_no_command():
    with pytest.raises(Mistake):
        command_of([])


@given(
    st.lists(
        st.sampled_from([b"set", b"scan", b"once", b"begin", b"watch", b"k", b"1", b"EX", b"limit", b"if", b"'a b'"])
    )
)
def test_any_words_are_a_command_or_a_mistake(words):
    try:
        command = parse(b" ".join(words))
    except Mistake:
        return
    assert parse(line_of(command).encode()) == command
