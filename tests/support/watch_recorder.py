"""A watcher as a process of its own: writes down what it sees, and now and then resumes with a new watch (R10).

usage: watch_recorder.py COMMANDS CHANGES FILE SEED PREFIX...

With CHANGES "-" it is a `Watch`, else a bare SUB that sees the heartbeats too.
"""

import json
import random
import sys
from typing import Any, TextIO

import zmq

from kvd import wire
from kvd.client import Client
from kvd.commands.model import Change
from kvd.errors import Compacted

END = b"end"


def write_line(out: TextIO, *fields: Any) -> None:
    """Write a line, complete at once: the reader reads while this process runs."""
    out.write(json.dumps(fields) + "\n")
    out.flush()


def is_end(out: TextIO, change: Change) -> bool:
    """Write a change down; return whether it is the last."""
    value = None if change.value is None else change.value.decode()
    write_line(out, "delivered", change.revision, change.kind, change.key.decode(), value)
    return change.key.endswith(END)


def follow(out: TextIO, endpoint: str, prefixes: list[str], chance: random.Random) -> None:
    """Follow to the end, each some takes or changes with a watch of its own."""
    since: int | None = None
    with Client(endpoint, timeout=60) as kv:
        while True:
            with kv.watch(*prefixes, since=since) as watch:
                since = watch.ready() if since is None else since
                write_line(out, "resumed", since)
                try:
                    if some(out, watch, chance):
                        return
                    since = watch.revision
                except Compacted as error:
                    since = error.details["compacted"]
                    write_line(out, "compacted", since)


def some(out: TextIO, watch: Any, chance: random.Random) -> bool:
    """Follow for a while, list by list or change by change; return whether the end came."""
    by_one = chance.random() < 0.5
    for _ in range(chance.randrange(2000) if by_one else chance.randrange(100)):
        changes = [next(watch)] if by_one else watch.take(1)
        ends = [is_end(out, change) for change in changes]
        if any(ends):
            return True
        write_line(out, "bookmark", watch.revision)
    return False


def subscribe(out: TextIO, endpoint: str, prefixes: list[str]) -> None:
    """Write down what is published, with its heartbeats; the first heartbeat is the start."""
    sock = zmq.Context().socket(zmq.SUB)
    sock.set(zmq.RCVHWM, 1_000_000)
    sock.connect(endpoint)
    for prefix in prefixes:
        sock.set(zmq.SUBSCRIBE, wire.CHANGE_TOPIC + prefix.encode())
    sock.set(zmq.SUBSCRIBE, wire.CONTROL_TOPIC)
    is_begun = False
    while True:
        topic, body = sock.recv_multipart()
        if topic != wire.CONTROL_TOPIC:
            if is_begun and is_end(out, wire.decode_change(body)):
                return
        elif (control := wire.decode_control(body))[0] == "HEARTBEAT":
            write_line(out, "heartbeat" if is_begun else "resumed", control[1])
            is_begun = True


if __name__ == "__main__":
    _, commands, changes, file, seed, *names = sys.argv
    with open(file, "w") as opened:  # noqa: PTH123
        if changes == "-":
            follow(opened, commands, names, random.Random(int(seed)))
        else:
            subscribe(opened, changes, names)
