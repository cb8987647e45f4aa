"""The authenticator: accepts or rejects each CURVE handshake by the access file.

It implements ZAP, https://rfc.zeromq.org/spec/27/: libzmq asks it over an endpoint that must be bound before the
endpoints it protects. libzmq then sends the user id with each message. It is the client's public key, not its name: so
a client that gets a new key has no rights by the old one, even over an open connection.
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
# A socket's ZAP domain, which libzmq sends with each handshake.
ANY_KEYS = b"kvd"
ALL_KEYS = b"kvd all keys"  # only clients that may read all keys
KEY_BYTES = 32
HANDSHAKES_PER_TURN_MAX = 100


class ServerKeys(NamedTuple):
    """The daemon's key pair, 40 characters of Z85 each, and the path of the access file."""

    public: bytes
    secret: bytes
    access: Path


def read_access(path: Path) -> Access:
    """Return the access file; raises BadConfiguration with one line for each mistake."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadConfiguration(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadConfiguration(f"{path} is not UTF-8") from error
    return parse_access(text, path.name)


class RateLimitedLog:
    """Logs at most REFUSALS_LOGGED_MAX warnings per interval, and the number of the others."""

    def __init__(self) -> None:
        self.until: Milliseconds = 0
        self.logged = self.suppressed = 0

    def warn(self, now: Milliseconds, message: str, *arguments: Any) -> None:
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
    """Answers libzmq's handshake requests, and holds the access file."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: ServerKeys) -> None:
        """Read the access file; raises BadConfiguration."""
        self.keys = keys
        self.access = read_access(keys.access)
        self.refusal_log = RateLimitedLog()
        self.refused = 0
        self.socket = context.socket(zmq.ROUTER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.bind(ENDPOINT)

    def secure(self, sock: zmq.Socket[bytes], domain: bytes) -> None:
        """Require keys for a socket that is not bound yet. Its handshakes are decided here."""
        sock.set(zmq.CURVE_SERVER, 1)
        sock.set(zmq.CURVE_PUBLICKEY, self.keys.public)
        sock.set(zmq.CURVE_SECRETKEY, self.keys.secret)
        # If the authenticator is missing, libzmq must reject all clients, not accept those with our public key.
        sock.set(zmq.ZAP_DOMAIN, domain)
        sock.set(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def answer(self, now: Milliseconds) -> None:
        """Accept or reject the pending handshakes."""
        try:
            for _ in range(HANDSHAKES_PER_TURN_MAX):
                frames = self.socket.recv_multipart(zmq.NOBLOCK)
                peer, empty, version, number, domain, address, _identity, mechanism, *credentials = frames
                key = _key_of(mechanism, credentials)
                if self._is_allowed(key, domain):
                    verdict = [b"200", b"OK", key.encode(), b""]
                else:
                    verdict = [b"400", b"this key is not accepted", b"", b""]
                    self._log_refused(now, key, address.decode(errors="replace"))
                self.socket.send_multipart([peer, empty, version, number, *verdict])
        except zmq.Again:
            pass

    def _is_allowed(self, key: str, domain: bytes) -> bool:
        """Return whether the client with a key may connect to the sockets of a domain."""
        return key in self.access.clients if domain == ANY_KEYS else self.access.may_watch(key, b"")

    def _log_refused(self, now: Milliseconds, key: str, address: str) -> None:
        """Log a refusal, unless the key is in the access file: such a client tries the changes socket first."""
        if key not in self.access.clients:
            self.refused += 1
            self.refusal_log.warn(now, "event=refused_client key=%s address=%s", key, address)

    def check(self, key: str, command: Command) -> None:
        self.access.check(key, command)

    def name_of(self, key: str) -> str:
        """Return the name of the client with a key, or the key if the access file no longer has it."""
        client = self.access.clients.get(key)
        return key if client is None else client.name

    def reload(self) -> bool:
        """Read the access file again; return whether it is in force. An invalid file changes nothing."""
        try:
            self.access = read_access(self.keys.access)
        except BadConfiguration as error:
            for line in str(error).splitlines():
                log.error("event=access_kept %s", line)  # noqa: TRY400  # not a defect
            return False
        log.info("event=access_read clients=%d", len(self.access.clients))
        return True


def _key_of(mechanism: bytes, credentials: list[bytes]) -> str:
    """Return the public key that a client has proved, in Z85, or an empty text."""
    if mechanism != b"CURVE" or len(credentials) != 1 or len(credentials[0]) != KEY_BYTES:
        return ""
    return z85.encode(credentials[0]).decode()
