"""The client's ZeroMQ sockets, set up as a client must: nothing is queued for a daemon that is not there."""

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import zmq

from kvd import wire
from kvd.client.keys import Keys
from kvd.limits import (
    HEARTBEAT_MS,
    IN_FLIGHT_MAX,
    RECEIVE_QUEUE_MAX,
    RECONNECT_MS,
    RECONNECT_MS_MAX,
    RECONNECT_NEVER_MS,
    SUBSCRIBER_DEAD_MS,
)

LOST = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
MADE = zmq.EVENT_HANDSHAKE_SUCCEEDED
WATCHED_EVENTS = LOST | MADE
# libzmq does not connect again by itself after these.
FINAL = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
MONITOR_EVENT = struct.Struct("=HI")
SOCKETS_MAX = 16_384  # of one context, instead of 1,023

Context = TypeVar("Context", bound=zmq.Context[Any])


class Shared:
    """A context of ZeroMQ with its threads, for whoever takes part in it: the last who leaves ends it."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, SOCKETS_MAX)
        self.users = 0

    def leave(self, opened: list[Any]) -> None:
        """Close sockets, each with its monitor."""
        for sock in opened:
            if not sock.closed:
                sock.disable_monitor()
                sock.close(0)
        self.users -= 1
        if not self.users:
            self.context.term()


def set_up(sock: zmq.Socket[Any], keys: Keys | None) -> None:
    """Set what both sockets need: no lingering, a dead peer is seen within three heartbeats, and CURVE with keys."""
    if keys is not None:
        sock.set(zmq.CURVE_PUBLICKEY, keys.public)
        sock.set(zmq.CURVE_SECRETKEY, keys.secret)
        sock.set(zmq.CURVE_SERVERKEY, keys.server)
    sock.set(zmq.LINGER, 0)
    sock.set(zmq.IPV6, 1)
    sock.set(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    sock.set(zmq.HEARTBEAT_TIMEOUT, 2 * HEARTBEAT_MS)
    # Heartbeats begin after the handshake: a peer that is silent from the start would be waited for 30 s.
    sock.set(zmq.HANDSHAKE_IVL, SUBSCRIBER_DEAD_MS)


def dealer(context: zmq.Context[Any], endpoint: str, keys: Keys | None = None) -> Any:
    """Return a connected command socket. IMMEDIATE: without a connection `send` fails, so nothing runs later."""
    sock = context.socket(zmq.DEALER)
    set_up(sock, keys)
    sock.set(zmq.IMMEDIATE, 1)
    sock.set(zmq.SNDHWM, 2 * IN_FLIGHT_MAX)
    sock.set(zmq.RCVHWM, 2 * IN_FLIGHT_MAX)
    sock.set(zmq.RECONNECT_IVL, RECONNECT_MS)
    sock.set(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
    monitor(sock)
    try:
        sock.connect(endpoint)
    except zmq.ZMQError:
        sock.disable_monitor()
        sock.close(0)
        raise
    return sock


def subscriber(context: zmq.Context[Any], endpoint: str, prefixes: list[bytes], keys: Keys | None = None) -> Any:
    """Return a connected changes socket: the prefixes first, the control topic last.

    The first heartbeat then proves that the prefixes are subscribed. Connect comes before subscribe, or
    libzmq would send the subscriptions in an order of its own; it never reconnects by itself, because
    what is published meanwhile is lost without a trace. RECONNECT_IVL -1 would say "never", but then libzmq
    (4.3.5) drops what it holds for us when the connection breaks, maybe between the topic and the body of one
    message: `recv` of the body then waits for ever, or libzmq aborts (`!_more (src/fq.cpp:80)`).
    """
    sock = context.socket(zmq.SUB)
    set_up(sock, keys)
    sock.set(zmq.RECONNECT_IVL, RECONNECT_NEVER_MS)
    sock.set(zmq.RCVHWM, RECEIVE_QUEUE_MAX)  # what is beyond stays in the daemon's queue, which bounds it in bytes
    monitor(sock)
    sock.connect(endpoint)
    for prefix in prefixes:
        sock.set(zmq.SUBSCRIBE, wire.CHANGE_TOPIC + prefix)
    sock.set(zmq.SUBSCRIBE, wire.CONTROL_TOPIC)
    return sock


def monitor(sock: Any) -> Any:
    """Return the socket that tells when the connection of another comes and goes.

    It is made before that connects: a refusal comes once, and soon.
    """
    while True:
        try:
            return sock.get_monitor_socket(WATCHED_EVENTS)
        except InterruptedError:
            pass  # a signal came; of the calls that set a socket up, pyzmq retries all but this one


def event_in(frames: list[bytes]) -> int:
    """Return the event that a message of a monitor tells."""
    event, _ = MONITOR_EVENT.unpack(frames[0])
    return int(event)


def hindrance(event: int, *, has_keys: bool) -> str | None:
    """Return why an event says that there is no connection: "" when there is one now, None when it does not say."""
    if event == MADE:
        return ""
    if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return "the daemon does not let in our key"
    # Which of these comes when one side has keys and the other none depends on who is faster.
    if event in (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL):
        why = "it may have another key than we trust, or want none" if has_keys else "it may want keys"
        return f"what is there ends the handshake: {why}"
    return None


def barred(endpoint: str) -> str:
    """Return why a unix socket that is there is none for us; empty if it is one, or there is none."""
    path = Path(endpoint.removeprefix("ipc://"))
    if not endpoint.startswith("ipc://") or os.access(path, os.R_OK | os.W_OK):
        return ""
    try:
        group = path.group()
    except PermissionError:
        return f"we may not look into {path.parent}"
    except (OSError, KeyError):
        return ""
    return f"{path} is for those in the group {group}: `usermod -aG {group} NAME` as root, then log in again"


def changes_endpoint(commands: str, endpoints: Sequence[str]) -> str:
    """Return where the changes are, of the endpoints that INFO tells: one of the kind of the endpoint for commands.

    A wildcard host there is the host that was dialled.
    """
    kind = commands.partition(":")[0]
    told = next((each for each in endpoints if each.startswith(f"{kind}:")), endpoints[0])
    for wildcard in ("tcp://0.0.0.0:", "tcp://[::]:", "tcp://*:"):
        if told.startswith(wildcard) and commands.startswith("tcp://"):
            return f"{commands.rpartition(':')[0]}:{told.rpartition(':')[2]}"
    return told
