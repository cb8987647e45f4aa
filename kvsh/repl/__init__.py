"""The interactive prompt: prompt-toolkit's session with kvsh's lexer, completer, hints and history.

Only this package imports asyncio and prompt_toolkit, and it is loaded only at a terminal: they cost 80 ms.

    prompt.py         the prompt: reads lines, and runs each as a task
    state.py          the state of a prompt
    connections.py    its connections
    screen.py         its terminal
    actions.py        runs a line: sends a command, or acts on a word of the shell
    block.py          runs a pasted block
    session.py        the line being typed: keys, output
    completer.py      completion, with live keys (similar.py: inexact matches)
    lexer.py          colours of the line being typed
    hints.py          the rest of the syntax, behind the cursor
    history.py        the history file
    editor.py         the line in an external editor
    watcher.py        WATCH above the prompt (throttle.py: how many changes are shown)
    source.py         SOURCE
    redirect.py       results into programs and files
    confirm.py        questions before keys are deleted
    interrupts.py     Ctrl-C while a command runs
    threads.py        calls that may block
    cursor.py         terminals that do not report their cursor
    encoding.py       prompt-toolkit's text to bytes and back
    dumb_terminal.py  a plain line reader without prompt-toolkit
"""
