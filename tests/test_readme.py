"""The README's blocks, as printed and in order, in one shell.

They run in a copy of the checkout and in a network of its own, since the README names ports. The short form has no
network and no systemd: a stand-in for pip looks whether the extra is installed, and the service is left out. The long
form leaves nothing out: it types everything in a Debian root that systemd-nspawn boots.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from support.examples import prepare_example
from support.running import ROOT
from system.test_unit import PIP, UNIT, in_root

README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SECTION = re.compile(r"^## (.*?)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
LINKS = re.findall(r"\]\((\S+?)\)", README)
NOT_COPIED = (".git", ".venv", ".data", "build", "dist", "__pycache__", ".*_cache", ".hypothesis")

PROMPT = ".data> "
PYTHON = ("read_keys", "Client()", "zmq.REQ", "zmq.SUB")  # a word that only one example has, its name here
WATCH_BY_HTTP = "curl -N 'http://127.0.0.1:7480/v1/watch?prefix=user:&since=0'"
# Commands that Ctrl-C ends, and the output they must have written before.
ENDLESS = {"kvsh watch user:": "user:0", WATCH_BY_HTTP: "user:", "zmq.SUB": "b'kuser:0'"}
STATUS = {"kvsh get country": 1}
# The output that a reader should see.
SEEN = {
    "printf 'SET a 1\\nGET a\\n' | make -s run": "OK\n1\n",
    ".venv/bin/kvsh --local .data get city": "Ahmedabad\n",
    ".venv/bin/kvsh --local .data info server": "core",
    "kvsh get city": "Ahmedabad\n",
    "kvsh < script.kv": "OK\nAda\n",
    "kvsh --json multiget city country": '["Ahmedabad",null]\n',
    "kvsh --stat -r 3": "ops",
    "kvsh --scan user:": "user:1\n",
    "curl http://127.0.0.1:7480/kv/city": "Ahmedabad",
    "Client()": "SET b'user:999'\n",
    "zmq.REQ": "['ERROR', 'UNKNOWN_COMMAND'",
    "read_keys": "b'Ada'\n",
}

PRELUDE = """\
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
fail() { printf '\\n:::FAILED: %s\\n' "$*"; exit 1; }
expect() { [ "$1" = "$2" ] || fail "the exit status is $2, not $1"; }
wait_until_it_listens() {
    until (: </dev/tcp/127.0.0.1/7411) 2>/dev/null; do kill -0 $daemon || fail "the daemon has ended"; sleep 0.1; done
}
end_when_seen() { # WORD OUTPUT PID
    for _ in $(seq 600); do
        kill -0 "$3" || { cat "$2"; fail "it has ended"; }
        grep -qF -- "$1" "$2" && { kill "$3"; wait "$3"; return; }
        kvsh set user:0 x >/dev/null; sleep 0.1
    done
    cat "$2"; fail "it did not write $1"
}
"""
STAND_IN = """\
#!{python}
import re, sys, tomllib
from importlib.metadata import version
extra = re.fullmatch(r"install --quiet -e \\.\\[(\\w+)\\]", " ".join(sys.argv[1:]))[1]
with open("pyproject.toml", "rb") as file:
    requirements = tomllib.load(file)["project"]["optional-dependencies"][extra]
