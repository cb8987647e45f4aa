"""The bridge's connection to the NATS server: publishes messages and waits until the server has them."""

import asyncio
import contextlib
import logging
import math
import operator
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import nats.errors
import nats.js.errors
from nats.aio.client import Client

from kvd.errors import BadConfiguration
from kvd.gateways.nats.messages import BridgeEnded, Message, is_covered

log = logging.getLogger(__name__)

ANSWER_S = 5.0
CONNECT_S = 2.0
STREAMS_S = 10.0  # the interval at which the list of streams is refreshed
STREAMS_PAGE = 256  # entries per page of the server's list
STREAMS_MAX = 100 * STREAMS_PAGE

# Errors that a new connection may resolve.
Lost = (OSError, nats.errors.Error)


@contextlib.contextmanager
def with_wrapped_errors() -> Iterator[None]:
    """Convert the exceptions that nats-py raises for a server's protocol errors to nats.errors.Error."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise nats.errors.Error(f"the NATS server violates its protocol: {error}") from error


class NatsServer(NamedTuple):
    """The NATS server's URL and the credentials for it."""

    url: str
    creds: Path | None = None
    tls_ca: Path | None = None

    def options(self) -> dict[str, Any]:
        """Return the options for nats-py. Raises BadConfiguration."""
        options: dict[str, Any] = {}
        try:
            if self.tls_ca is not None:
                options["tls"] = ssl.create_default_context(cafile=str(self.tls_ca))
            if self.creds is not None:
                with self.creds.open("rb"):
                    options["user_credentials"] = str(self.creds)
        except (OSError, ssl.SSLError) as error:
            raise BadConfiguration(f"cannot read {self.tls_ca or self.creds}: {error.strerror or error}") from error
        return options

    @property
    def address(self) -> str:
        """Return the server's URL without the password."""
        scheme, _, rest = self.url.rpartition("://")
        return f"{scheme or 'nats'}://{rest.rpartition('@')[2]}"


class NatsSink:
    """One connection to the NATS server. It does not reconnect: after an error, create another."""

    def __init__(self, server: NatsServer) -> None:
        self.server = server
        self.client = Client()
        self.streams: list[str] = []  # subjects of the JetStream streams
        self.refreshed_at = 0.0
        self.refusal: Exception | None = None

    async def open(self) -> None:
        """Connect. Raises OSError, TimeoutError, nats.errors.Error."""
        is_connecting = True

        async def on_error(error: Exception) -> None:
            self.refusal = error
            if is_connecting:  # else nats-py would retry 60 times, for two minutes, without a report
                raise error

        options = self.server.options()
        with with_wrapped_errors():
            await self.client.connect(
                self.server.url,
                name="kvd",
                allow_reconnect=False,
                connect_timeout=int(CONNECT_S),
                error_cb=on_error,
                **options,
            )
            is_connecting = False
            operator.index(self.client.max_payload)
            await self._refresh_streams()

    async def _refresh_streams(self) -> None:
        """Read which subjects are stored in streams. Without JetStream there are none."""
        self.refreshed_at = time.monotonic()
        streams: list[Any] = []
        is_more = True
        try:
            while is_more and len(streams) < STREAMS_MAX:
                page = await self.client.jetstream(timeout=CONNECT_S).streams_info(offset=len(streams))
                streams += page
                is_more = len(page) == STREAMS_PAGE
        except (nats.js.errors.Error, nats.errors.NoRespondersError):
            streams = []  # the server has no JetStream
        except TimeoutError:
            log.warning(
                "event=streams_unknown %s", "the server does not list its streams: the bridge waits for no acks"
            )
            self.refusal = None  # set if the bridge is not allowed to ask
            self.refreshed_at = math.inf  # a subscriber to all subjects may have received the request: do not repeat it
        self.streams = [subject for each in streams for subject in each.config.subjects or ()]

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish in order; return when the server has all messages. Raises OSError, nats.errors.Error, BridgeEnded.

        A message for a stream is sent after the one before is stored: a stream that refuses a message, or has no
        leader for a moment, could otherwise accept later ones.
        """
        if time.monotonic() > self.refreshed_at + STREAMS_S:
            with with_wrapped_errors():
                await self._refresh_streams()
        for each in messages:
            headers = {"Nats-Msg-Id": each.id}
            if each.left_out_bytes is not None:
                log.warning(
                    "event=too_large key=%s bytes=%d subject=%s the value exceeds the NATS server's max_payload: "
                    "it was published without it",
                    each.key_text,
                    each.left_out_bytes,
                    each.subject[:200],
                )
            if is_covered(self.streams, each.subject):
                await self._store(each, headers)
            else:
                await self.client.publish(each.subject, each.body, headers=headers)
        # Twice: for a subject that may not be published to, the error sometimes arrives after the first PONG (1 of 10
        # with nats-server 2.15), and the loss would go unnoticed without it.
        for _ in range(2):
            await self.client.flush(ANSWER_S)  # type: ignore[arg-type]  # passed on to wait_for
        if self.refusal is not None:
            raise BridgeEnded(f"the NATS server refuses the bridge: {self.refusal}")

    async def _store(self, message: Message, headers: dict[str, str]) -> None:
        """Publish to a stream; return when the message is stored. Raises nats.errors.Error, BridgeEnded."""
        try:
            await self.client.jetstream().publish(message.subject, message.body, timeout=ANSWER_S, headers=headers)
        except (nats.js.errors.ServiceUnavailableError, nats.js.errors.NoStreamResponseError):
            raise  # no leader, or the stream is gone: reconnect
        except nats.js.errors.APIError as error:
            raise BridgeEnded(
                f"the stream refuses a message for {message.subject[:200]}, for the key {message.key_text!r}: "
                f"{error.description}"
            ) from error

    async def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CONNECT_S):
                await self.client.close()
