"""What HELP says."""

from kvsh.grammar import shell
from kvsh.grammar.vocabulary import lookup, vocabulary
from kvsh.render.help import help_on, help_page


def help_text(command: shell.Help) -> str:
    """Return what HELP says; raises Mistake."""
    if command.command is None:
        return help_page(known.syntax for known in vocabulary().values())
    return help_on(lookup(command.command.encode()).syntax)
