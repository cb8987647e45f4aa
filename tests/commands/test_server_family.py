"""PING, INFO, COMMANDS, CHECK, BACKUP: what they ask of the daemon."""

import pytest

from kvd.commands.server import Backup, Check, Commands, Info, Ping


class Daemon:
    def info(self, section):
        return {"info": {"of": section}}

    def commands(self, name):
        return [{"name": name}]

    def check(self):
        return {"entries": 7}

    def back_up(self, name):
        return {"of": name}


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
        (Check(), {"entries": 7}),
        (Backup("monday.kvd"), {"of": "monday.kvd"}),
    ],
)
def test_a_command_asks_the_daemon(command, result):
    assert command.run(Daemon(), 0) == result
