"""A refusal names the command that was typed, also where the shell sends another one for it."""

import pytest
from support.doors import AccessFiles
from support.running import Daemon

from kvd.commands.base import Error
from kvd.errors import NoReply
from kvsh.ui.outcome import as_typed, typed_as


@pytest.fixture(scope="module")
def options_of(tmp_path_factory):
    """Return the options of a client that may read the keys of ada, and no others."""
    directory = tmp_path_factory.mktemp("doors")
    doors = AccessFiles(directory)
    doors.write(ada={"role": "read", "prefixes": ["ada:"]}, bob={"role": "write", "prefixes": ["bob:"]})
    daemon = Daemon(directory, *doors.options)
    daemon.keys = doors.keys("ada")
    doors.make("bob")
    daemon.start()
    yield lambda name: [
        *("--url", daemon.commands, "--key", str(directory / f"{name}.key_secret")),
        *("--server-key", str(directory / "daemon.key")),
    ]
    daemon.stop()


@pytest.mark.parametrize(
    ("name", "script", "message"),
    [
        ("ada", b"PING\nSET ada:b 1\n", "and SET needs write"),
        ("ada", b"SET ada:a 1\nSET ada:b 1\n", "and SET needs write"),
        ("ada", b"SET ada:a 1\nSET ada:b 1\nPING\n", "and SET needs write"),
        ("bob", b"SET c 1\nPING\n", "bob may not SET 'c'"),
        ("bob", b"SET bob:c 1\nSET c 1\nPING\n", "bob may not SET 'c'"),
        ("ada", b"MULTISET ada:a 1\n", "and MULTISET needs write"),
        ("ada", b"BEGIN\nSET ada:a 1\nCOMMIT\n", "and COMMIT needs write"),
        ("bob", b"BEGIN\nSET c 1\nCOMMIT\n", "bob may not SET 'c'"),
    ],
)
def test_a_script_is_told_of_the_words_of_its_lines(kvsh, options_of, name, script, message):
    code, _, messages = kvsh(*options_of(name), stdin=script)
    assert code == 4
    assert message in messages
    if b"MULTISET" not in script:
        assert "MULTISET" not in messages


def test_a_watch_is_called_a_watch(kvsh, options_of):
    code, _, messages = kvsh(*options_of("bob"), "watch", "ada:")
    assert code == 4
    assert "bob may not WATCH 'ada:'" in messages
    assert "may not CHANGES 'ada:'" in kvsh(*options_of("bob"), "changes", "0", "ada:")[2]


def test_the_prompt_names_the_words_too(terminal, options_of):
    shell = terminal(*options_of("ada"))
    for line, prompt, message in [
        ("begin", "0>", "(tx:0)>"),
        ("set ada:a 1", "(tx:0)>", "(tx:1)>"),
        ("commit", "(tx:1)>", "and COMMIT needs write"),
        ("watch b", "0>", "ada may not WATCH 'b'"),
    ]:
        shell.until(lambda lines, prompt=prompt: lines and lines[-1].endswith(prompt))
        shell.type(f"{line}\r")
        shell.shows(message)


def test_only_the_name_is_replaced():
    error = Error("DENIED", "x may not MULTISET 'MULTISET: ': only keys that begin with 'a'", {})
    assert as_typed(error, "MULTISET", "SET").message == "x may not SET 'MULTISET: ': only keys that begin with 'a'"
    assert as_typed(Error("FULL", "MULTISETS", {}), "MULTISET", "SET").message == "MULTISETS"
    with pytest.raises(NoReply, match=r"^COMMIT: no reply \(e\)$"), typed_as("COMMIT", "TRANSACTION"):
        raise NoReply("TRANSACTION: no reply", where=" (e)")
