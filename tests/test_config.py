"""How a daemon is set up: flags, environment, file, default; every mistake reported at once, with its place."""

import contextlib
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from kvd.cli import main
from kvd.config import LISTEN, OPTIONS, Config, settings, template, to_toml
from kvd.errors import BadConfiguration

ROOT = Path(__file__).resolve().parent.parent
LIST = f'a list, as ["{LISTEN}"]'


@pytest.fixture
def written(tmp_path):
    """Write a file of options; return its path."""

    def write(text):
        path = tmp_path / "kvd.toml"
        path.write_text(text)
        return path

    return write


def mistakes(text, written, environment=(), flags=()):
    path = written(text)
    with pytest.raises(BadConfiguration) as refused:
        settings(dict(flags), dict(environment), path)
    return str(refused.value).replace(str(path), "F").splitlines()


def test_the_default_of_everything_is_that_of_the_fields():
    found = settings({}, {})
    assert found.config == Config()
    assert {told["source"] for told in found.as_map().values()} == {"default"}


def test_a_flag_goes_before_the_environment_that_before_the_file_that_before_the_default(written):
    path = written('kept_changes = 1\nkept_bytes = 2000000\nlog_level = "error"\n')
    environment = {"KVD_KEPT_CHANGES": "2", "KVD_LOG_LEVEL": "warning", "KVD_LISTEN": "tcp://a:1 tcp://b:2"}
    found = settings({"kept_changes": 3, "publish": ()}, environment, path)
    assert (found.config.kept_changes, found.config.log_level, found.config.kept_bytes) == (3, "warning", 2_000_000)
    assert found.config.listen == ("tcp://a:1", "tcp://b:2")
    assert found.sources == {
        "kept_changes": "--kept-changes",
        "log_level": "KVD_LOG_LEVEL",
        "kept_bytes": f"{path}:2",
        "listen": "KVD_LISTEN",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('lisen = ["tcp://127.0.0.1:1"]', "F:1: lisen: unknown option; did you mean listen?"),
        ('\n\nfsync = "allways"', "F:3: fsync: it must be one of always, interval, never"),
        ('kept_changes = "7"', "F:1: kept_changes: it must be a whole number, not text in quotes"),
        ("kept_changes = 0", "F:1: kept_changes: it must be a whole number >= 1"),
        ("kept_bytes = 1.5", "F:1: kept_bytes: it must be a whole number, not float"),
        ('listen = "tcp://127.0.0.1:1"', f"F:1: listen: it must be {LIST}, not text in quotes"),
        ("listen = []", f"F:1: listen: it must be {LIST} of length >= 1"),
        ("data = 5", "F:1: data: it must be a path in quotes"),
        ('key = ""', "F:1: key: it must be a path in quotes"),
        ('group = ""', "F:1: group: it is empty"),
        ('key = "k"', "key and access go together: the daemon's keys, and the file of its clients (see kvd keygen)"),
        ('publish = ["tcp://127.0.0.1:7411"]', f"{LISTEN} is listed twice: each endpoint needs its own address"),
        ("# fine\nfsync = always", "F:2: invalid value; text needs quotes"),
        ('fsync = "always', "F:1: Unterminated string"),
        ("[server]\nport = 1", f"F:1: server: unknown option; the options are {', '.join(OPTIONS)}"),
        ('"log-level" = "info"', "F:1: log-level: unknown option; did you mean log_level?"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_what_would_be_right(text, said, written):
    assert mistakes(text, written) == [said]


def test_all_mistakes_are_told_at_once(written):
    text = 'fsync = "x"\nport = 1\nkept_bytes = 1\n'
    said = mistakes(text, written, {"KVD_LOG_LEVEL": "loud"}, {"listen": ("tcp://a:1", "tcp://a:1")})
    assert [line.partition(": ")[0] for line in said] == [
        "F:1",
        "F:2",
        "F:3",
        "KVD_LOG_LEVEL",
        "tcp://a:1 is listed twice",
    ]


@pytest.mark.parametrize(
    ("name", "said"), [("missing", "cannot read"), (".", "cannot read"), ("latin", "is not UTF-8")]
)
def test_a_file_that_cannot_be_read_is_told(tmp_path, name, said):
    (tmp_path / "latin").write_bytes(b"data = '\xff'")
    with pytest.raises(BadConfiguration, match=said):
        settings({}, {}, tmp_path / name)


def assert_read_or_refused(path):
    with contextlib.suppress(BadConfiguration):
        assert isinstance(settings({}, {}, path).config, Config)


@given(st.text(max_size=60))
def test_no_file_whatever_is_in_it_raises_anything_else(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("c") / "kvd.toml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    assert_read_or_refused(path)


@given(st.sampled_from(list(OPTIONS)), st.one_of(st.integers(), st.text(), st.booleans(), st.lists(st.text())))
def test_no_value_of_an_option_raises_anything_else(tmp_path_factory, name, value):
    path = tmp_path_factory.mktemp("c") / "kvd.toml"
    written = str(value).lower() if isinstance(value, bool) else ascii(value).replace("\\x", "\\u00")
    path.write_text(f"{name} = {written}\n")
    assert_read_or_refused(path)


def test_what_is_printed_sets_the_same_when_it_is_read(written):
    flags = {"data": Path('/a "b"'), "listen": ("tcp://a:1", "ipc:///x"), "group": "g", "kept_changes": 7}
    first = settings(flags, {})
    second = settings({}, {}, written("\n".join(to_toml(first))))
    assert second.config == first.config


def test_the_file_that_is_shipped_is_the_template_and_sets_nothing():
    text = (ROOT / "conf" / "kvd.toml").read_text()
    assert text == "\n".join(template()) + "\n", "write it again: python -c 'from kvd.config import *; ...template()'"
    assert tomllib.loads(text) == {}


def test_each_option_of_the_shipped_file_works_as_it_stands(written):
    lines = (ROOT / "conf" / "kvd.toml").read_text().splitlines()
    options = [line.removeprefix("# ") for line in lines if line.partition(" = ")[0].removeprefix("# ") in OPTIONS]
    assert len(options) == len(OPTIONS)
    assert settings({}, {}, written("\n".join(line for line in options if '"..."' not in line))).config == Config()


def run(*arguments, **environment):
    return CliRunner().invoke(main, ["serve", *map(str, arguments)], env=environment)


def test_a_check_of_a_good_file_says_so_and_of_a_bad_one_ends_with_78(written):
    good = run("--check-config", "--config", written('fsync = "never"'))
    assert (good.exit_code, good.output.endswith("kvd.toml: no mistakes\n")) == (0, True)
    bad = run("--check-config", "--config", written('fsync = "x"\nport = 1'))
    assert bad.exit_code == 78
    assert len([line for line in bad.output.splitlines() if line.startswith("kvd: /")]) == 2


def test_a_check_reads_the_keys_and_the_access_file_too(written, tmp_path):
    (tmp_path / "access.toml").write_text("[ada]\nkey = 1\n")
    done = run("--check-config", "--key", tmp_path / "missing", "--access", tmp_path / "access.toml")
    assert (done.exit_code, "missing" in done.output) == (78, True)


def test_what_counts_is_printed_with_where_it_comes_from(written):
    path = written('fsync = "never"')
    done = run("--print-config", "--config", path, "--log-level", "debug", KVD_GROUP="adm")
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert f'fsync = "never"  # {path}:1' in lines
    assert 'group = "adm"  # KVD_GROUP' in lines
    assert 'log_level = "debug"  # --log-level' in lines
    assert "# key is left out" in lines
    assert tomllib.loads(done.output)["kept_changes"] == 1_000_000


def test_each_option_has_a_flag_with_its_default_in_the_help():
    said = " ".join(run("--help").output.split())
    for option in OPTIONS.values():
        assert f"{option.flag} " in said
        if option.default is not None and not option.is_many:
            assert f"[default: {option.default}]" in said
