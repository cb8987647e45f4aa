"""The pages of HELP that explain no command: the keys of the prompt, and the words of others."""

from kvsh.grammar.foreign import TABLE
from kvsh.render.help import wrap

KEYS = """\
Tab             complete commands, options, files, and keys of the daemon
Right, Ctrl-E   take the line that is suggested
Up, Down        earlier lines that begin as this one does
Ctrl-R          search the history
Enter           run the line; within an open quote, add a line to the value
Ctrl-C          clear the line, or return from a command that runs
Ctrl-D          leave (on an empty line)
F1              help on the command being typed, else this page
Ctrl-X Ctrl-E   edit the line in your editor (with --vi: Esc, then v)
Ctrl-A, Ctrl-E  go to the beginning, the end of the line
Alt-B, Alt-F    go a word back, a word forward
Ctrl-W, Ctrl-U  delete the word, the line before the cursor
Ctrl-K, Ctrl-Y  delete what follows the cursor; put back what was deleted
Ctrl-L          clear the screen
Ctrl-Z          suspend kvsh

5 INCR x        run a command five times
EVERY 2 GET x   run it each two seconds, until Ctrl-C
GET x | jq .    give the result to a program
GET x > file    write it to a file; >> appends
"""
TITLES = {"redis": "Redis", "etcd": "etcd", "others": "other shells"}
INDENT = 4


def words() -> str:
    """Return the table of the words of others."""
    parts = []
    for source, table in TABLE.items():
        parts.append(f"\nof {TITLES[source]}\n")
        parts += [wrap(f"  {', '.join(names.split())}: {ours}", INDENT) + "\n" for names, ours in table.items()]
    return "".join(parts).lstrip("\n")


def topic(name: str) -> str | None:
    """Return the page of a topic in any case; None when it is none."""
    match name.upper():
        case "KEYS":
            return KEYS
        case "WORDS":
            return words()
    return None
