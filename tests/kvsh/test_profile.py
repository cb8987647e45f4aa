"""The configuration file: defaults, profiles, and what is said of a wrong one. Flag > environment > profile > file."""

import pytest


@pytest.fixture
def configured(kvsh, daemon, tmp_path):
    """Return what runs kvsh with a configuration file; KVSH_URL is not set."""
    directory = tmp_path / "config" / "kvsh"
    directory.mkdir(parents=True)

    def run(text, *arguments, **changed):
        (directory / "config.toml").write_text(text.replace("DAEMON", daemon))
        changed.setdefault("KVSH_URL", "")
        return kvsh(*arguments, XDG_CONFIG_HOME=str(tmp_path / "config"), **changed)

    return run


def test_the_file_and_its_profiles_are_defaults(configured, kv):
    kv.set("k", "v")
    assert configured('url = "DAEMON"\nformat = "json"', "get", "k") == (0, b'"v"\n', "")
    there = 'url = "ipc:///nowhere"\ntimeout = 0.1\n[profiles.here]\nurl = "DAEMON"\nformat = "csv"\n'
    assert configured(there, "get", "k")[0] == 3
    assert configured(there, "--profile", "here", "get", "k")[:2] == (0, b"v\r\n")
    assert configured(there, "get", "k", KVSH_PROFILE="here")[0] == 0
    assert configured('profile = "here"\n' + there, "get", "k")[0] == 0


def test_the_flag_goes_before_the_environment_before_the_profile(configured, kv):
    kv.set("k", "v")
    text = 'url = "DAEMON"\nformat = "csv"\nprofile = "p"\n[profiles.p]\nformat = "json"'
    assert configured(text, "get", "k")[1] == b'"v"\n'
    assert configured(text, "get", "k", KVSH_FORMAT="csv")[1] == b"v\r\n"
    assert configured(text, "--format", "raw", "get", "k", KVSH_FORMAT="csv")[1] == b"v\n"
    assert configured(text, "--json", "--format", "raw", "get", "k", KVSH_FORMAT="csv")[1] == b'"v"\n'


def test_all_that_is_wrong_is_told_with_its_line(configured):
    text = 'vi = 3\ntimout = 1\n[profiles.a]\ntimeout = "5"\n[profiles."b"]\ncolor = "redd"\nformat = "jsn"\n'
    code, out, messages = configured(text, "get", "k")
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
    ("text", "told"),
    [
        ("url =", "is no TOML: Invalid value (at end of document)"),
        ("profiles = 3", "profiles are tables: [profiles.NAME]"),
        ("timeout = 0\n", "config.toml:1: timeout: 0.0 is not in the range"),
        ("timeout = nan", "config.toml:1: timeout: nan is not a number of seconds"),
    ],
)
def test_a_file_that_cannot_be_used_is_an_error(configured, text, told):
    code, _, messages = configured(text, "ping")
    assert code == 2
    assert told in messages


def test_a_profile_that_is_not_there_is_an_error(configured, kvsh, tmp_path):
    assert "there is no profile 'x' in" in configured("[profiles.a]\n[profiles.b]", "--profile", "x", "ping")[2]
    assert "it has: a, b" in configured("[profiles.a]\n[profiles.b]", "--profile", "x", "ping")[2]
    code, _, messages = kvsh("--profile", "x", "ping", XDG_CONFIG_HOME=str(tmp_path / "none"))
    assert code == 2
    assert "there is no profile 'x'" in messages


def test_a_wrong_value_in_the_environment_is_an_error(kvsh):
    assert kvsh("ping", KVSH_FORMAT="jsn")[0] == 2
    assert kvsh("ping", KVSH_TIMEOUT="nan")[0] == 2


def test_what_is_said_of_one_run_has_no_variable(kvsh, kv):
    kv.set("k", "v")
    assert kvsh("get", "k", KVSH_QUIET="1", KVSH_SHORTCUT="json", KVSH_NO_NEWLINE="1", KVSH_SCAN="x")[1] == b"v\n"


def test_the_prompt_shows_a_profile_only_where_the_daemon_is_its(terminal, daemon, tmp_path):
    (tmp_path / "kvsh").mkdir()
    (tmp_path / "kvsh" / "config.toml").write_text(f'[profiles.mine]\nurl = "{daemon}"\n')
    environment = {"XDG_CONFIG_HOME": str(tmp_path), "KVSH_URL": ""}
    for options, prompt in [([], "mine>"), (["--url", daemon], "data0>")]:
        shell = terminal("--profile", "mine", *options, **environment)
        shell.shows(prompt)
