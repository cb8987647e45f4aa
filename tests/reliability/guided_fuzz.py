"""Fuzzing that is guided by coverage (atheris): `guided_fuzz.py TARGET SECONDS`. Ends with 0 if nothing got out.

Whatever is read from others goes through one of the targets; each knows the only errors that may come out of it.
"""

import contextlib
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["kvd", "kvsh"]):
    from kvd import wire
    from kvd.access import parse_access
    from kvd.config import settings
    from kvd.errors import BadConfiguration, Refused
    from kvd.transfer.formats import Malformed, decode_csv, decode_jsonl
    from kvsh.grammar.parse import Mistake, parse

FILE = Path(tempfile.mkdtemp()) / "kvd.toml"


def body(data: bytes) -> None:
    with contextlib.suppress(Refused):
        wire.decode_command(data)


def words(data: bytes) -> None:
    with contextlib.suppress(Mistake, Refused):
        parse(data.replace(b"\n", b" "))


def config(data: bytes) -> None:
    FILE.write_bytes(data)
    with contextlib.suppress(BadConfiguration):
        settings({}, {}, FILE)


def access(data: bytes) -> None:
    with contextlib.suppress(BadConfiguration, UnicodeDecodeError):
        parse_access(data.decode(), "access.toml")


def lines(data: bytes) -> None:
    for decode in (decode_jsonl, decode_csv):
        with contextlib.suppress(Malformed):
            decode(data)


TARGETS = {each.__name__: each for each in (body, words, config, access, lines)}

if __name__ == "__main__":
    target, seconds = sys.argv[1:]
    atheris.Setup(["fuzz", f"-max_total_time={seconds}", "-max_len=4096", "-print_final_stats=1"], TARGETS[target])
    atheris.Fuzz()
