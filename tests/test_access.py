"""The access file: what it says, and what is said of one that says nothing clear."""

import pytest
import zmq

from kvd.access import Access, Client, display_name, is_z85, parse_access
from kvd.commands.base import Command, Read
from kvd.commands.changes import Changes, Compact
from kvd.commands.key_specs import key_spec_of, keys_of, walk_commands
from kvd.commands.keys import Scan
from kvd.commands.server import Info
from kvd.commands.values import Get, Set
from kvd.errors import BadConfiguration, Denied

ADA, BOB, CARL = ("a" * 40, "b" * 40, "c" * 40)


def read_mistakes(text):
    """Return the lines that a file that is wrong gets."""
    with pytest.raises(BadConfiguration) as caught:
        parse_access(text, "access.toml")
    return str(caught.value).splitlines()


def test_a_file_says_who_may_what():
    text = f"""
        [ada]
        key = "{ADA}"
        role = "write"
        prefixes = ["user:", "größe:"]

        ["bob-2"]
        key = "{BOB}"
        role = "admin"
    """
    clients = {ADA: Client("ada", "write", (b"user:", "größe:".encode())), BOB: Client("bob-2", "admin", ())}
    assert parse_access(text, "access.toml") == Access(clients, "access.toml")


def test_all_that_is_wrong_is_said_at_once_each_with_its_place():
    text = f"""[ada]
key = "short"
rolle = "write"

[bob]
key = "{BOB}"
role = "god"
prefixes = []

[carl]
key = "{BOB}"
role = "admin"
prefixes = ["x"]
"""
    assert read_mistakes(text) == [
        "access.toml:1: [ada] has no option rolle: is it role?",
        "access.toml:1: [ada] has an invalid key: a key has 40 characters, as `kvd keygen` prints them",
        "access.toml:1: [ada] needs a role: read, write or admin",
        "access.toml:5: [bob] needs a role: read, write or admin, not 'god'",
        "access.toml:5: [bob] has an empty prefix, or no prefix: leave prefixes out for all keys",
        "access.toml:10: [carl] has prefixes and the role admin, which allows everything: leave one out",
        "access.toml:10: [carl] has the key of [bob]: each client needs its own",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "access.toml: no client in it: add the lines that `kvd keygen NAME` prints"),
        ("[ada\n", "access.toml: Expected"),
        ("ada = 1", "access.toml:1: [ada] is not a table"),
        (f'["a b"]\nkey = "{ADA}"\nrole = "read"', "access.toml:1: [a b] is not a name"),
        (f'["\\u0061 b"]\nkey = "{ADA}"\nrole = "read"', "access.toml: [a b] is not a name"),
        ('[ada]\nrole = "read"', "[ada] needs a key"),
        ('[ada]\nkey = 7\nrole = "read"', "[ada] has an invalid key"),
        (f'[ada]\nkey = "{ADA}"\nrole = ["read"]', "[ada] needs a role: read, write or admin, not ['read']"),
        (f'[ada]\nkey = "{ADA}"\nrole = "read"\nx = 1', "[ada] has no option x: the options are key, role, prefixes"),
        (f'[ada]\nkey = "{ADA}"\nrole = "read"\nprefixes = "user:"', "[ada] has prefixes that are not an array"),
        (f'[ada]\nkey = "{ADA}"\nrole = "read"\nprefixes = [1]', "[ada] has prefixes that are not an array"),
        (f'[ada]\nkey = "{ADA}"\nrole = "read"\nprefixes = [""]', "[ada] has an empty prefix"),
        (f'[ada]\nkey = "{ADA}"\nrole = "read"\nprefixes = ["{"x" * 4097}"]', "a prefix of more than 4096 bytes"),
    ],
)
def test_each_thing_that_can_be_wrong_has_its_sentence(text, sentence):
    [line] = read_mistakes(text)
    assert sentence in line


def test_a_key_is_what_libzmq_makes_and_nothing_else():
    assert all(is_z85(key.decode()) for _ in range(20) for key in zmq.curve_keypair())
    assert not any(is_z85(key) for key in (None, "", "a" * 39, "a" * 41, "ä" * 40, "#" * 40, "a" * 39 + "~"))


