"""Words to commands and back, hints and completions: all derived from the command classes, nothing per command.

    shell.py       the words only the shell knows, declared as the daemon's commands are
    vocabulary.py  every name that begins a line, and what was perhaps meant
    walk.py        words put to a syntax, one by one: the one place that knows how a line is read
    foreign.py     the words of Redis, etcd and other shells, and what to use here
    parse.py       a line to a command, and a command to its line
    line.py        what a line at the prompt says besides its command: how often, where to
    block.py       a text of several lines to statements
    aliases.py     a word of the person's own for the beginning of a line
    hints.py       what is still to type
    places.py      what may stand where the cursor is
    gather.py      BEGIN ... COMMIT to one command

Pure: no I/O, no clock, no terminal.
"""
