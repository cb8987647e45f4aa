"""Completion in bash, zsh and fish: what fits a place, how it is quoted, and that the real shells take it so."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import pytest
from support import forks
from support.kvsh_cases import KVSH, PATIENCE_S
from support.shells import NO_CONFIGURATION, each_shell

from kvsh.grammar.shell import SHELL_WORDS

SETUP = {
    "bash": 'eval "$(kvsh --completion bash)"',
    "zsh": 'autoload -Uz compinit; compinit -u -D; eval "$(kvsh --completion zsh)"',
    "fish": 'function fish_prompt; echo "> "; end; kvsh --completion fish | source',
}

# What fits a place: asked as bash asks


@pytest.fixture
def patient(tmp_path):
    """Return a kvsh that waits for its keys, however busy the machine is."""
    program = tmp_path / "bin" / "kvsh"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys, kvsh.cli.app, kvsh.cli.candidates as offered\n"
        f"offered.WAIT_S_MIN = offered.WAIT_S_MAX = {PATIENCE_S}\n"
        "from kvsh.__main__ import main\n"
        "sys.exit(main())\n"
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def answer(kv, environment, tmp_path):
    """Return what asks for the completion of a line, and gives (what it is, the texts)."""

    def ask(line, replaced=None, shell="bash", program=KVSH[0], **changed):
        word = re.split(r"[ :=]", line)[-1] if replaced is None else replaced
        asked = {"_KVSH_COMPLETE": f"{shell}_complete", "COMP_LINE": line, "COMP_WORD": word}
        environ = {**environment, "XDG_CONFIG_HOME": str(tmp_path), **asked, **changed}
        done = forks.run([str(program)], stdin=subprocess.DEVNULL, env=environ)
        assert (done.returncode, done.stderr) == (0, b"")
        kind, *found = os.fsdecode(done.stdout).removesuffix("\n").split("\n")
        return kind, found

    return ask


@pytest.fixture
def answers(answer, patient):
    """Return what compares the answer to a line with what is expected."""

    def compare(line, *arguments, expected, **changed):
        assert answer(line, *arguments, program=patient, **changed) == expected

    return compare


@pytest.fixture
def keys(kv):
    for key in ("user:1", "user:2", "user:10", "order:1", "-k", "-n", "-x", "limit", "ex"):
        kv.set(key, f"value of {key}")


@pytest.mark.parametrize(
    ("line", "kind", "texts"),
    [
        ("kvsh ge", "word", ["get", "getrange", "getex"]),
        ("kvsh GE", "word", ["GET", "GETRANGE", "GETEX"]),
        ("kvsh --url tcp://127.0.0.1:1 --json mu", "word", ["multiget", "multiset"]),
        ("kvsh be", "word", []),  # BEGIN works in a script only
        ("kvsh help be", "word", ["begin"]),
        ("kvsh --fo", "word", ["--format"]),
        ("kvsh --no-p", "word", ["--no-progress", "--no-pager"]),
        ("kvsh --format ", "word", ["terminal", "pretty", "raw", "json", "csv", "nul"]),
        ("kvsh --format=js", "word", ["json"]),
        ("kvsh -f ", "file", []),
        ("kvsh --file=/e", "file", []),
        ("kvsh --key ", "file", []),
        ("kvsh --local ", "dir", []),
        ("kvsh source ", "file", []),
        ("kvsh -x set k <", "file", []),
        ("kvsh -x set k 2>e", "file", []),
        ("kvsh set k v ", "word", ["EX", "PX", "AT", "KEEPTTL", "NX", "XX", "REVISION", "PREVIOUS"]),
        ("kvsh set k v nx ke", "word", ["keepttl"]),
        ("kvsh set k ", "word", []),
        ("kvsh bogus us", "word", None),
        ("kvsh get a us", "word", []),
        ("kvsh --profile none get us", "word", []),
        ("kvsh get us", "word", ["user:1", "user:10", "user:2"]),
        ("kvsh -- get us", "word", ["user:1", "user:10", "user:2"]),
        ("kvsh get user:1", "word", ["1", "10"]),
        ("kvsh clear user:1 us", "word", ["user:10", "user:2"]),
        ("kvsh set us", "word", ["user:1", "user:10", "user:2"]),
        ("kvsh multiset user:1 v us", "word", ["user:10", "user:2"]),
        ("kvsh count u", "stem", ["user:", "user:1", "user:10", "user:2"]),
        ("kvsh watch o", "word", ["order:1"]),
        ("kvsh info st", "word", ["store"]),
        ("kvsh config fsy", "word", ["fsync"]),
        ("kvsh --scan u", "stem", ["user:", "user:1", "user:10", "user:2"]),
        ("kvsh --scan=o", "word", ["order:1"]),
        ("kvsh $(pwd) get us", "word", None),
        ("kvsh get $(pwd)", "word", []),
        ("kvsh get -", "word", ["-x", "-k", "-n"]),  # -x is the option here, not the key
        ("kvsh -- get -", "word", ["-k", "-n", "-x"]),
        ("kvsh get k --", "word", ["--terminal", "--pretty", "--raw", "--json", "--csv", "--nul"]),
        ("kvsh get k -", "word", ["-n", "-q", "-0", "--terminal", "--pretty", "--raw", "--json", "--csv", "--nul"]),
        ("kvsh -- get k -", "word", []),
        ("kvsh set k v l", "word", []),
        ("kvsh scan l", "word", ["limit"]),  # the option, once: a key of that name looks the same
        ("kvsh get l", "word", ["limit"]),
        ("kvsh set e", "word", ["ex"]),
    ],
)
def test_what_fits_a_place(answers, keys, line, kind, texts):
    answers(line, expected=("", []) if texts is None else (kind, texts))


@pytest.mark.parametrize(
    ("line", "replaced", "texts"),
    [
        ('kvsh get "user:1', "user:1", ["user:1", "user:10"]),
        ("kvsh get 'user:1", "user:1", ["user:1", "user:10"]),
        ('kvsh get "us"er:1', "1", ["1", "10"]),
        ('kvsh get "us"er', '"us"er', ["user:1", "user:10", "user:2"]),
        ("kvsh get user:$'1", "1", ["1", "10"]),
        ("kvsh get us\\", "us\\", []),
        ("kvsh get user:1", "elsewhere", None),
    ],
)  # fmt: skip
def test_only_what_readline_replaces_is_given(answers, keys, line, replaced, texts):
    answers(line, replaced, expected=("", []) if texts is None else ("word", texts))


def test_an_escape_is_never_inserted_by_half(answers, kv):
    kv.set("zz a", "1")
    kv.set("zz$", "2")
    answers("kvsh get z", expected=("word", [r"zz\ a", r"zz\$", "zz"]))


def test_what_many_keys_have_in_common_is_what_all_have(answers, kv):
    for number in range(150):
        kv.set(f"user:{number:03}", "")
    kv.set("usher", "")
    kv.set("usual", "")
    first = [f"user:{number:03}" for number in range(100)]
    answers("kvsh get u", expected=("word", [*first, "user:100", "usher"]))
    answers("kvsh get user:1", expected=("word", [f"1{number:02}" for number in range(50)]))


def test_a_key_that_no_later_one_can_be_told_from_ends_the_search(answers, kv):
    for number in range(101):
        kv.set(f"k{number:03}", "")
    kv.set(b"k\xff1", "")
    answers("kvsh get ", expected=("word", [f"k{number:03}" for number in range(101)]))


def test_bash_is_shown_what_each_is_when_it_only_lists(answers, keys):
    listing = {"COMP_TYPE": str(ord("?"))}
    line = "ttl  Return how long a key has to live."
    answers("kvsh tt", expected=("word", [line]), **listing)
    answers("kvsh get user:1", expected=("word", ["user:1", "user:10"]), **listing)


def test_zsh_and_fish_are_told_what_each_is(answers, keys):
    about = "Return how long a key has to live."
    answers("kvsh tt", expected=(f"word\tttl\tttl  {about}", []), shell="zsh")
    answers("kvsh tt", expected=(f"word\tttl\t{about}", []), shell="fish")
    answers("kvsh --format=j", expected=("word\t--format=json\t", []), shell="zsh")
    answers("kvsh count o", expected=("key\torder:1\t", []), shell="fish")
    answers("kvsh -f ", expected=("file", []), shell="fish")


def test_profiles_complete_and_choose_the_daemon(answers, keys, environment, tmp_path):
    (tmp_path / "kvsh").mkdir()
    url = environment["KVSH_URL"]
    file = tmp_path / "kvsh" / "config.toml"
    file.write_text(f'[profiles.here]\nurl = "{url}"\n[profiles.there]\nurl = "ipc:///none"\n')
    answers("kvsh --profile h", expected=("word", ["here"]))
    answers("kvsh --profile here get o", expected=("word", ["order:1"]), KVSH_URL="")
    file.write_text("url = 1\n")
    answers("kvsh get o", expected=("word", []))
    answers("kvsh --profile h", expected=("word", []))
    file.write_text("no toml")
    answers("kvsh --profile h", expected=("", []))


def test_the_line_says_which_daemon(answer, answers, keys, environment):
    url = environment["KVSH_URL"]
    assert answer("kvsh --url ipc:///tmp/kvsh-none get o") == ("word", [])
    assert answer("kvsh --url nonsense get o") == ("word", [])
    assert answer("kvsh --key /none get o") == ("word", [])
    assert answer("kvsh --key /none --server-key /none get o") == ("word", [])
    answers(f"kvsh --url={url} get o", expected=("word", ["order:1"]), KVSH_URL="ipc:///tmp/kvsh-none")
    answers("kvsh --url=$URL get o", expected=("word", ["order:1"]), KVSH_URL="ipc:///tmp/kvsh-none", URL=url)


def test_local_asks_the_daemon_that_is_there_and_starts_none(answer, answers, keys, daemon, tmp_path):
    directory = os.path.dirname(daemon.removeprefix("ipc://"))  # noqa: PTH120
    answers(f"kvsh --local {directory} get o", expected=("word", ["order:1"]), KVSH_URL="ipc:///tmp/kvsh-none")
    (tmp_path / "data").mkdir()
    for there in (tmp_path / "data", tmp_path / "none"):
        assert answer(f"kvsh --local {there} get o") == ("word", [])
    assert list((tmp_path / "data").iterdir()) == []
    assert not (tmp_path / "none").exists()


def test_a_daemon_that_hangs_is_not_waited_for(answer, answers, make_daemon):
    there = make_daemon().start()
    with there.client() as client:
        client.set("user:1", "Ada")
    answers("kvsh get u", expected=("word", ["user:1"]), KVSH_URL=there.commands)
    there.signal(signal.SIGSTOP)
    assert answer("kvsh get u", KVSH_URL=there.commands) == ("word", [])
    there.signal(signal.SIGCONT)
    answers("kvsh get u", expected=("word", ["user:1"]), KVSH_URL=there.commands)
    there.kill()
    assert answer("kvsh get u", KVSH_URL=there.commands) == ("word", [])


def test_a_word_of_the_shell_is_offered_when_it_works_alone(answer, kvsh):
    for each in SHELL_WORDS:
        name = each.command_name()
        is_offered = name.lower() in answer(f"kvsh {name.lower()}")[1]
        if name != "WATCH":  # it works, until it is interrupted
            message = kvsh(name, *{"SOURCE": ["x"], "EVERY": ["1", "ping"]}.get(name, []))[2]
            assert ("works in a script or at the prompt" in message) is not is_offered
        assert is_offered is (name in ("HELP", "WATCH"))


def test_completion_loads_neither_asyncio_nor_the_prompt(keys, environment):
    program = "import sys, atexit; atexit.register(lambda: print(*sys.modules)); import kvsh.__main__ as m; m.main()"
    asked = {"_KVSH_COMPLETE": "bash_complete", "COMP_LINE": "kvsh get u", "COMP_WORD": "u"}
    command = [sys.executable, "-c", f"import sys; sys.argv[0] = 'kvsh'; {program}"]
    done = subprocess.run(command, capture_output=True, text=True, env={**environment, **asked}, timeout=60, check=True)
    modules = set(done.stdout.split())
    assert {"kvsh.cli.completion", "kvd.client.stream"} <= modules
    assert not {"asyncio", "prompt_toolkit", "sqlite_utils", "kvsh.cli.local", "kvd.client.sync"} & modules


# The shells themselves


@each_shell
def test_the_script_is_printed_and_has_no_mistake(kvsh, environment, shell, tmp_path):
    code, script, messages = kvsh("--completion", shell)
    assert (code, messages) == (0, "")
    assert script.startswith(b"#")
    (tmp_path / "script").write_bytes(script)
    command = [*NO_CONFIGURATION[shell], "-n", str(tmp_path / "script")]
    assert subprocess.run(command, capture_output=True, timeout=60, check=True).stderr == b""
    asked = {**environment, "_KVSH_COMPLETE": f"{shell}_source"}
    assert subprocess.run(KVSH, capture_output=True, env=asked, timeout=60, check=True).stdout == script


def test_another_shell_is_an_error(kvsh):
    assert kvsh("--completion", "csh")[0] == 2
    assert kvsh(_KVSH_COMPLETE="csh_complete")[1] == b""


class Interactive:
    """A shell on a pty."""

    def __init__(self, shell, environment):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            termios.tcsetwinsize(0, (40, 200))
            os.execvpe(NO_CONFIGURATION[shell][0], NO_CONFIGURATION[shell], environment)
        self.type("echo REA''DY\r")
        self.until(b"READY")
        self.type(f"{SETUP[shell]}; echo DO''NE\r")
        self.until(b"DONE")

    def type(self, text):
        os.write(self.fd, text.encode())

    def until(self, *found):
        """Read until one of these comes; return it."""
        limit = time.monotonic() + PATIENCE_S
        while not any(text in self.seen for text in found):
            assert time.monotonic() < limit, f"none of {found} came, but {self.seen!r}"
            if select.select([self.fd], [], [], 0.5)[0]:
                self.seen += os.read(self.fd, 65536)
        text = next(text for text in found if text in self.seen)
        self.passed, _, self.seen = self.seen.partition(text)
        return text

    def close(self):
        os.close(self.fd)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def interactive(kv, environment, patient, tmp_path):
    """Return what starts a shell in which kvsh completes."""
    opened = []

    def start(shell, program=patient):
        path = f"{os.path.dirname(program)}:{os.environ['PATH']}"  # noqa: PTH120
        home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
        own = {"PATH": path, "TERM": "xterm", "LC_ALL": "C.UTF-8", "HISTFILE": "/dev/null"}
        opened.append(Interactive(shell, {**environment, **home, **own}))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


# What is typed before the Tab, and the key that it begins.
TYPED = [
    ("us", b"user:1"),
    ("user:", b"user:1"),
    ('"us', b"user:1"),
    ("'user:", b"user:1"),
    ('user:"', b"user:1"),
    ("a", b"a b"),
    ('"a', b"a b"),
    ("'a ", b"a b"),
    (r"a\ ", b"a b"),
    ("it", b"it's"),
    ('"it', b"it's"),
    ("do", b"do$lar"),
    ('"do', b"do$lar"),
    ("q", b'q"q'),
    ("'q", b'q"q'),
    ("bang", b"bang!x"),
    ("back", b"back\\s"),
    ("st", b"st*r?[x]{y}"),
    ("semi", b"semi;c&d|e>f<g(h)"),
    ("tick", b"tick`x`"),
    ("ha", b"ha#sh"),
    ("x=", b"x=y"),
    ("\\=", b"=x"),
    ("e@", b"e@mail"),
    ("bad", b"bad\xff"),
    ("ctl", b"ctl\x1b"),
    ("\u00e9", "\u00e9t\u00e9".encode()),
    (r"\~", b"~t"),
    ("-k", b"-key"),
    ("new", b"new\nline"),
    ("tab", b"tab\tb"),
]
UNTOLD = {"fish": (b"new\nline", b"tab\tb")}


@each_shell
def test_the_key_is_what_the_shell_passes_on(interactive, kv, shell):
    completed = [(typed, key) for typed, key in TYPED if key not in UNTOLD.get(shell, ())]
    for number, key in enumerate(sorted({key for _, key in completed})):
        kv.set(key, f"VALUE-{number}-")
    terminal = interactive(shell)
    for typed, key in completed:
        terminal.type(f"kvsh --terminal get {typed}\t\r")
        found = terminal.until(kv.get(key), b"(nil)", b"kvsh: ")
        assert found == kv.get(key), (typed, key)


@each_shell
def test_what_keys_have_in_common_is_inserted_and_typing_goes_on(interactive, kv, shell):
    kv.set("user:1", "VALUE-1-")
    kv.set("user:2", "VALUE-2-")
    terminal = interactive(shell)
    terminal.type("kvsh --terminal get us\t2\r")
    assert terminal.until(b"VALUE-2-", b"(nil)") == b"VALUE-2-"


@each_shell
def test_commands_are_listed_with_what_they_do(interactive, shell):
    terminal = interactive(shell)
    terminal.type("kvsh clear\t\t")
    terminal.until(b"Delete keys and return how many existed.")


@each_shell
def test_files_complete_where_one_is_named(interactive, environment, shell, tmp_path):
    (tmp_path / "a script.kv").write_text("PING VALUE-1-\n")
    terminal = interactive(shell)
    terminal.type(f"kvsh -f {tmp_path}/a\t\r")
    terminal.until(b"VALUE-1-")
    terminal.type(f"kvsh --file={tmp_path}/a\t\r")
    terminal.until(b"VALUE-1-")


@each_shell
def test_without_a_daemon_the_line_stays_as_it_is(interactive, shell):
    terminal = interactive(shell, KVSH[0])
    terminal.type("kvsh --timeout 0.1 --url ipc:///tmp/kvsh-none get us\t\r")
    terminal.until(b"kvsh: GET: no daemon answers")
    assert b"Traceback" not in terminal.passed
    assert b"get us" in terminal.passed
    terminal.type("echo us\tage\r")
    terminal.until(b"usage")


@each_shell
def test_the_program_that_is_typed_is_asked_and_its_messages_are_not_seen(interactive, kv, shell, tmp_path):
    (tmp_path / "kvsh").write_text(
        f'#!/bin/sh\necho NOISE >&2\necho "$_KVSH_COMPLETE" >>{tmp_path}/log\nexec {KVSH[0]} "$@" PONGS\n'
    )
    (tmp_path / "kvsh").chmod(0o755)
    terminal = interactive(shell)
    terminal.type("~/kvsh pin\t\r")
    terminal.until(b"PONGS")
    assert terminal.passed.count(b"NOISE") == 1  # when the line ran
    assert b"ping" in terminal.passed
    assert (tmp_path / "log").read_text() == f"{shell}_complete\n\n"


def test_an_alias_completes_in_bash(interactive):
    terminal = interactive("bash")
    terminal.type("alias kv=kvsh; complete -F _kvsh_completion kv\r")
    terminal.type("kv pin\t\r")
    terminal.until(b"PONG")
