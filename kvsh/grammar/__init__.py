"""Lines to commands and back, hints and completions: everything derives from the command classes.

    shell.py         the words of the shell itself, declared like the daemon's commands
    vocabulary.py    the names that begin a line, and suggestions for misspelled ones
    walk.py          matches words with a syntax, one by one: the only reader of lines
    foreign.py       words of Redis, etcd and other shells, and their replacements
    parse.py         a line to a command, and a command to its line
    line.py          the parts of a prompt line around the command: a count, a redirection
    block.py         a text of several lines to statements
    aliases.py       user-defined words for the beginning of a line
    hints.py         the rest of the syntax, shown behind the cursor
    completion.py    the words that fit at the cursor
    key_prefixes.py  the prefixes that several keys share
    transaction.py   BEGIN ... COMMIT to one command

Pure: no I/O, no clock, no terminal.
"""
