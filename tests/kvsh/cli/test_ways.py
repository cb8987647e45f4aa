"""Each option beside each way in: it acts, or it is refused with the ways to which it belongs."""

import json

import click
import pytest

from kvsh.cli import ways
from kvsh.cli.app import command

EVERYWHERE = {"url", "profile", "local", "key", "server_key", "timeout", "form", "shortcut", "no_color"}
# Arguments of the command line for each way in; the prompts need a terminal and are given to `check` alone.
WAYS = {
    ways.COMMAND: ["get", "k"],
    ways.SCRIPT: ["-f", "none.kv"],
    **{f"--{mode}": [f"--{mode}=" if mode == "scan" else f"--{mode}"] for mode in ways.MODES},
    ways.COMPLETION: ["--completion", "bash"],
    ways.PROMPT: [],
    ways.PLAIN: [],
}
TYPED = {
    "no_newline": ["-n"],
    "last_from_stdin": ["-x"],
    "quiet": ["-q"],
    "stop_on_error": ["-e"],
    "echo": ["--echo"],
    "dry_run": ["--dry-run"],
    "progress": ["--progress"],
    "pager": ["--pager"],
    "vi": ["--vi"],
    "file": ["-f", "a.kv"],
    "repeat": ["-r", "2"],
    "hook": ["--exec", "true"],
}
SETTINGS = {"url": "ipc:///d", "timeout": "1", "form": "json", "key": "k", "server_key": "s", "local": "d"}


def refusal(way, *arguments):
    """Return what is said against options beside a way, or None."""
    with command.make_context("kvsh", [*arguments, *WAYS[way]]) as context:
        options = dict(context.params)
        try:
            ways.check(context, way, ways.flag_names(context), options)
        except click.UsageError as error:
            return error.message
        return None


def test_every_option_is_in_one_of_the_tables():
    options = {each.name for each in command.params if isinstance(each, click.Option) and not each.is_eager}
    assert options == (EVERYWHERE | set(ways.BELONGS) | set(ways.MODES) | {"completion"}) - {"profile"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TYPED)
def test_an_option_acts_or_is_refused(way, name):
    message = refusal(way, *TYPED[name])
    if way in ways.BELONGS[name]:
        assert message is None or "exclude each other" in message
    else:
        assert message is not None
        assert message.startswith(f"{TYPED[name][0]} belongs to ")
        assert message.endswith(f", and this is {way}")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_acts_wherever_there_is_a_daemon(name):
    typed = [f"--{name.replace('_', '-').replace('form', 'format')}", SETTINGS[name]]
    assert [way for way in WAYS if refusal(way, *typed)] == [ways.COMPLETION]


@pytest.mark.parametrize("typed", [["--no-pager"], ["--no-progress"], ["--no-color"]])
@pytest.mark.parametrize("way", WAYS)
def test_what_turns_off_what_is_not_there_is_no_mistake(way, typed):
    assert refusal(way, *typed) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-e", "set", "k", "2"), "-e belongs to a script, and this is a command"),
        (("--echo", "set", "k", "2"), "--echo belongs to a script, and this is a command"),
        (("--dry-run", "--bigkeys"), "--dry-run belongs to a command or a script, and this is --bigkeys"),
        (("-r", "2", "--scan"), "-r belongs to a command, --stat or --latency, and this is --scan"),
        (("-i", "1", "incr", "k"), "-i is the time between the runs of a command: it needs -r N"),
        (("--dry-run", "-r", "2", "incr", "k"), "--dry-run and -r exclude each other"),
        (("--completion", "bash", "set", "k", "2"), "a command and --completion exclude each other"),
        (("--completion", "bash", "--stat"), "--stat and --completion exclude each other"),
        (("--local", "d", "--url", "ipc:///d", "set", "k", "2"), "--local and --url exclude each other"),
        (("--local", "d", "--key", "a", "--server-key", "b", "ping"), "--local and --key exclude each other"),
        (("-q", "watch"), "-q has no effect on WATCH: leave it out"),
        (("-n", "watch", "p"), "-n has no effect on WATCH: leave it out"),
        (("-r", "2", "watch"), "-r has no effect on WATCH: leave it out"),
        (("-0", "watch"), "-0 has no effect on WATCH: leave it out"),
        (("-0", "--stat"), "-0 belongs to a list: a command, a script or --scan, and this is --stat"),
        (("--bigkeys", "-0"), "-0 belongs to a list: a command, a script or --scan, and this is --bigkeys"),
        (("--exec", "true", "get", "k"), "--exec belongs to WATCH, and this is GET"),
        (("--exec", "true", "help"), "--exec belongs to WATCH, and this is HELP"),
        (("--exec", "true", "--json", "watch"), "--exec and -0, --raw, --json and the like exclude each other"),
        (("--format", "json", "watch", "p", "--exec", "true"), "--exec and --format exclude each other"),
        (("watch", "p", "--exec"), "--exec is the last option of WATCH: one word follows it, a command line in quotes"),
        (("watch", "p", "--exec", "echo", "a"), "--exec is the last option of WATCH"),
        (("-r", "2", "help"), "-r has no effect on HELP: leave it out"),
    ],
)
def test_what_would_be_ignored_is_refused_and_nothing_is_sent(kvsh, kv, arguments, message):
    kv.set("k", "1")
    code, out, messages = kvsh(*arguments)
    assert (code, out) == (2, b"")
    assert message in messages
    assert kv.get("k") == b"1"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--dry-run", "set", "k", "2"), 0),
        (("--dry-run", "clearprefix", ""), 0),
        (("--dry-run", "set", "k", "-x"), 0),
        (("--dry-run", "watch", "p"), 0),
        (("--dry-run", "help", "set"), 0),
        (("--dry-run", "set", "k"), 2),
        (("--dry-run", "begin"), 2),
        (("--dry-run", "set", "k", "2", "PX", "soon"), 2),
    ],
)
def test_a_dry_run_of_a_command_checks_its_words_and_sends_nothing(kvsh, kv, arguments, code):
    kv.set("k", "1")
    assert kvsh(*arguments, stdin=b"3")[:2] == (code, b"")
    assert kv.get("k") == b"1"


