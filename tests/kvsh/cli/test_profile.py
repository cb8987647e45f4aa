"""The configuration file: defaults, profiles, and what is said of a wrong one. Flag > environment > profile > file."""

import re

import click
import pytest

from kvsh.cli.app import command
from kvsh.cli.profile import SETTINGS, load


@pytest.fixture
def run_with_config(kvsh, daemon, tmp_path):
    """Return what runs kvsh with a configuration file; KVSH_URL is not set."""
    directory = tmp_path / "config" / "kvsh"
    directory.mkdir(parents=True)

    def run(text, *arguments, **changed):
        (directory / "config.toml").write_text(text.replace("DAEMON", daemon))
        changed.setdefault("KVSH_URL", "")
        return kvsh(*arguments, XDG_CONFIG_HOME=str(tmp_path / "config"), **changed)

    return run


def test_the_file_and_its_profiles_are_defaults(run_with_config, kv):
    kv.set("k", "v")
    assert run_with_config('url = "DAEMON"\nformat = "json"', "get", "k") == (0, b'"v"\n', "")
    there = 'url = "ipc:///nowhere"\ntimeout = 0.1\n[profiles.here]\nurl = "DAEMON"\nformat = "csv"\n'
    assert run_with_config(there, "get", "k")[0] == 3
    assert run_with_config(there, "--profile", "here", "get", "k")[:2] == (0, b"v\r\n")
    assert run_with_config(there, "get", "k", KVSH_PROFILE="here")[0] == 0
    assert run_with_config('profile = "here"\n' + there, "get", "k")[0] == 0


def test_the_flag_goes_before_the_environment_before_the_profile(run_with_config, kv):
    kv.set("k", "v")
    text = 'url = "DAEMON"\nformat = "csv"\nprofile = "p"\n[profiles.p]\nformat = "json"'
    assert run_with_config(text, "get", "k")[1] == b'"v"\n'
    assert run_with_config(text, "get", "k", KVSH_FORMAT="csv")[1] == b"v\r\n"
    assert run_with_config(text, "--format", "raw", "get", "k", KVSH_FORMAT="csv")[1] == b"v\n"
    assert run_with_config(text, "--json", "--format", "raw", "get", "k", KVSH_FORMAT="csv")[1] == b'"v"\n'