ACCESS = Access(
    {
        ADA: Client("ada", "read", (b"user:",)),
        BOB: Client("bob", "write", ()),
        CARL: Client("carl", "admin", ()),
    },
    "access.toml",
)


@pytest.mark.parametrize(
    ("key", "command", "sentence"),
    [
        (ADA, Get(b"user:1"), None),
        (ADA, Get(b"user:"), None),
        (ADA, Info(), None),
        (ADA, Get(b"user"), "ada may not GET 'user': only keys that begin with 'user:' (see [ada] in access.toml)"),
        (ADA, Changes(0), "ada may not CHANGES all keys: only keys that begin with 'user:' (see [ada] in access.toml)"),
        (ADA, Set(b"user:1", b""), "ada has the role read, and SET needs write (see [ada] in access.toml)"),
        (BOB, Compact(1), "bob has the role write, and COMPACT needs admin (see [bob] in access.toml)"),
        (BOB, Set(b"x", b""), None),
        (CARL, Compact(1), None),
        ("z" * 40, Info(), f"the key {'z' * 40} is not (or no longer) in access.toml"),
        ("", Info(), "the key of this client is not (or no longer) in access.toml"),
    ],
)
def test_who_may_what_and_what_is_said_to_who_may_not(key, command, sentence):
    if sentence is None:
        ACCESS.check(key, command)
    else:
        with pytest.raises(Denied) as caught:
            ACCESS.check(key, command)
        assert caught.value.message == sentence


def test_a_long_name_is_not_shown_whole_nor_as_it_would_act_on_a_terminal():
    assert display_name(b"\x1b[2J" + b"x" * 5000) == "'\\x1b[2J" + "x" * 60 + "'..."


def test_a_watch_needs_the_right_to_read_its_prefix():
    asked = [(ADA, b"user:"), (ADA, b"user:1"), (ADA, b"user"), (ADA, b""), (BOB, b""), ("z" * 40, b"user:")]
    assert [ACCESS.may_watch(*pair) for pair in asked] == [True, True, False, False, True, False]


@pytest.mark.parametrize(
    ("after", "takes"),
    [
        ({ADA: Client("eve", "write", (b"user:",)), BOB: Client("bob", "read", ())}, False),
        (
            {ADA: Client("ada", "read", (b"user:",)), BOB: Client("bob", "read", ()), CARL: Client("c", "read", ())},
            False,
        ),
        ({ADA: Client("ada", "read", (b"user:1",)), BOB: Client("bob", "read", ())}, True),
        ({BOB: Client("bob", "read", ())}, True),
    ],
)
def test_rights_to_read_are_taken_or_not(after, takes):
    before = {ADA: Client("ada", "read", (b"user:",)), BOB: Client("bob", "write", ())}
    assert Access(after, "").revokes_any(Access(before, "")) is takes


# Declarations of a new command


class Random(Read, tag="RANDOM"):
    """Names no key, and looks at all of them."""


class Raw(Read, tag="RAW"):
    """Has bytes of which nobody says what they are."""

    data: bytes


class Mapped(Read, tag="MAPPED"):
    """Has a type that nobody has thought of."""

    data: dict[str, bytes]


def test_a_command_that_names_no_key_is_not_for_who_has_prefixes():
    with pytest.raises(Denied, match="ada may not RANDOM without a key"):
        ACCESS.check(ADA, Random())
    ACCESS.check(BOB, Random())


@pytest.mark.parametrize("command", [Raw, Mapped])
def test_a_field_whose_type_does_not_tell_whether_it_names_keys_is_a_defect(command):
    with pytest.raises(TypeError, match="does not know whether this type names keys"):
        key_spec_of(command)


def test_a_command_of_no_known_kind_needs_admin():
    assert Command.role == "admin"


def test_an_optional_key_that_is_not_given_is_not_named():
    assert list(keys_of(Scan())) == [b""]
    assert list(keys_of(Scan(b"a", b"b"))) == [b"a", b"b"]
    assert [type(each) for each in walk_commands(Scan())] == [Scan]
