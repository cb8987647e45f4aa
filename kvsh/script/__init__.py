"""Commands from a pipe or a file, many in flight, replies in order. Also what one-shot and script have in common.

settings.py  what the options say
outcome.py   exit codes, and sentences for what went wrong
output.py    standard output and standard error, in order
progress.py  one line that tells how far it is
files.py     a script's file
lines.py     bytes to lines
bulk.py      many SET lines as one MULTISET
refused.py   what is sent again after BUSY
sender.py    commands and outcomes in order
actions.py   what the words of the shell do
help.py      what HELP says
topics.py    the pages of HELP that explain no command
looks.py     colours, and the time of day of a change
reach.py     whether a daemon is there
engine.py    the script itself
"""
