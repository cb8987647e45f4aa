"""CURVE, the mechanism with keys, on the client's side (ZeroMQ RFC 26/CURVE). Pure but for making temporary keys.

The handshake proves that each side has the secret of its key: HELLO -> WELCOME -> INITIATE -> READY. After it every
frame is a box (X25519, XSalsa20, Poly1305) of its flags and its body, under keys that live as long as the connection.
libsodium does the cryptography, through PyNaCl.
"""

import struct

from nacl import bindings
from nacl.exceptions import CryptoError

from kvd.client.keys import Keys, decode_z85
from kvd.client.zmtp import (
    COMMAND,
    LONG,
    MORE,
    KeyMismatch,
    ProtocolError,
    Rejected,
    command_frame,
    error_reason,
    frame,
    metadata,
)

_SIGNATURE_OF_ZEROS = bytes(64)
_WELCOME_BYTES = 168
_INNER_FLAGS = {MORE: 1, COMMAND: 2, 0: 0}


class Curve:
    """The state of one connection with keys."""

    name = b"CURVE"

    def __init__(self, socket_type: bytes, keys: Keys) -> None:
        self.is_ready = False
        self._socket_type = socket_type
        self._public = decode_z85(keys.public)
        self._secret = decode_z85(keys.secret)
        self._server = decode_z85(keys.server)
        self._short_public, self._short_secret = bindings.crypto_box_keypair()
        self._shared = b""  # set when the daemon's temporary key arrives
        self._nonce = 0
        self._peer_nonce = 0

    def start(self) -> bytes:
        """Return HELLO: our temporary key, and a box that proves knowledge of the daemon's key."""
        nonce = self._next_nonce()
        box = bindings.crypto_box(_SIGNATURE_OF_ZEROS, b"CurveZMQHELLO---" + nonce, self._server, self._short_secret)
        return command_frame(b"HELLO", b"\x01\x00" + bytes(72) + self._short_public + nonce + box)

    def on_command(self, command: bytes) -> bytes:
        """Process WELCOME, READY or ERROR. Raises ProtocolError."""
        if command.startswith(b"\x05ERROR"):
            raise Rejected(error_reason(command))
        try:
            if command.startswith(b"\x07WELCOME") and len(command) == _WELCOME_BYTES:
                return self._initiate(command[8:])
            if command.startswith(b"\x05READY") and self._shared:
                self._open_box(b"CurveZMQREADY---", command[6:14], command[14:])
                self.is_ready = True
                return b""
        except CryptoError:
            raise KeyMismatch from None
        raise ProtocolError("the daemon sent a handshake command that CURVE does not have")

    def seal(self, flags: int, body: bytes) -> bytes:
        """Return the MESSAGE frame that carries a body."""
        nonce = self._next_nonce()
        box = bindings.crypto_box_afternm(
            bytes((_INNER_FLAGS[flags],)) + body, b"CurveZMQMESSAGEC" + nonce, self._shared
        )
        return frame(0, b"\x07MESSAGE" + nonce + box)

    def open(self, flags: int, body: bytes) -> tuple[int, bytes]:
        """Return the flags and the body in a MESSAGE frame. Raises ProtocolError."""
        if flags & ~LONG or not body.startswith(b"\x07MESSAGE"):
            raise ProtocolError("a frame is not encrypted")
        try:
            plain = self._open_box(b"CurveZMQMESSAGES", bytes(body[8:16]), bytes(body[16:]))
        except CryptoError:
            raise ProtocolError("a frame cannot be decrypted") from None
        if not plain:
            raise ProtocolError("an encrypted frame is empty")
        return (MORE if plain[0] & 1 else 0) | (COMMAND if plain[0] & 2 else 0), plain[1:]

    def _initiate(self, welcome: bytes) -> bytes:
        """Return INITIATE: our key, and a voucher that it owns our temporary key."""
        plain = bindings.crypto_box_open(welcome[16:], b"WELCOME-" + welcome[:16], self._server, self._short_secret)
        server_short, cookie = plain[:32], plain[32:]
        self._shared = bindings.crypto_box_beforenm(server_short, self._short_secret)
        vouch_nonce = bindings.randombytes(16)
        vouch = bindings.crypto_box(
            self._short_public + self._server, b"VOUCH---" + vouch_nonce, server_short, self._secret
        )
        nonce = self._next_nonce()
        box = bindings.crypto_box_afternm(
            self._public + vouch_nonce + vouch + metadata(self._socket_type), b"CurveZMQINITIATE" + nonce, self._shared
        )
        return command_frame(b"INITIATE", cookie + nonce + box)

    def _open_box(self, prefix: bytes, nonce: bytes, box: bytes) -> bytes:
        """Open a box from the daemon, and check that its nonce rises. Raises CryptoError, ProtocolError."""
        plain = bindings.crypto_box_open_afternm(box, prefix + nonce, self._shared)
        number = int.from_bytes(nonce, "big")
        if number <= self._peer_nonce:
            raise ProtocolError("a nonce was repeated")
        self._peer_nonce = number
        return plain

    def _next_nonce(self) -> bytes:
        self._nonce += 1
        return struct.pack(">Q", self._nonce)
