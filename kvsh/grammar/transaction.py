"""BEGIN ... COMMIT: commands gathered to one TRANSACTION. The daemon keeps no state of a connection; the shell does."""

from typing import Protocol

from kvd.commands import Command
from kvd.commands.atomic import PLAIN, Transaction
from kvd.limits import INTEGER_MAX, TRANSACTION_COMMANDS_MAX
from kvsh.grammar.parse import scale_number
from kvsh.grammar.shell import Begin
from kvsh.grammar.vocabulary import Mistake, name_shown


class OpenTransaction:
    """A transaction in the making."""

    def __init__(self, begin: Begin) -> None:
        self.conditions = [(key, _condition_revision(text)) for key, text in begin.conditions or ()]
        self.commands: list[Command] = []
        self.has_failed = False

    def add(self, command: Command) -> None:
        """Gather a command; raises Mistake when it cannot be part of a transaction."""
        if not isinstance(command, PLAIN):
            raise Mistake(f"{command.command_name()} cannot be part of a transaction: COMMIT or DISCARD first")
        if len(self.commands) == TRANSACTION_COMMANDS_MAX:
            raise Mistake(f"a transaction has at most {TRANSACTION_COMMANDS_MAX} commands: COMMIT or DISCARD")
        self.commands.append(command)

    def mark_failed(self) -> None:
        """Note that a line was wrong: a script does not send the rest of such a transaction."""
        self.has_failed = True

    def transaction(self) -> Transaction:
        """Return what was gathered as one command; raises Mistake when it is nothing."""
        if self.has_failed:
            raise Mistake("nothing of this transaction was sent: a line in it was wrong")
        if not self.commands:
            raise Mistake("nothing was gathered since BEGIN: type commands, or DISCARD")
        return Transaction(self.conditions, self.commands)  # type: ignore[arg-type]  # `add` let only PLAIN in


class HasTransaction(Protocol):
    """Whoever may be gathering: the prompt, or a script."""

    open_transaction: OpenTransaction | None


def refuse_within(gatherer: HasTransaction, command: Command) -> None:
    """Raise Mistake for a word of the shell that cannot stand between BEGIN and COMMIT."""
    if gatherer.open_transaction is not None:
        raise Mistake(f"{command.command_name()} within BEGIN: COMMIT or DISCARD first")


def begin(gatherer: HasTransaction, command: Begin) -> None:
    """Begin to gather; raises Mistake when that was begun before."""
    refuse_within(gatherer, command)
    gatherer.open_transaction = OpenTransaction(command)


def require(gatherer: HasTransaction) -> OpenTransaction:
    """Return what is being gathered; raises Mistake when nothing is."""
    if gatherer.open_transaction is None:
        raise Mistake("there is no BEGIN before this")
    return gatherer.open_transaction


def _condition_revision(text: bytes) -> int:
    """Return the revision of a condition; raises Mistake."""
    revision = scale_number(text, 1)
    if revision is None or not 0 <= revision <= INTEGER_MAX:
        raise Mistake(f"BEGIN: a revision is a number from 0, not {name_shown(text)}", "BEGIN [IF key revision...]")
    return revision
