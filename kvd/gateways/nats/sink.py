"""The NATS server behind the bridge: a connection that publishes, and says when the server has what was published."""

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
STREAMS_S = 10.0  # how often we look which streams there are
STREAMS_PAGE = 256  # what the server tells at once
STREAMS_MAX = 100 * STREAMS_PAGE

# What may pass when one connects again.
Lost = (OSError, nats.errors.Error)


@contextlib.contextmanager
def with_wrapped_errors() -> Iterator[None]:
    """Turn what nats-py makes of a server that does not keep to the protocol into one of its errors."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise nats.errors.Error(f"the NATS server does not keep to its protocol: {error}") from error


class NatsServer(NamedTuple):
    """Where NATS is, and who we are there."""

    url: str
    creds: Path | None = None
    tls_ca: Path | None = None

    def options(self) -> dict[str, Any]:
        """Return what nats-py is told. Raises BadConfiguration."""
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
    def place(self) -> str:
        """Return where it is, without the password."""
        scheme, _, rest = self.url.rpartition("://")
        return f"{scheme or 'nats'}://{rest.rpartition('@')[2]}"


class NatsSink:
    """One connection to the NATS server. It is not mended: what it raises ends it."""

    def __init__(self, target: NatsServer) -> None:
        self.target = target
        self.client = Client()
        self.streams: list[str] = []  # the subjects of JetStream's
        self.looked = 0.0
        self.refusal: Exception | None = None

    async def open(self) -> None:
        """Connect. Raises OSError, TimeoutError, nats.errors.Error."""
        is_connecting = True

        async def refused(error: Exception) -> None:
            self.refusal = error
            if is_connecting:  # nats-py would try 60 times, for two minutes, and say nothing
                raise error

        options = self.target.options()
        with with_wrapped_errors():
            await self.client.connect(
                self.target.url,
                name="kvd",
                allow_reconnect=False,
                connect_timeout=int(CONNECT_S),
                error_cb=refused,
                **options,
            )
            is_connecting = False
            operator.index(self.client.max_payload)
            await self._refresh_streams()

    async def _refresh_streams(self) -> None:
        """See which subjects go to streams. Without JetStream there are none."""
        self.looked = time.monotonic()
        found: list[Any] = []
        is_more = True
        try:
            while is_more and len(found) < STREAMS_MAX:
                page = await self.client.jetstream(timeout=CONNECT_S).streams_info(offset=len(found))
                found += page
                is_more = len(page) == STREAMS_PAGE
        except (nats.js.errors.Error, nats.errors.NoRespondersError):
            found = []  # it has no JetStream
        except TimeoutError:
            log.warning("event=streams_unknown %s", "we are not told which streams there are: no ack is waited for")
            self.refusal = None  # if we may not ask
            self.looked = math.inf  # or somebody who hears all hears the question: not again on this connection
        self.streams = [subject for each in found for subject in each.config.subjects or ()]

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish in order; return when the server has all. Raises OSError, nats.errors.Error, BridgeEnded.

        A message for a stream is sent when the one before is stored: a stream that refuses one, or has no leader for a
        moment, would take those behind it.
        """
        if time.monotonic() > self.looked + STREAMS_S:
            with with_wrapped_errors():
                await self._refresh_streams()
        for each in messages:
            headers = {"Nats-Msg-Id": each.id}
            if each.left_out_bytes is not None:
                log.warning(
                    "event=too_large key=%s bytes=%d subject=%s the value is beyond the NATS server's max_payload: "
                    "it was published without it",
                    each.key_text,
                    each.left_out_bytes,
                    each.subject[:200],
                )
            if is_covered(self.streams, each.subject):
                await self.store(each, headers)
            else:
                await self.client.publish(each.subject, each.body, headers=headers)
        # Twice, for of a subject that we may not publish to the first PONG has been seen to come before the error (1 of
        # 10 with nats-server 2.15), and without the error the loss would be silent.
        for _ in range(2):
            await self.client.flush(ANSWER_S)  # type: ignore[arg-type]  # it goes to wait_for
        if self.refusal is not None:
            raise BridgeEnded(f"the NATS server refuses us: {self.refusal}")

    async def store(self, message: Message, headers: dict[str, str]) -> None:
        """Publish to a stream; return when it is stored. Raises nats.errors.Error, BridgeEnded."""
        try:
            await self.client.jetstream().publish(message.subject, message.body, timeout=ANSWER_S, headers=headers)
        except (nats.js.errors.ServiceUnavailableError, nats.js.errors.NoStreamResponseError):
            raise  # no leader, or the stream is gone: look again
        except nats.js.errors.APIError as error:
            raise BridgeEnded(
                f"the stream refuses a message of {message.subject[:200]}, of the key {message.key_text!r}: "
                f"{error.description}"
            ) from error

    async def close(self) -> None:
        """Let the connection go."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(CONNECT_S):
                await self.client.close()
