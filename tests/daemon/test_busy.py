"""Bulk writes wait while the daemon answers BUSY: nothing is lost, and the order stays that of the input."""

import asyncio
import sys

import pytest
from support import busy_kvd, forks

from kvd import AsyncClient, Busy, Client

ALWAYS = busy_kvd.PERIOD


@pytest.fixture
def busy(make_daemon):
    """Return what starts a daemon that refuses some commits of each 8."""
    daemon = make_daemon()

    def start(refused=3):
        daemon.program = ["env", f"REFUSED={refused}", sys.executable, busy_kvd.__file__, "serve"]
        return daemon.start()

    return start


def load_sync(endpoint, pairs, **options):
    with Client(endpoint, **options) as kv:
        return kv.load(pairs)


def in_asyncio(endpoint, pairs, **options):
    async def body():
        async with AsyncClient(endpoint, **options) as kv:
            return await asyncio.wait_for(kv.load(pairs), 60)

    return asyncio.run(body())


both = pytest.mark.parametrize("load", [load_sync, in_asyncio])
PAIRS = [(f"k{number % 7000}", str(number)) for number in range(30_000)]
LAST = {key.encode(): value.encode() for key, value in PAIRS}


@both
def test_a_load_waits_and_keeps_the_order_of_the_pairs(busy, load):
    daemon = busy()
    assert load(daemon.commands, PAIRS, timeout=60) == len(PAIRS)
    with daemon.client() as kv:
        assert dict(kv.items("k")) == LAST


@both
def test_a_load_ends_when_nothing_is_taken_for_its_timeout(busy, load):
    daemon = busy(ALWAYS)
    with pytest.raises(Busy):
        load(daemon.commands, PAIRS, timeout=1)


def run(program, daemon, *words, **options):
    return forks.run([sys.executable, "-m", program, *words, "--url", daemon.commands], timeout=100, **options)


def test_an_import_waits_and_keeps_the_order_of_the_lines(busy, tmp_path):
    daemon = busy()
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(f'{{"key":"{key}","value":"{value}"}}\n' for key, value in PAIRS))
    done = run("kvd", daemon, "import", str(file))
    assert (done.returncode, b"30,000" in done.stderr) == (0, True), done.stderr
    with daemon.client() as kv:
        assert dict(kv.items("k")) == LAST


def test_a_script_waits_and_keeps_the_order_of_its_lines(busy):
    daemon = busy()
    lines = [f"SET {key} {value}" for key, value in PAIRS]
    lines += [f"INCR n{number}" for number in range(60)]
    lines += ["CLEAR k1", "SET k2 'x y'", "GET k2"]
    done = run("kvsh", daemon, "--raw", input="\n".join(lines).encode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.splitlines()[-1] == b"x y"
    with daemon.client() as kv:
        assert set(dict(kv.items("n")).values()) == {b"1"}
        assert kv.count("n") == 60
        expected = LAST | {b"k2": b"x y"}
        del expected[b"k1"]
        assert dict(kv.items("k")) == expected


def test_a_script_reports_busy_when_nothing_is_taken_for_its_timeout(busy):
    daemon = busy(ALWAYS)
    done = run("kvsh", daemon, "--timeout", "1", input=b"SET a 1\nINCR b\nPING\n")
    assert done.returncode != 0
    assert done.stderr.count(b"BUSY") == 2
    assert b"PONG" in done.stdout
