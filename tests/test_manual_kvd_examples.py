"""kvd(8): what is typed after a $ runs on a daemon of the test, each path being one of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.mdoc import MAN, literals, section
from support.programs import require
from support.running import eventually

from kvd.access import parse_access

PAGE = MAN / "kvd.8"
PROGRAMS = Path(sys.executable).parent
BUILTINS = {"kill"}  # of the shell; the program is not in a bare Debian 13


@pytest.fixture
def sh(daemon):
    """Return what runs lines of a shell in a directory of its own, where they find kvd and the daemon."""
    home = daemon.directory / "sh"
    home.mkdir()
    (home / "etc").mkdir()
    places = {"/var/lib/kvd": daemon.data, "/var/backups": home, "/var/tmp": home, "/etc/kvd": home / "etc"}
    environment = {
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "KVSH_URL": daemon.commands,
    }

    def run(*lines):
        text = "\n".join(["set -e", "exec 2>&1", *lines, ""])
        for place, ours in places.items():
            text = text.replace(place, str(ours))
        done = subprocess.run(
            ["sh"], input=text, stdout=subprocess.PIPE, text=True, env=environment, cwd=home, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    run.home = home
    return run


def read_commands(source):
    """Return the commands after a $, each with its continuation lines."""
    return [
        command.rstrip("\n").removeprefix("$ ")
        for block in literals(source)
        for command in re.findall(r"^\$ .*\n(?:(?![$#] ).*\n)*", block, re.MULTILINE)
    ]


def test_the_drill(sh, kv):
    kv.set("city", "Ahmedabad")
    lines = read_commands(section(PAGE, "BACKUP AND RESTORE DRILL"))
    assert len(lines) == 7
    out = sh(*lines)
    assert out.endswith("1 entries and 1 changes are whole, 0 damages\n1\nAhmedabad\n")
    assert not (sh.home / "drill").exists()


def test_room_is_made_on_a_full_disk(sh, kv):
    kv.set("cache:1", "x")
    assert "1\n" in sh(*read_commands(section(PAGE, "DISK FULL")))
    assert kv.info()["store"]["compacted"] > 0


def test_keys_are_made_and_the_table_lets_her_in(sh):
    source = section(PAGE, "KEYS AND ROLES")
    out = sh(*read_commands(source)[:2])
    [key] = set(re.findall(r'key = "(.{40})"', out.split("[ada]")[1]))
    [table] = [block for block in literals(source) if block.startswith("[ada]")]
    access = parse_access(table.replace("the 40 characters that keygen printed", key), "access.toml")
    assert access.clients[key].role == "write"


def test_a_daemon_for_an_hour(sh):
    lines = read_commands(section(PAGE, "EXAMPLES"))
    out = sh(*lines, "wait")
    assert "\nOK\n" in f"\n{out}"
    assert "event=stopped" in out


def test_programs_and_flags_of_the_other_sections_exist(sh):
    for command in read_commands(PAGE.read_text(encoding="utf-8")):
        program = command.removeprefix("until ").split()[0]
        assert (
            program in BUILTINS or shutil.which(program, path=f"{PROGRAMS}:{os.environ['PATH']}") or "redis" in command
        )


@pytest.fixture
def redis(sh):
    """Return how redis-cli is called for a server of the test."""
    require("redis-server")
    place = sh.home / "redis.sock"
    options = ["--port", "0", "--unixsocket", place, "--save", "", "--dir", sh.home]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    cli = f"redis-cli -s {place}"
    try:
        eventually(lambda: place.exists() and "PONG" in sh(f"{cli} ping || true"))
        yield cli
    finally:
        server.terminate()
        server.wait(60)


def test_the_strings_of_a_redis_come_with_their_expiries(sh, redis, kv):
    odd = bytes(range(256)) + b"'\"\\t\r\n"
    (sh.home / "odd").write_bytes(odd)
    sh(
        f"{redis} set 'user:1' 'Ada L'",
        f"{redis} -x set 'odd \"key\"' <odd",
        f"{redis} set late x PX 100000",
        f"{redis} hset h a 1",
        f"{redis} rpush l a b",
    )
    source = section(PAGE, "MOVING DATA IN AND OUT").split(".Ss From Redis, by its shell")[1].split(".Ss")[0]
    assert sh(*(line.replace("redis-cli", redis) for line in read_commands(source))) == "2\n"
    assert kv.multiget("user:1", 'odd "key"', "late") == [b"Ada L", odd, b"x"]
    assert 0 < kv.ttl("late") <= 100
    assert kv.ttl("user:1") == float("inf")
    assert kv.count() == 3


def test_the_reader_of_a_dump_prints_lines_for_the_shell(sh, kv):
    [script] = [block for block in literals(section(PAGE, "MOVING DATA IN AND OUT")) if "import rdb\n" in block]
    (sh.home / "strings.py").write_text(script)
    # As rdb-py gives them; with that itself, and Redis 7.0, it was tried by hand.
    (sh.home / "rdb.py").write_text(
        "def RdbDecoder(path):\n"
        "    yield {'type': 'aux_field', 'key': b'redis-ver', 'value': b'7.0.15'}\n"
        "    yield {'type': 'string', 'key': b'k \"', 'value': bytes(range(256)), 'expiry': None}\n"
        "    yield {'type': 'string', 'key': b'late', 'value': b'', 'expiry': 4000000000000}\n"
        "    yield {'type': 'hash', 'key': b'h', 'values': {}, 'expiry': None}\n"
        "    yield {'type': 'checksum', 'checksum': 0}\n"
    )
    assert sh(f"{sys.executable} strings.py dump.rdb | kvsh -q") == "1 keys of other types were left out\n"
    assert kv.get('k "') == bytes(range(256))
    assert kv.entry("late").expires == 4_000_000_000_000


def test_entries_go_out_and_in_again_in_the_forms_that_are_told(sh, kv):
    lines, rows = literals(section(PAGE, "DESCRIPTION").split(".Ss kvd export")[1])
    (sh.home / "lines.jsonl").write_text(lines)
    sh("kvd import lines.jsonl", *read_commands(section(PAGE, "MOVING DATA IN AND OUT").split(".Ss")[0]))
    assert (sh.home / "all.jsonl").read_text() == lines
    sh("kvd export all.csv")
    assert (sh.home / "all.csv").read_text() == rows
    assert (sh.home / "users.csv").read_text() == rows.splitlines(keepends=True)[0]
