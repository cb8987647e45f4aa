"""A command that a watch sends, together with the method that processes its reply."""

from collections.abc import Callable
from typing import NamedTuple

from kvd.commands import Command
from kvd.commands.base import Ok
from kvd.commands.model import Change


class Question(NamedTuple):
    """`on_reply` returns the changes to deliver.

    `connection` numbers the connection to the changes socket that the reply is about: after it has been lost, the reply
    is dropped. None: the reply is always processed.
    """

    command: Command
    on_reply: Callable[[Ok], list[Change]]
    connection: int | None = None