print(*(version(re.match(r"[\\w.-]+", each)[0]) for each in requirements))
"""
# Packages that the README names or a machine with systemd has.
PACKAGES = "git,make,python3,python3-venv,curl,sudo,systemd,systemd-sysv,dbus,ca-certificates"
# The script that systemd runs at boot: a user with sudo types the README.
NEWCOMER = """\
id newcomer 2>/dev/null || useradd -s /bin/bash newcomer
echo "newcomer ALL=(ALL) NOPASSWD: ALL" >/etc/sudoers.d/newcomer
grep -q " $(hostname)$" /etc/hosts || echo "127.0.1.1 $(hostname)" >>/etc/hosts
chown -R newcomer: /home/newcomer
runuser -l newcomer -c "cd kvd && bash ../readme.sh"
printf '\\n:::STATUS %s\\n' $?
"""


class Step(NamedTuple):
    """One typed command: a line, the document that it reads, if any, and the answer that the README shows."""

    section: str
    name: str
    line: str
    body: str = ""
    answer: str = ""


def steps():
    """Return what the README has one type, in order. A session at a prompt is the input of the command before it."""
    found = []
    for section, text in SECTION.findall(README):
        for language, block in FENCED.findall(text):
            if language == "sh":
                found += [Step(section, line, line) for line in shell_lines(block)]
            elif language == "python":
                [name] = [word for word in PYTHON if word in block]
                found.append(Step(section, name, "python -u - <<'PY'", f"{block}PY\n"))
            else:
                lines = [line.removeprefix(PROMPT) for line in block.splitlines() if line.startswith(PROMPT)]
                session = "".join(f"{line}\n" for line in lines if not line.startswith("WATCH"))
                command = found.pop()
                line = f"KVSH_FORMAT=terminal {command.line} <<'KVSH'"
                answer = "".join(f"{line}\n" for line in block.splitlines() if not line.startswith(PROMPT))
                found.append(command._replace(line=line, body=f"{session}KVSH\n", answer=answer))
    return found


def shell_lines(block):
    """Return the commands of a block without comments; a continued line is one."""
    return [re.sub(r"\s+# .*", "", line) for line in re.sub(r"\\\n\s*", "", block).splitlines()]


def program(chosen):
    """Return the steps as a program of bash that names each one and stops at the first that goes wrong."""
    return PRELUDE + "".join(map(write_step, enumerate(chosen)))


def write_step(numbered):
    """Return one step of the program."""
    number, step = numbered
    head = f"printf '\\n:::{number}\\n'\n"
    if step.name in ENDLESS:
        line, cut, rest = step.line.partition(" <<")
        run = f'out=$(mktemp); {line} >"$out" 2>&1 {cut}{rest} & pid=$!\n{step.body}'
        return f'{head}{run}end_when_seen "{ENDLESS[step.name]}" "$out" $pid\n'
    after = "wait_until_it_listens\n" if "kvd serve" in step.line else f"expect {STATUS.get(step.name, 0)} $?\n"
    return f"{head}{step.line}\n{step.body}{after}"


def judge(chosen, transcript, status):
    """Look whether every step was run, and wrote what a reader is to see."""
    parts = re.split(r"\n:::(\d+)\n", transcript)
    said = [(chosen[int(number)], text) for number, text in zip(parts[1::2], parts[2::2], strict=True)]
    for step, text in said:
        assert (step.answer or SEEN.get(step.name, "")) in text, f"README, {step.section}: {step.name}\n{text}"
    assert status == 0, f"README, {said[-1:]}"
    assert [step for step, _ in said] == chosen


def test_what_ctrl_c_ends_is_the_last_of_its_block():
    """Ctrl-C also throws away what was pasted behind it."""
    for language, block in FENCED.findall(README):
        assert not [line for line in shell_lines(block)[:-1] if language == "sh" and line in ENDLESS]


def test_each_expectation_is_about_something_in_the_readme():
    assert (STATUS.keys() | SEEN.keys() | ENDLESS.keys()) <= {step.name for step in steps()}


def lone_network():
    """Return a command that runs another one in a network of its own, in which the loopback device is up."""
    up = (
        "import fcntl, os, socket, struct, sys\n"
        "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:\n"
        "    fcntl.ioctl(sock, 0x8914, struct.pack('16sh14x', b'lo', 0x41))\n"  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
        "os.execvp(sys.argv[1], sys.argv[1:])\n"
    )
    command = ["unshare", "-rn", sys.executable, "-c", up]
    if subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
        pytest.skip("the README's ports are used in a network of its own, and unshare -rn is not allowed here")
    return command


@pytest.fixture
def checkout(tmp_path):
    """Return a copy of the checkout that uses its environment, with a stand-in for pip."""
    copy = tmp_path / "kvd"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    environment, now = ROOT / ".venv", time.time()
    (copy / ".venv/bin").mkdir(parents=True)
    for path in [*environment.iterdir(), *(environment / "bin").iterdir()]:
        there = copy / path.relative_to(ROOT)
        if path.is_dir() and path.name != "bin":
            there.symlink_to(path)
        elif path.is_file() and path.parent == environment:
            shutil.copyfile(path, there)
            os.utime(there, (now, now))  # newer than all of the copy, so that make has nothing to install
        elif path.name != "pip" and path != environment / "bin":
            there.symlink_to(path)
    (copy / ".venv/bin/pip").write_text(STAND_IN.format(python=environment / "bin/python"))
    (copy / ".venv/bin/pip").chmod(0o755)
    return copy


@pytest.mark.skipif(not (ROOT / ".venv/bin/kvsh").exists(), reason="the README wants what `make` installs in .venv")
@pytest.mark.skipif(shutil.which("curl") is None, reason="the README's HTTP wants curl: apt-get install curl")
def test_every_block_works_as_printed_in_one_shell(checkout, tmp_path):
    chosen = [step for step in steps() if not step.line.startswith("sudo")]
    (tmp_path / "readme.sh").write_text(program(chosen))
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    command = [*lone_network(), "bash", str(tmp_path / "readme.sh")]
    with subprocess.Popen(
        command,
        cwd=checkout,
        env={**kept, "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            transcript, _ = process.communicate(timeout=300)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    print(transcript)
    judge(chosen, transcript, process.returncode)


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="booting a Debian root wants root")
@pytest.mark.skipif(
    not (shutil.which("systemd-nspawn") and shutil.which("debootstrap")),
    reason="this wants systemd-nspawn and debootstrap: apt-get install systemd-container debootstrap",
)
@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_a_newcomer_types_all_of_it_on_a_fresh_debian(release, tmp_path):
    """The network is the machine's, for pip, so its ports have to be free."""
    for port in (7411, 7412, 7480, 9411):
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))
    root = debian(release, tmp_path)
    home = root / "home/newcomer"
    shutil.copytree(ROOT, home / "kvd", ignore=shutil.ignore_patterns("*.so", *NOT_COPIED), symlinks=True)
    (home / "readme.sh").write_text(program(steps()))
    (root / "root/trial.sh").write_text(NEWCOMER)
    (root / "etc/systemd/system/trial.service").write_text(UNIT)
    in_root(root, "systemctl", "enable", "trial.service")
    options = ["--quiet", "--boot", "--console=pipe", "--register=no", "--keep-unit"]
    command = ["systemd-nspawn", *options, "--directory", str(root)]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=1800, check=False)
    transcript = (root / "root/transcript").read_text(encoding="utf-8", errors="replace")
    print(transcript)
    transcript, _, status = transcript.partition("\n:::STATUS ")
    judge(steps(), transcript, int(status or -1))


