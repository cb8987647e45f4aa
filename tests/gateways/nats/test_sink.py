"""The sink to a NATS server, without one."""

import asyncio
import logging
import math
from types import SimpleNamespace

from kvd.gateways.nats.messages import Message
from kvd.gateways.nats.sink import NatsServer, NatsSink


async def answer(*_, **__):
    """Be a server that takes everything."""


def test_a_value_that_was_left_out_is_logged_with_its_key_and_size(caplog):
    sink = NatsSink(NatsServer("nats://127.0.0.1:4222"))
    sink.client = SimpleNamespace(publish=answer, flush=answer)
    sink.refreshed_at = math.inf
    cut = Message("set", b"{}", "h-7-set", "größe".encode(), 5_000_000)
    whole = Message("rm", b"{}", "h-8-rm", b"b")
    with caplog.at_level(logging.WARNING):
        asyncio.run(sink.publish([cut, whole]))
    (record,) = caplog.records
    assert record.getMessage().startswith("event=too_large key=größe bytes=5000000 subject=set the value exceeds")