def test_all_that_is_wrong_is_told_with_its_line(run_with_config):
    text = 'vi = 3\ntimout = 1\n[profiles.a]\ntimeout = "5"\n[profiles."b"]\ncolor = "redd"\nformat = "jsn"\n'
    code, out, messages = run_with_config(text, "get", "k")
    assert (code, out) == (2, b"")
    for line in (
        "config.toml:1: vi is true or false",
        "config.toml:2: there is no setting 'timout': did you mean 'timeout'?",
        "config.toml:4: timeout is a number of seconds",
        "config.toml:6: color is one of black, red,",
        "config.toml:7: format: 'jsn' is not one of",
    ):
        assert line in messages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("url =", "config.toml:1: this is not TOML: Invalid value (at end of document); a text needs quotes: url = "),
        ("vi = true\nurl = tcp://h:1", "config.toml:2: this is not TOML: Invalid value (at line 2, column 7)"),
        ("vi = " + "[" * 5000, "config.toml: brackets are nested too deeply"),
        ("profiles = 3", "config.toml:1: profiles are tables: [profiles.NAME]"),
        ("vi = true\n[profiles]\nb = 3", "config.toml:3: profiles are tables: [profiles.b]"),
        ('[[profiles]]\nurl = "x"', "config.toml:1: profiles are tables: [profiles.NAME]"),
        ('profile = ["a"]', 'config.toml:1: profile is the name of one profile in quotes: profile = "test"'),
        ('vi = true\n[profile.test]\nurl = ""', "config.toml:2: a profile is a table [profiles.test], with an s"),
        ("[profile]", "config.toml:1: a profile is a table [profiles.NAME], with an s"),
        (
            'profile = "tset"\n[profiles.test]',
            "config.toml:1: there is no profile 'tset' in this file: did you mean 'test'?",
        ),
        ("timeout = 0\n", "config.toml:1: timeout: 0.0 is not in the range"),
        ("timeout = nan", "config.toml:1: timeout: nan is not a number of seconds"),
        ("timeout = 1" + "0" * 400, "config.toml:1: timeout: 1000000"),
        ("vi = true\nurl.host = 1", "config.toml:2: url is a text in quotes"),
        ("vi = true\n[url]\nhost = 1", "config.toml:2: url is a text in quotes"),
        ("profiles = { a = { url = 3 } }", "config.toml:1: url is a text in quotes"),
        ("profiles.a.vi = true\nprofiles.a.url = 3", "config.toml:2: url is a text in quotes"),
        ('url = "127.0.0.1:7411"', "config.toml:1: url: '127.0.0.1:7411' is not an endpoint"),
        ('url = "127.0.0.1:7411"', "(did you mean tcp://127.0.0.1:7411?)"),
        ('url = "tcp://h:99999"', "the port has to be 1 to 65535, not '99999'"),
        ('key = ""', "config.toml:1: key is the name of a file"),
        ('key = "\\u0000"', "config.toml:1: key is the name of a file"),
        ('vi = true\nkey = "a"', "config.toml:2: key needs server-key too"),
        ('vi = true\nserver-key = "a"', "config.toml:2: server-key needs key too"),
        ('key = "~nobody-here/k"\nserver-key = "s"', "config.toml:1: key)"),
        ("vi = true\nconfirm = 1", "config.toml:2: confirm is true or false"),
        ('startup = "PING"', "config.toml:1: startup is a list of commands in quotes: startup ="),
        ("startup = [1]", "config.toml:1: startup is a list of commands"),
        ("aliases = 3", "config.toml:1: aliases are a table: [aliases]"),
        ('[aliases]\nok = "PING"\nx = 3', "config.toml:3: an alias is a text in quotes"),
        (
            '[aliases]\nx = "GTE"',
            'config.toml:2: an alias stands for the beginning of a command: there is no command "GTE"',
        ),
        (
            '[aliases]\nx = "get \'a"',
            "config.toml:2: an alias stands for the beginning of a command: this quote is not closed",
        ),
        ('[profiles.p.aliases]\nget = "PING"', "config.toml:2: GET is a command, so it cannot be an alias"),
        ('[aliases]\n"a b" = "PING"', "config.toml:2: an alias is one word without quotes that begins with a letter"),
        ("pager = 3", "config.toml:1: pager is true or false, or a command line in quotes"),
        ("quiet = true", "there is no setting 'quiet': the settings are url, key,"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(run_with_config, text, message):
    code, _, messages = run_with_config(text, "ping")
    assert code == 2
    assert message in messages
    assert "Traceback" not in messages


KINDS = [
    "3",
    "1" + "0" * 400,
    "-1",
    "0.5",
    "1e400",
    "nan",
    "true",
    '""',
    '"x"',
    '"\\u0000"',
    "[]",
    '["a"]',
    "[[1]]",
    "{}",
    "{ a = 1 }",
    "{ a = {} }",
    "1979-05-27",
    "07:32:00",
    "1979-05-27T07:32:00Z",
]


@pytest.mark.parametrize("key", ["profile", "profiles", "nothing", *SETTINGS])
@pytest.mark.parametrize("is_in_profile", [False, True])
def test_any_kind_of_value_is_taken_or_told_with_its_place(tmp_path, key, is_in_profile):
    file = tmp_path / "config.toml"
    head, table = ("[profiles.p]", f"profiles.p.{key}") if is_in_profile else ("# a comment", key)
    for kind in KINDS:
        for text in (f"{key} = {kind}", f"{key}.a = {kind}", f"[{table}]\na = {kind}", f"[[{table}]]\na = {kind}"):
            file.write_text(f"{head}\n{text}\n")
            complaint = complaint_about(file, "p" if is_in_profile else None)
            assert complaint is None or re.match(rf"{re.escape(str(file))}:[23]: ", complaint), (text, complaint)


def complaint_about(file, profile):
    """Return what is said against a file, or None."""
    try:
        load(click.Context(command), str(file), profile)
    except click.UsageError as error:
        return error.message
    return None


def test_a_byte_order_mark_is_no_part_of_the_file(run_with_config, kv, tmp_path):
    kv.set("k", "v")
    assert run_with_config('\ufeffurl = "DAEMON"\nformat = "json"\n', "get", "k") == (0, b'"v"\n', "")


def test_bytes_that_are_no_text_are_told_with_their_line(kvsh, tmp_path):
    path = tmp_path / "config" / "kvsh" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_bytes(b'vi = true\nurl = "\xff"\n')
    assert "config.toml:2: this is not UTF-8" in kvsh("ping")[2]
    path.write_bytes("url = 1".encode("utf-16"))
    assert "config.toml:1: this is not UTF-8" in kvsh("ping")[2]
    path.unlink()
    path.symlink_to(tmp_path / "gone")
    code, _, messages = kvsh("ping")
    assert (code, "cannot read" in messages) == (2, True)


def test_a_profile_that_is_not_there_is_an_error(run_with_config, kvsh, tmp_path):
    assert "there is no profile 'x' in" in run_with_config("[profiles.a]\n[profiles.b]", "--profile", "x", "ping")[2]
    assert "it has: a, b" in run_with_config("[profiles.a]\n[profiles.b]", "--profile", "x", "ping")[2]
    code, _, messages = kvsh("--profile", "x", "ping", XDG_CONFIG_HOME=str(tmp_path / "none"))
    assert code == 2
    assert "there is no profile 'x'" in messages


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("KVSH_FORMAT", "jsn", "Invalid value for KVSH_FORMAT: 'jsn' is not one of"),
        ("KVSH_TIMEOUT", "nan", "Invalid value for KVSH_TIMEOUT: 'nan' is not a number of seconds"),
        ("KVSH_TIMEOUT", "abc", "Invalid value for KVSH_TIMEOUT: 'abc' is not a number of seconds"),
        ("KVSH_ECHO", "x", "Invalid value for KVSH_ECHO: 'x' is not a valid boolean"),
        ("KVSH_PROGRESS", "x", "Invalid value for KVSH_PROGRESS: 'x' is not a valid boolean"),
        ("KVSH_VI", "x", "Invalid value for KVSH_VI: 'x' is not a valid boolean"),
        ("KVSH_NO_COLOR", "x", "Invalid value for KVSH_NO_COLOR: 'x' is not a valid boolean"),
        ("KVSH_URL", "x", "(did you mean tcp://x:7411?) (KVSH_URL)"),
        ("KVSH_KEY", "x", "KVSH_KEY needs KVSH_SERVER_KEY too"),
        ("KVSH_PROFILE", "x", "there is no profile 'x'"),
    ],
)
def test_a_wrong_value_in_the_environment_names_the_variable(kvsh, name, value, message):
    code, _, messages = kvsh("ping", **{name: value})
    assert code == 2
    assert message in messages