def test_a_dry_run_starts_no_daemon(kvsh, tmp_path):
    assert kvsh("--dry-run", "--local", str(tmp_path / "d"), "set", "k", "1") == (0, b"", "")
    assert not (tmp_path / "d").exists()


def test_help_takes_the_form_and_the_options_of_a_result(kvsh):
    text = kvsh("help", "get")[1]
    assert kvsh("-n", "help", "get")[1] == text.removesuffix(b"\n")
    assert kvsh("-q", "help", "get") == (0, b"", "")
    assert json.loads(kvsh("--json", "help", "get")[1]) == text.decode().removesuffix("\n")
    assert kvsh("--json", stdin=b"help get\n")[1] == kvsh("--json", "help", "get")[1]
    assert kvsh("-q", stdin=b"help get\n")[1] == b""


def test_progress_is_told_where_it_is_asked_for_even_if_results_are_not(kvsh, kv):
    kv.set("k", "1")
    assert "commands" in kvsh("-q", "--progress", stdin=b"get k\n" * 3)[2]
    assert "1 keys" in kvsh("--scan", "--progress")[2]
    assert "1 keys" in kvsh("-q", "--scan", "--progress")[2]
    assert kvsh("--scan")[2] == ""


def test_a_flag_goes_before_the_directory_of_the_environment(kvsh, kv, daemon, tmp_path):
    kv.set("k", "1")
    directory = str(tmp_path / "d")
    assert kvsh("--url", daemon, "get", "k", KVSH_LOCAL=directory) == (0, b"1\n", "")
    code, _, messages = kvsh("--key", "a", "--server-key", "b", "get", "k", KVSH_LOCAL=directory)
    assert code == 2
    assert "--key is for the daemon at --url, and KVSH_LOCAL starts one that has no keys" in messages
    assert not (tmp_path / "d").exists()


def test_a_profile_that_a_flag_names_goes_before_the_environment(kvsh, kv, daemon, configure, tmp_path):
    kv.set("k", "1")
    configure(f'[profiles.here]\nurl = "{daemon}"\n')
    assert kvsh("--profile", "here", "get", "k", KVSH_URL="ipc:///none")[:2] == (0, b"1\n")
    assert kvsh("--profile", "here", "get", "k", KVSH_LOCAL=str(tmp_path / "d"))[:2] == (0, b"1\n")
    assert kvsh("--profile", "here", "--url", "ipc:///none", "get", "k", KVSH_URL=daemon)[0] == 3
    assert kvsh("get", "k", KVSH_PROFILE="here", KVSH_URL="ipc:///none")[0] == 3


def test_a_daemon_of_its_own_is_not_given_the_keys_of_the_file(kvsh, kv, configure, tmp_path):
    configure('key = "a.key_secret"\nserver-key = "b.key"\n')
    assert kvsh("--local", str(tmp_path / "d"), "ping") == (0, b"PONG\n", "")


def test_quiet_says_nothing_of_a_conflict(kvsh, kv):
    kv.set("lock", "1")
    assert kvsh("-q", "set", "lock", "2", "NX") == (5, b"", "")
    assert kvsh("set", "lock", "2", "NX", "-q") == (5, b"", "")
    assert kvsh("-q", "--json", "set", "lock", "2", "NX") == (5, b"", "")
    code, _, messages = kvsh("set", "lock", "2", "NX")
    assert (code, messages[:14]) == (5, "kvsh: CONFLICT")
    code, _, messages = kvsh("-q", "incr", "lock", "x")
    assert (code, messages[:5]) == (2, "kvsh:")
