"""BEGIN ... COMMIT: collects commands for one TRANSACTION. The daemon keeps no state per connection; the shell does."""

from typing import Protocol

from kvd.commands import Command
from kvd.commands.atomic import PLAIN, Transaction
from kvd.limits import INTEGER_MAX, TRANSACTION_COMMANDS_MAX
from kvsh.grammar.parse import scale_number
from kvsh.grammar.shell import Begin
from kvsh.grammar.vocabulary import Mistake, name_shown


class OpenTransaction:
    """The commands collected since BEGIN."""

    def __init__(self, begin: Begin) -> None:
        self.conditions = [(key, _condition_revision(text)) for key, text in begin.conditions or ()]
        self.commands: list[Command] = []
        self.has_failed = False

    def add(self, command: Command) -> None:
        """Add a command. Raises Mistake when it cannot be part of a transaction."""
        if not isinstance(command, PLAIN):
            raise Mistake(f"{command.command_name()} cannot be part of a transaction: COMMIT or DISCARD first")
        if len(self.commands) == TRANSACTION_COMMANDS_MAX:
            raise Mistake(f"a transaction has at most {TRANSACTION_COMMANDS_MAX} commands: COMMIT or DISCARD")
        self.commands.append(command)

    def mark_failed(self) -> None:
        """Record that a line was wrong, so that COMMIT sends nothing."""
        self.has_failed = True

    def transaction(self) -> Transaction:
        """Return the collected commands as one. Raises Mistake when there are none."""
        if self.has_failed:
            raise Mistake("nothing of this transaction was sent: a line in it was wrong")
        if not self.commands:
            raise Mistake("no commands since BEGIN: type commands, or DISCARD")
        return Transaction(self.conditions, self.commands)  # type: ignore[arg-type]  # `add` accepts only PLAIN


class HasTransaction(Protocol):
    """A prompt or a script, with or without an open transaction."""

    open_transaction: OpenTransaction | None


def refuse_within(owner: HasTransaction, command: Command) -> None:
    """Raise Mistake for a word of the shell that cannot stand between BEGIN and COMMIT."""
    if owner.open_transaction is not None:
        raise Mistake(f"{command.command_name()} within BEGIN: COMMIT or DISCARD first")


def begin(owner: HasTransaction, command: Begin) -> None:
    """Open a transaction. Raises Mistake when one is open."""
    refuse_within(owner, command)
    owner.open_transaction = OpenTransaction(command)


def require(owner: HasTransaction) -> OpenTransaction:
    """Return the open transaction. Raises Mistake when there is none."""
    if owner.open_transaction is None:
        raise Mistake("there is no BEGIN before this")
    return owner.open_transaction


def _condition_revision(text: bytes) -> int:
    """Return the revision of a condition. Raises Mistake."""
    revision = scale_number(text, 1)
    if revision is None or not 0 <= revision <= INTEGER_MAX:
        raise Mistake(f"BEGIN: a revision is a number from 0, not {name_shown(text)}", "BEGIN [IF key revision...]")
    return revision
