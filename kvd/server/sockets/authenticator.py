"""Who is let in: the authenticator that libzmq asks about each CURVE handshake (ZAP), and the access file.

https://rfc.zeromq.org/spec/27/ - its endpoint has to be bound before those it is about. What libzmq then tells with
each message, the user id, is the client's public key and not its name: so whoever is given a new key has
no rights by the old one, also over a connection that stands.
"""

import logging
from pathlib import Path
from typing import Any, NamedTuple

import zmq
from zmq.utils import z85

from kvd.access import Access, parse_access
from kvd.commands import Command
from kvd.commands.model import Milliseconds
from kvd.errors import BadConfiguration
from kvd.limits import REFUSALS_LOGGED_INTERVAL_MS, REFUSALS_LOGGED_MAX

log = logging.getLogger("kvd")

ENDPOINT = "inproc://zeromq.zap.01"
# A socket's domain, which libzmq tells: who is let in over it.
ANY_KEYS = b"kvd"
ALL_KEYS = b"kvd all keys"  # only who may read all of them
KEY_BYTES = 32
HANDSHAKES_PER_TURN_MAX = 100


class ServerKeys(NamedTuple):
    """The daemon's own key pair, 40 characters of Z85 each, and the file of those it lets in."""

    public: bytes
    secret: bytes
    access: Path


def read_access(path: Path) -> Access:
    """Return what an access file says; raises BadConfiguration with a line for each thing that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadConfiguration(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadConfiguration(f"{path} is no UTF-8") from error
    return parse_access(text, path.name)


class RateLimitedLog:
    """Warnings that anybody out there can cause: so many in a time, the others as a number."""

    def __init__(self) -> None:
        self.until: Milliseconds = 0
        self.logged = self.suppressed = 0

    def warn(self, now: Milliseconds, message: str, *arguments: Any) -> None:
        """Log, unless there was too much of it already."""
        if now >= self.until:
            if self.suppressed:
                log.warning("event=refusals_untold count=%d", self.suppressed)
            self.until, self.logged, self.suppressed = now + REFUSALS_LOGGED_INTERVAL_MS, 0, 0
        self.logged += 1
        if self.logged <= REFUSALS_LOGGED_MAX:
            log.warning(message, *arguments)
        else:
            self.suppressed += 1


class ZapAuthenticator:
    """Answers libzmq's authenticator socket, which has to be read when it is readable, and knows the access file."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: ServerKeys) -> None:
        """Read the access file; raises BadConfiguration."""
        self.keys = keys
        self.access = read_access(keys.access)
        self.sparing = RateLimitedLog()
        self.refused = 0
        self.socket = context.socket(zmq.ROUTER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.bind(ENDPOINT)

    def secure(self, sock: zmq.Socket[bytes], domain: bytes) -> None:
        """Let nobody in over a socket that is not bound yet but who is asked about here."""
        sock.set(zmq.CURVE_SERVER, 1)
        sock.set(zmq.CURVE_PUBLICKEY, self.keys.public)
        sock.set(zmq.CURVE_SECRETKEY, self.keys.secret)
        # Without an authenticator libzmq would let everybody in that knows our public key; so it lets in nobody.
        sock.set(zmq.ZAP_DOMAIN, domain)
        sock.set(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def answer(self, now: Milliseconds) -> None:
        """Say of each who knocks whether to let it in."""
        try:
            for _ in range(HANDSHAKES_PER_TURN_MAX):
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
                peer, empty, version, number, domain, address, _identity, mechanism, *credentials = frames
                key = _key_of(mechanism, credentials)
                if self._is_allowed(key, domain):
                    verdict = [b"200", b"OK", key.encode(), b""]
                else:
                    verdict = [b"400", b"this key is not let in", b"", b""]
                    self._log_refused(now, key, address.decode(errors="replace"))
                self.socket.send_multipart([peer, empty, version, number, *verdict])
        except zmq.Again:
            pass

    def _is_allowed(self, key: str, domain: bytes) -> bool:
        """Return whether who has a key may connect to the sockets of a domain."""
        return key in self.access.clients if domain == ANY_KEYS else self.access.may_watch(key, b"")

    def _log_refused(self, now: Milliseconds, key: str, address: str) -> None:
        """Log a refusal; one who is let in elsewhere is no stranger, and its watches try this first."""
        if key not in self.access.clients:
            self.refused += 1
            self.sparing.warn(now, "event=refused_client key=%s address=%s", key, address)

    def check(self, key: str, command: Command) -> None:
        """Raise Denied unless the client with this key may run the command."""
        self.access.check(key, command)

    def name_of(self, key: str) -> str:
        """Return the name of the client with a key; the key itself if the file does not name it any more."""
        client = self.access.clients.get(key)
        return key if client is None else client.name

    def reload(self) -> bool:
        """Read the access file again; return whether it is in force. A bad one changes nothing."""
        try:
            self.access = read_access(self.keys.access)
        except BadConfiguration as error:
            for line in str(error).splitlines():
                log.error("event=access_kept %s", line)  # noqa: TRY400  # not a defect
            return False
        log.info("event=access_read clients=%d", len(self.access.clients))
        return True


def _key_of(mechanism: bytes, credentials: list[bytes]) -> str:
    """Return the public key that a client proved to have, in Z85; empty if it proved none."""
    if mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != KEY_BYTES:
        return ""
    return z85.encode(credentials[0]).decode()
