"""Commands from a pipe or a file: many in flight, replies in order.

lines.py    bytes to lines
bulk.py     many SET lines as one MULTISET
refused.py  the commands to send again after BUSY
sender.py   sends commands and returns their outcomes in order
actions.py  the words of the shell in a script
engine.py   a run of a script
"""