def debian(release, directory):
    """Return a fresh Debian root: made in KVD_TEST_ROOT once and copied, or made here."""
    made = Path(os.environ.get("KVD_TEST_ROOT", directory / "debian")).with_suffix(f".{release}")
    if not (made / "usr/bin/systemctl").exists():
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", release, str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    for path in map(Path, PIP):
        if path.exists():
            (made / path.relative_to("/")).unlink(missing_ok=True)
            shutil.copy(path, made / path.relative_to("/"))
    subprocess.run(["cp", "-a", made, directory / release], check=True)
    return directory / release


def run(text):
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True).stdout


def example(word):
    [text] = [text for language, text in FENCED.findall(README) if language == "python" and word in text]
    return text


def test_a_plain_req_socket_in_ten_lines(daemon):
    lines = run(prepare_example(example("zmq.REQ"), daemon)).splitlines()
    assert lines[:4] == [
        "['OK', 1, None]",
        "['OK', 1, b'Ahmedabad']",
        "['OK', 1, [b'Ahmedabad', None]]",
        "['OK', 2, 1]",
    ]
    assert lines[4].startswith("['ERROR', 'UNKNOWN_COMMAND'")


def test_a_plain_sub_socket_sees_its_prefix_only_and_all_of_it(daemon, kv):
    text = (
        prepare_example(example("zmq.SUB"), daemon)
        .replace("print(", "print(flush=True, *(")
        .replace("(body))", "(body)))")
    )
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    try:
        assert "HEARTBEAT" in process.stdout.readline()
        for number in range(50):
            kv.set(f"user:{number}", "x")
            kv.set(f"other:{number}", "x")
        topics = []
        while len(topics) < 50:
            topic = process.stdout.readline().split()[0]
            if topic != "b'c'":
                topics.append(topic)
        assert topics == [f"b'kuser:{number}'" for number in range(50)]
    finally:
        process.kill()
        process.communicate()


def test_the_python_client(daemon):
    lines = run(prepare_example(example("with Client() as kv"), daemon)).splitlines()
    assert len(lines) == 1000
    assert lines[-1].endswith("SET b'user:999'")


def test_links_work_outside_of_the_repository():
    """The README is also the page of a package index, where a path leads nowhere."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    assert {link.partition("/blob/")[0] for link in LINKS} <= {*urls.values(), "https://github.com/kvd-server/kvd"}


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_every_link_leads_somewhere(link):
    assert (ROOT / link.partition("/blob/main/")[2]).is_file()


def test_what_contributing_names_is_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:kvd|kvsh|tests|docs|man)/[\w./]+)`", text) + re.findall(r"\]\(([^):]+)\)", text)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []
