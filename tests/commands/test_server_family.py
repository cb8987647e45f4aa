"""PING, INFO, COMMANDS: what they ask of the daemon."""

import pytest

from kvd.commands.server import Commands, Info, Ping


class Daemon:
    def info(self, section):
        return {"info": {"of": section}}

    def commands(self, name):
        return [{"name": name}]


@pytest.mark.parametrize(
    ("command", "result"),
    [
        (Ping(), b"PONG"),
        (Ping(b""), b""),
        (Ping(b"hello"), b"hello"),
        (Info(), {"info": {"of": None}}),
        (Info("store"), {"info": {"of": "store"}}),
        (Commands(), [{"name": None}]),
        (Commands("get"), [{"name": "get"}]),
    ],
)
def test_a_command_asks_the_daemon(command, result):
    assert command.run(Daemon(), 0) == result
