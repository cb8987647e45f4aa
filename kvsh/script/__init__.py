"""Commands from a pipe or a file, many in flight, replies in order. Also what one-shot and script have in common.

settings.py  what the options say
outcome.py   exit codes, and sentences for what went wrong
output.py    standard output and standard error, in order
lines.py     bytes to lines
engine.py    the script itself
"""
