"""`kvd export` and `kvd import` as processes: what they carry, what they leave behind, how to resume."""

import json
import os
import pty
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import forks
from support.doors import cpu_seconds
from support.running import eventually, run_kvd

from kvd.limits import KEY_BYTES_MAX

KVD = [sys.executable, "-m", "kvd"]
FORMS = pytest.mark.parametrize("form", ["jsonl", "csv"])
LATER = 4_000_000_000_000


def run(daemon, *words, **options):
    """Run a command of kvd to its end; return exit code, output and what it said."""
    environment = {**os.environ, "KVSH_URL": daemon.commands}
    command = [*KVD, *map(str, words)]
    done = forks.run(command, env=environment, timeout=100, **options)
    return done.returncode, done.stdout, done.stderr.decode()


def start_command(daemon, *words, **pipes):
    """Begin a command of kvd; return its process."""
    environment = {**os.environ, "KVSH_URL": daemon.commands}
    return forks.ForkedPopen([*KVD, *map(str, words)], stderr=subprocess.PIPE, env=environment, **pipes)


def line(number, value="x" * 100):
    return json.dumps({"key": f"{number:07}", "value": value}) + "\n"


def resume_of(said):
    """Return how many lines are reported as applied, and the arguments of the command that resumes."""
    told = next(text for text in said.splitlines() if " To resume: " in text)
    words = shlex.split(told.partition(" To resume: ")[2])
    assert words[0] == "kvd"
    skip = int(words[words.index("--skip-lines") + 1])
    assert told.startswith(f"{skip:,} lines of ")
    return skip, words[1:]


@pytest.fixture
def many(tmp_path):
    """Return a file of 100,000 lines."""
    file = tmp_path / "many.jsonl"
    file.write_text("".join(map(line, range(100_000))))
    return file


@FORMS
def test_a_round_trip_is_byte_for_byte(make_daemon, tmp_path, form):
    chance = random.Random(7)
    source, other = make_daemon().start(), make_daemon().start()
    with source.client() as kv:
        for _ in range(3):
            kv.multiset({chance.randbytes(chance.randint(1, 20)): chance.randbytes(200) for _ in range(1000)})
        kv.multiset({"text": 'a,"b"\r\n é \0', "empty": b"", b"\0": b"\n", "long" * 1024: b"x" * 2**20})
        with kv.pipeline() as p:
            for number in range(500):
                p.set(b"t%d" % number if number % 2 else chance.randbytes(9), b"v", ttl=100_000 + number)
        count = kv.count()
    first, second = tmp_path / f"first.{form}", tmp_path / f"second.{form}"
    code, out, said = run(source, "export", first)
    assert (code, out, said.startswith(f"{count:,} entries in ")) == (0, b"", True), said
    code, out, said = run(other, "import", first)
    assert (code, out, said.startswith(f"{count:,} entries in ")) == (0, b"", True), said
    assert run(other, "export", second)[0] == 0
    assert first.read_bytes() == second.read_bytes()
    with source.client() as old, other.client() as new:
        assert list(new.items()) == list(old.items())
        assert 99_000 < new.ttl("t1") < 100_001
    assert sorted(tmp_path.iterdir()) == [first, second]
    assert first.stat().st_mode & 0o777 == 0o600
    code, out, _ = run(source, "export", "--format", form)
    assert (code, out) == (0, first.read_bytes())
    assert run(other, "import", "--format", form, input=out)[0] == 0


def test_what_expires_keeps_its_time_and_what_is_over_is_left_out(daemon, kv):
    lines = [
        {"key": "a", "value": "1", "expires": LATER},
        {"key": "b", "value": "", "expires": int(time.time() * 1000) - 1},
    ]
    text = "".join(json.dumps(each) + "\n" for each in [*lines, {"key": "a2", "value": ""}])
    code, _, said = run(daemon, "import", input=text.encode())
    assert (code, "2 entries in " in said, "; 1 left out, since they have expired" in said) == (0, True, True)
    assert (kv.entry("a").expires, kv.entry("b"), kv.entry("a2").expires) == (LATER, None, None)
    assert json.loads(run(daemon, "export")[1].splitlines()[0]) == lines[0]


def test_the_last_of_two_lines_of_a_key_holds(daemon, kv):
    texts = [("1", None), ("2", LATER), ("3", None), ("4", LATER)]
    text = [json.dumps({"key": key, "value": v, "expires": e}) for key in "ab" for v, e in texts[: 3 + (key == "b")]]
    assert run(daemon, "import", "-", input="\n".join(text).encode())[0] == 0
    assert (kv.get("a"), kv.entry("a").expires) == (b"3", None)
    assert (kv.get("b"), kv.entry("b").expires) == (b"4", LATER)