def test_a_flag_with_a_wrong_value_is_named_itself(kvsh):
    assert "Invalid value for '--timeout'" in kvsh("--timeout", "abc", "ping")[2]
    assert "--key needs --server-key too" in kvsh("--key", "abc", "ping")[2]
    assert "is not an endpoint" in kvsh("--url", "abc", "ping")[2]
    assert "(--url)" in kvsh("--url", "abc", "ping")[2]


def test_what_is_said_of_one_run_has_no_variable(kvsh, kv):
    kv.set("k", "v")
    assert kvsh("get", "k", KVSH_QUIET="1", KVSH_SHORTCUT="json", KVSH_NO_NEWLINE="1", KVSH_SCAN="x")[1] == b"v\n"


CONFIGURED = """
startup = ["FORMAT RAW"]
[aliases]
users = "SCAN user:"
[profiles.mine]
url = "DAEMON"
confirm = false
pager = "sed 's/^/| /'"
startup = ["set started yes", "gte x", "set started no"]
[profiles.mine.aliases]
Last = "GET 'last one'"
"""


def test_a_profile_has_aliases_a_start_a_pager_and_a_history_of_its_own(terminal, kv, daemon, tmp_path):
    kv.set("last one", "1\n" * 30)
    kv.set("user:1", "")
    (tmp_path / "kvsh").mkdir()
    (tmp_path / "kvsh" / "config.toml").write_text(CONFIGURED.replace("DAEMON", daemon))
    shell = terminal("--profile", "mine", XDG_CONFIG_HOME=str(tmp_path), KVSH_URL=None)
    shell.shows("startup stopped at this line of config.toml: gte x")
    shell.shows("mine>")
    assert kv.get("started") == b"yes"
    shell.type("use\t")
    shell.shows("mine> users [AFTER key]")
    assert shell.color_of("users") == "green"
    shell.type("limit 1\r")
    shell.shows('1) 1) "user:1"')
    shell.type("format raw\rlast\r")
    shell.shows("| 1")
    shell.type("clearprefix user:\r")
    shell.until(lambda lines: any(line.endswith("> clearprefix user:") for line in lines) and lines[-1] == "mine>")
    assert kv.count("user:") == 0
    history = tmp_path / "state" / "kvsh" / "history-mine"
    assert b"+last\n" in history.read_bytes()
    assert not history.with_name("history").exists()


def test_the_start_and_the_aliases_at_a_plain_prompt(terminal, kv, daemon, tmp_path):
    kv.set("last one", "x")
    (tmp_path / "kvsh").mkdir()
    (tmp_path / "kvsh" / "config.toml").write_text(CONFIGURED.replace("DAEMON", daemon))
    shell = terminal("--profile", "mine", XDG_CONFIG_HOME=str(tmp_path), KVSH_URL=None, TERM="dumb")
    shell.shows("startup stopped at this line of config.toml: gte x")
    shell.shows("mine>")
    assert kv.get("started") == b"yes"
    shell.type("last\r")
    shell.shows('"x"')


def test_the_prompt_shows_a_profile_only_where_the_daemon_is_its(terminal, daemon, tmp_path):
    (tmp_path / "kvsh").mkdir()
    (tmp_path / "kvsh" / "config.toml").write_text(f'[profiles.mine]\nurl = "{daemon}"\n')
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "KVSH_URL": ""}
    for options, prompt in [([], "mine>"), (["--url", daemon], "data0>")]:
        shell = terminal("--profile", "mine", *options, **environment)
        shell.shows(prompt)
