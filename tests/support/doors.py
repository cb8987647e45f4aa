"""Keys for tests: certificates made by `kvd keygen` itself, an access file of them, and the options of a daemon."""

import json
from pathlib import Path

import zmq
from click.testing import CliRunner

from kvd.cli import main
from kvd.client.keys import Keys, read_certificate, read_keys

EVERYTHING = {"role": "admin"}


def cpu_seconds(daemon) -> float:
    """Return the processor time that a daemon has used."""
    words = Path(f"/proc/{daemon.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / 100


def plain(context, kind, endpoint, keys=None, *topics, **options):
    """Return a connected plain socket with keys."""
    sock = context.socket(kind)
    sock.set(zmq.LINGER, 0)
    sock.set(zmq.RCVTIMEO, 60_000)
    for name, value in options.items():
        sock.set(getattr(zmq, name), value)
    if keys is not None:
        sock.set(zmq.CURVE_PUBLICKEY, keys.public)
        sock.set(zmq.CURVE_SECRETKEY, keys.secret)
        sock.set(zmq.CURVE_SERVERKEY, keys.server)
    sock.connect(endpoint)
    for topic in topics:
        sock.set(zmq.SUBSCRIBE, topic)
    return sock


class AccessFiles:
    """A directory with the daemon's key, one for each name asked for, and `access.toml`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.access = directory / "access.toml"
        self.make("daemon")
        self.write(root=EVERYTHING)

    def make(self, name: str) -> Path:
        path = self.directory / f"{name}.key_secret"
        if not path.exists():
            done = CliRunner().invoke(main, ["keygen", name, "--directory", str(self.directory)])
            assert done.exit_code == 0, done.output
        return path

    def keys(self, name: str, server: str = "daemon") -> Keys:
        self.make(server)
        return read_keys(str(self.make(name)), str(self.directory / f"{server}.key"))

    def public(self, name: str) -> str:
        return read_certificate(str(self.make(name)))[0].decode()

    def write(self, **clients: dict) -> None:
        """Write the access file: the lines of each client's table after the key."""
        lines = []
        for name, options in clients.items():
            lines += [f"[{name}]", f'key = "{self.public(name)}"']
            lines += [f"{option} = {json.dumps(value)}" for option, value in options.items()]
        self.access.write_text("\n".join(lines) + "\n")

    @property
    def options(self) -> list[str]:
        return ["--key", str(self.directory / "daemon.key_secret"), "--access", str(self.access)]
