"""The common part of one-shot commands, scripts, modes and prompts.

settings.py  the options of a run
output.py    standard output and standard error, in order
progress.py  one line of progress
outcome.py   exit codes, and sentences about failures
files.py     a script's file
pager.py     long results through a pager
help.py      HELP
topics.py    the pages of HELP that explain no command
looks.py     colours, and the time of day of a change
connect.py   a check that a daemon answers
"""
