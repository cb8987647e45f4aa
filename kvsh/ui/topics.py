"""The pages of HELP that explain no command: the keys of the prompt, and the words of other systems."""

from kvsh.grammar.foreign import TABLE
from kvsh.render.help import wrap

KEYS = """\
Tab             complete commands, options, files, and keys of the daemon
Right, Ctrl-E   accept the suggested line
Up, Down        earlier lines with the same beginning
Ctrl-R          search the history
Enter           run the line; within an open quote, add a line to the value
Ctrl-C          clear the line, or stop waiting for a running command
Ctrl-D          leave (on an empty line)
F1              help on the command being typed, else this page
Ctrl-X Ctrl-E   edit the line in your editor (with --vi: Esc, then v)
Ctrl-A, Ctrl-E  move to the beginning, the end of the line
Alt-B, Alt-F    move a word back, a word forward
Ctrl-W, Ctrl-U  delete the word, the line before the cursor
Ctrl-K, Ctrl-Y  delete the text after the cursor; insert the deleted text
Ctrl-L          clear the screen
Ctrl-Z          suspend kvsh

5 INCR x        run a command five times
EVERY 2 GET x   run a command every two seconds, until Ctrl-C
GET x | jq .    send the result to a program
GET x > file    write it to a file; >> appends
"""
TITLES = {"redis": "Redis", "etcd": "etcd", "others": "other shells"}
INDENT = 4


def words() -> str:
    """Return the table of foreign words and their replacements."""
    parts = []
    for source, table in TABLE.items():
        parts.append(f"\nwords of {TITLES[source]}\n")
        parts += [wrap(f"  {', '.join(names.split())}: {ours}", INDENT) + "\n" for names, ours in table.items()]
    return "".join(parts).lstrip("\n")


def topic(name: str) -> str | None:
    """Return the page of a topic in any case, or None."""
    match name.upper():
        case "KEYS":
            return KEYS
        case "WORDS":
            return words()
    return None
