"""A real nats-server for the tests, and a client in a thread that hears what is published."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path

import nats

from support.running import eventually

SERVER = Path(sys.executable).parent / "nats-server"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class NatsServer:
    """`nats-server` with a store of its own. It can be killed and started again, at the same port."""

    def __init__(self, directory: Path, *options: str, config: str = "") -> None:
        self.directory, self.options = directory, options
        self.config = directory / "nats.conf"
        self.config.write_text(config)
        self.log = directory / "log"
        self.port = free_port()
        self.process = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> "NatsServer":
        command = [SERVER, "-c", self.config, "-a", "127.0.0.1", "-p", str(self.port), "-sd", self.directory / "js"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([*map(str, command), *self.options], stdout=log, stderr=log)
        eventually(self.is_there)
        return self

    def is_there(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Ear:
    """A subscriber in a thread of its own, that connects again when the server comes back."""

    def __init__(self, url: str, *subjects: str) -> None:
        self.heard: list[tuple[str, dict, str | None]] = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.nc = self.run(self.open(url, subjects))

    def run(self, awaitable):
        return asyncio.run_coroutine_threadsafe(awaitable, self.loop).result(60)

    async def open(self, url, subjects):
        async def quiet(_):
            pass

        nc = await nats.connect(url, reconnect_time_wait=0.01, max_reconnect_attempts=-1, error_cb=quiet)
        for subject in subjects:
            await nc.subscribe(subject, cb=self.hear)
        await nc.flush()
        return nc

    async def hear(self, message) -> None:
        if message.subject.startswith(("$", "_")):
            return  # what others ask the server
        number = (message.headers or {}).get("Nats-Msg-Id")
        self.heard.append((message.subject, json.loads(message.data), number))

    def of(self, *subjects: str) -> list[tuple[str, dict]]:
        return [(subject, body) for subject, body, _ in self.heard if subject in subjects]

    def close(self) -> None:
        self.run(self.nc.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


def in_stream(ear: Ear, name: str) -> list[tuple[str, dict, str]]:
    """Return all messages of a stream, in its order."""

    async def read():
        js = ear.nc.jetstream()
        count = (await js.stream_info(name)).state.messages
        subscription = await js.subscribe(">", stream=name, ordered_consumer=True)
        found = [await subscription.next_msg(5) for _ in range(count)]
        await subscription.unsubscribe()
        return [(each.subject, json.loads(each.data), each.headers["Nats-Msg-Id"]) for each in found]

    return ear.run(read())
