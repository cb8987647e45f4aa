"""BEGIN ... COMMIT: collects commands for one TRANSACTION. The daemon keeps no state per connection; the shell does."""

from collections.abc import Sequence

from kvd.commands import Command
from kvd.commands.atomic import PLAIN, Transaction
from kvd.limits import INTEGER_MAX, TRANSACTION_COMMANDS_MAX
from kvsh.grammar.parse import scale_number
from kvsh.grammar.shell import Begin
from kvsh.grammar.vocabulary import Mistake, name_shown


class OpenTransaction:
    """The commands collected since BEGIN."""

    def __init__(self, begin: Begin, commands: Sequence[Command] = ()) -> None:
        self.conditions = [(key, _condition_revision(text)) for key, text in begin.conditions or ()]
        self.commands: list[Command] = [*commands]
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


class TransactionState:
    """The open transaction of a prompt, a script or a block, if there is one."""

    def __init__(self, open_transaction: OpenTransaction | None = None) -> None:
        self.open: OpenTransaction | None = open_transaction

    def begin(self, command: Begin) -> None:
        """Open a transaction. Raises Mistake when one is open."""
        self.refuse_within(command)
        self.open = OpenTransaction(command)

    def require(self) -> OpenTransaction:
        """Return the open transaction. Raises Mistake when there is none."""
        if self.open is None:
            raise Mistake("there is no BEGIN before this")
        return self.open

    def close(self) -> OpenTransaction:
        """Close the open transaction, and return it. Raises Mistake when there is none."""
        closed = self.require()
        self.open = None
        return closed

    def reopen(self, transaction: OpenTransaction) -> None:
        """Open a closed transaction again, with its commands."""
        self.open = transaction

    def refuse_within(self, command: Command) -> None:
        """Raise Mistake for a word of the shell that cannot stand between BEGIN and COMMIT."""
        if self.open is not None:
            raise Mistake(f"{command.command_name()} within BEGIN: COMMIT or DISCARD first")

    def label(self) -> str:
        """Return the part of a prompt about an open transaction, such as `(tx:3)`."""
        return "" if self.open is None else f"(tx:{len(self.open.commands)})"


def _condition_revision(text: bytes) -> int:
    """Return the revision of a condition. Raises Mistake."""
    revision = scale_number(text, 1)
    if revision is None or not 0 <= revision <= INTEGER_MAX:
        raise Mistake(f"BEGIN: a revision is a number from 0, not {name_shown(text)}", "BEGIN [IF key revision...]")
    return revision