@FORMS
def test_a_prefix(daemon, kv, tmp_path, form):
    kv.multiset({"user:1": "a", b"user:\xff": "b", "team:1": "c", "user": "d"})
    file = tmp_path / f"some.{form}"
    assert run(daemon, "export", file, "--prefix", "user:")[2].startswith("2 entries in ")
    kv.clear_prefix("")
    assert run(daemon, "import", file, "--prefix", "team:")[2].endswith(
        "; 2 left out, since they have another prefix\n"
    )
    assert run(daemon, "import", file, "--prefix", os.fsdecode(b"user:\xff"))[0] == 0
    assert list(kv.items()) == [(b"user:\xff", b"b")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_import_tells_how_to_go_on_and_so_it_comes_whole(daemon, kv, many, number):
    process = start_command(daemon, "import", "--url", daemon.commands, "--format", "jsonl", many)
    eventually(lambda: kv.count() >= 1000)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 128 + number
    assert f"interrupted by {number.name}" in said
    skip, words = resume_of(said)
    assert 1000 <= skip < 100_000
    assert words == ["import", "--format", "jsonl", "--url", daemon.commands, "--skip-lines", str(skip), str(many)]
    assert kv.count() == skip  # nothing is in flight any more, and the report is exact
    done = run_kvd(*words)
    assert (done.returncode, done.stderr.startswith(f"{100_000 - skip:,} entries in ")) == (0, True), done.stderr
    assert run(daemon, "export")[1] == b"".join(
        b'{"key":"%07d","value":"%b"}\n' % (n, b"x" * 100) for n in range(100_000)
    )


def test_an_import_that_waits_for_its_input_is_interrupted_at_once(daemon, kv):
    process = start_command(daemon, "import", stdin=subprocess.PIPE)
    time.sleep(1)
    used = cpu_seconds(SimpleNamespace(process=process))
    time.sleep(1)
    assert cpu_seconds(SimpleNamespace(process=process)) - used < 0.3  # it waits, it does not spin
    process.stdin.write("".join(map(line, range(450))).encode())
    process.stdin.flush()
    eventually(lambda: kv.count() == 450)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    said = process.stderr.read().decode()
    assert "450 lines of standard input are applied and durable" in said
    assert said.endswith("To resume: kvd import --skip-lines 450 < INPUT\n")
    process.communicate()


def test_a_daemon_that_hangs_is_left_at_the_second_signal(daemon, many):
    process = start_command(daemon, "import", many)
    with daemon.client() as kv:
        eventually(lambda: kv.count() >= 1000)
    daemon.signal(signal.SIGSTOP)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None  # the first one waits for what is in flight
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    daemon.signal(signal.SIGCONT)
    skip, _ = resume_of(process.stderr.read().decode())
    process.stderr.close()
    with daemon.client() as kv:
        assert kv.count() >= skip >= 1000


def test_a_lost_daemon_is_told_and_the_rest_comes_when_it_is_back(daemon, many):
    process = start_command(daemon, "import", many)
    with daemon.client() as kv:
        eventually(lambda: kv.count() >= 1000)
    daemon.kill()
    said = process.communicate(timeout=60)[1].decode()
    # 69: it was killed between two batches, and the next one found no daemon.
    reason = {75: "the connection broke before the reply", 69: "no daemon answers"}[process.returncode]
    assert reason in said
    skip, words = resume_of(said)
    daemon.start()
    with daemon.client() as kv:
        assert kv.count() >= skip >= 1000
        assert run(daemon, *words)[0] == 0
        assert kv.count() == 100_000


def test_no_daemon_is_told(make_daemon, many, tmp_path):
    daemon = make_daemon()
    code, _, said = run(daemon, "import", many)
    assert (
        code,
        f"no daemon answers at {daemon.commands} (No such file or directory)" in said,
        resume_of(said)[0],
    ) == (69, True, 0)
    code, _, said = run(daemon, "export", tmp_path / "out.jsonl")
    assert (code, "no daemon answers" in said, list(tmp_path.iterdir())) == (69, True, [many])


BAD = [
    ('{"key":"a"}\n', "has neither value nor value64"),
    (json.dumps({"key": "k" * (KEY_BYTES_MAX + 1), "value": ""}) + "\n", "the key has 4,097 bytes"),
    ('{"\\u009b2J":""}\n', "unknown field `\\x9b2J`"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
def test_a_bad_line_is_named_and_nothing_after_it_is_applied(daemon, kv, tmp_path, bad, message):
    file = tmp_path / "a b.jsonl"
    file.write_text("".join([*map(line, range(450)), bad, *map(line, range(450, 900))]))
    code, _, said = run(daemon, "import", file)
    assert (code, said.startswith(f"kvd: {file}:451: "), message in said) == (65, True, True), said
    assert kv.count() == 450
    assert resume_of(said) == (450, ["import", "--skip-lines", "450", str(file)])
    file.write_text(file.read_text().replace(bad, "\n"))
    assert run(daemon, *resume_of(said)[1])[0] == 0
    assert kv.count() == 900


def test_a_bad_row_of_csv(daemon, kv, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text('key,value,expires,encoding\na,"1\n2",,\nb,c\n')
    code, _, said = run(daemon, "import", file)
    assert (code, f"{file}:4: has 2 cells" in said, resume_of(said)[0]) == (65, True, 3)
    assert list(kv.items()) == [(b"a", b"1\n2")]


def test_what_the_daemon_refuses_is_told_with_its_lines(access_daemon, doors, reread, tmp_path):
    reread(ada={"role": "write", "prefixes": ["0000"]})
    file = tmp_path / "a.jsonl"
    other = json.dumps({"key": "other", "value": "", "expires": LATER}) + "\n"
    file.write_text("".join([*map(line, range(300)), other, *map(line, range(300, 310))]))
    own, server = doors.make("ada"), doors.directory / "daemon.key"
    options = ["--key", str(own), "--server-key", str(server)]
    code, _, said = run(access_daemon, "import", file, *options)
    assert code == 77
    assert f"kvd: {file}, line 301: DENIED: ada may not SET 'other'" in said
    assert resume_of(said) == (300, ["import", *options, "--skip-lines", "300", str(file)])
    code, _, said = run(access_daemon, "export", *options)
    assert (code, "DENIED: ada may not SCAN all keys" in said) == (77, True), said
    assert run(access_daemon, "export", "--prefix", "0000", *options)[1].count(b"\n") >= 300
    assert run(access_daemon, "export", "--key", own)[0] == 2
    assert run(access_daemon, "export", "--key", own, "--server-key", own)[0] == 77


def test_a_file_is_never_overwritten(daemon, kv, tmp_path):
    kv.set("a", "1")
    file, partial = tmp_path / "a.jsonl", tmp_path / "a.jsonl.partial"
    file.write_text("precious")
    code, _, said = run(daemon, "export", file)
    assert (code, said) == (73, f"kvd: {file} exists and is not overwritten\n")
    file.rename(partial)
    code, _, said = run(daemon, "export", file)
    assert (code, f"kvd: {partial} exists: another export is writing it" in said) == (73, True)
    assert partial.read_text() == "precious"
    code, _, said = run(daemon, "export", tmp_path / "no" / "a.jsonl")
    assert (code, said.startswith(f"kvd: {tmp_path}/no/a.jsonl.partial: No such file")) == (73, True), said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_nothing(daemon, kv, tmp_path, number):
    kv.set("a", "1")
    daemon.signal(signal.SIGSTOP)
    process = start_command(daemon, "export", tmp_path / "a.jsonl")
    eventually((tmp_path / "a.jsonl.partial").exists)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert process.stderr.read().decode() == f"kvd: interrupted by {number.name}\n"
    process.stderr.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_came_meanwhile_is_not_overwritten(daemon, kv, tmp_path):
    kv.set("a", "1")
    daemon.signal(signal.SIGSTOP)
    process = start_command(daemon, "export", tmp_path / "a.jsonl")
    eventually((tmp_path / "a.jsonl.partial").exists)
    (tmp_path / "a.jsonl").write_text("precious")
    daemon.signal(signal.SIGCONT)
    assert (process.wait(60), process.stderr.read().decode().count("is not overwritten")) == (73, 1)
    process.stderr.close()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.jsonl", "precious")]


def test_a_reader_that_goes_ends_an_export_quietly(daemon, kv):
    kv.multiset({b"%04d" % number: b"x" * 1000 for number in range(1000)})
    process = start_command(daemon, "export", stdout=subprocess.PIPE)
    assert process.stdout.readline().startswith(b'{"key":"0000"')
    process.stdout.close()
    assert process.wait(60) == -signal.SIGPIPE
    assert process.stderr.read() == b""
    process.stderr.close()


def test_an_output_that_is_full_is_told(daemon, kv):
    kv.set("a", "1")
    with Path("/dev/full").open("wb") as full:
        process = start_command(daemon, "export", stdout=full)
        assert process.wait(60) == 74
    assert process.stderr.read() == b"kvd: cannot write: No space left on device\n"
    process.stderr.close()


def test_inputs_that_cannot_be_read_and_lines_that_are_not_there(daemon, tmp_path):
    code, _, said = run(daemon, "import", tmp_path / "none")
    assert (code, said) == (66, f"kvd: {tmp_path}/none: No such file or directory\n")
    assert run(daemon, "import", "--skip-lines", 9, input=b"junk\n")[0] == 0
    assert run(daemon, "import", input=b"")[2].startswith("0 entries in ")
    assert run(daemon, "import", "--url", "nonsense", input=b"")[0] == 2


def test_a_terminal_shows_how_far_it_is(daemon, many):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "KVSH_URL": daemon.commands}
    process = subprocess.Popen([*KVD, "import", str(many)], stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:
        pass  # the other end is closed
    os.close(ours)
    assert process.wait(60) == 0
    first, *_, last = seen.decode().split("\r")[1:-1]
    assert re.fullmatch(r" *\d+% \[#*-*\]  [\d,]+ entries  [\d,]+/s  0:\d\d left *", first), first
    assert last.startswith("100,000 entries in ")


@pytest.mark.parametrize("command", ["export", "import"])
def test_help_has_an_example(command):
    done = run_kvd(command, "--help")
    assert (done.returncode, f"Example: kvd {command} monday.jsonl" in done.stdout) == (0, True)
    assert "KVSH_URL" in done.stdout
