"""`kvd keygen`: a secret is nobody else's from the first moment, and nothing is overwritten."""

import os
import stat
import tomllib

import pytest
import zmq.auth
from click.testing import CliRunner

from kvd.access import parse_access
from kvd.cli import main


def keygen(*arguments):
    done = CliRunner().invoke(main, ["keygen", *map(str, arguments)])
    return done.exit_code, done.output


def streams(*arguments):
    done = CliRunner().invoke(main, ["keygen", *map(str, arguments)])
    return done.exit_code, done.stdout, done.stderr


def test_it_makes_certificates_and_the_table_alone_goes_to_standard_output(tmp_path):
    code, table, said = streams("ada", "--directory", tmp_path)
    assert code == 0
    public, secret = zmq.auth.load_certificate(tmp_path / "ada.key_secret")
    assert zmq.auth.load_certificate(tmp_path / "ada.key") == (public, None)
    assert zmq.curve_public(secret) == public
    assert table.startswith("[ada]\nkey = ")
    assert tomllib.loads(table)["ada"]["role"] == "write"
    assert parse_access(table, "access.toml").clients[public.decode()].name == "ada"
    assert f"kvsh --url tcp://HOST:7411 --key {tmp_path}/ada.key_secret --server-key daemon.key" in said
    assert secret.decode() not in said + table


def test_two_tables_one_after_the_other_are_an_access_file(tmp_path):
    tables = [streams(name, "--directory", tmp_path)[1] for name in ("ada", "bob")]
    assert {client.name for client in parse_access("".join(tables), "access.toml").clients.values()} == {"ada", "bob"}


@pytest.mark.parametrize("arguments", [("daemon",), ("main", "--daemon")])
def test_the_daemon_has_no_table(tmp_path, arguments):
    code, table, said = streams(*arguments, "--directory", tmp_path)
    assert (code, table) == (0, "")
    assert f"kvd serve --data DIRECTORY --key {tmp_path}/{arguments[0]}.key_secret --access access.toml" in said


def test_a_second_time_nothing_changes_and_it_is_said_how_to_get_the_table_again(tmp_path):
    _, table, _ = streams("ada", "--directory", tmp_path)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    code, nothing, said = streams("ada", "--directory", tmp_path)
    assert (code, nothing) == (73, "")
    assert "kvd keygen --table ada >> access.toml" in said
    assert streams("ada", "--table", "--directory", tmp_path) == (0, table, "")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("text", "why"), [(None, "Invalid certificate file"), ("no certificate", "No public key")])
def test_without_keys_there_is_no_table(tmp_path, text, why):
    if text is not None:
        (tmp_path / "ada.key").write_text(text)
    code, nothing, said = streams("ada", "--table", "--directory", tmp_path)
    assert (code, nothing) == (73, "")
    assert said.startswith(f"kvd: {tmp_path}/ada.key: ")
    assert why in said


def test_a_secret_is_for_its_owner_alone_from_the_moment_it_exists(tmp_path, monkeypatch):
    modes = []
    real = os.open

    def spy(path, *arguments, **options):
        descriptor = real(path, *arguments, **options)
        if str(path).startswith(str(tmp_path)):
            modes.append((str(path).rpartition(".")[2], stat.S_IMODE(os.fstat(descriptor).st_mode)))
        return descriptor

    monkeypatch.setattr(os, "open", spy)
    before = os.umask(0)
    try:
        assert keygen("ada", "--directory", tmp_path)[0] == 0
    finally:
        os.umask(before)
    assert modes == [("key_secret", 0o600), ("key", 0o644)]


@pytest.mark.parametrize("there", ["ada.key", "ada.key_secret"])
def test_nothing_is_overwritten_and_no_half_is_left(tmp_path, there):
    (tmp_path / there).write_text("precious")
    code, said = keygen("ada", "--directory", tmp_path)
    assert (code, f"{there}: exists and is not overwritten" in said) == (73, True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(there, "precious")]


def test_a_place_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    code, said = keygen("ada", "--directory", tmp_path)
    assert (code, said) == (73, f"kvd: {tmp_path}/ada.key_secret: No space left on device\n")


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "x" * 65, "ä"])
def test_a_name_that_is_no_name_is_refused(tmp_path, name):
    code, said = keygen(name, "--directory", tmp_path)
    assert (code, "1 to 64 letters, digits, - and _" in said) == (2, True)
    assert list(tmp_path.iterdir()) == []
