"""`--bigkeys`: what takes the room, exact, in each form; it says when it did not see all."""

import json

import pytest

from kvsh.modes import bigkeys
from kvsh.ui.output import Output
from kvsh.ui.settings import Settings


@pytest.fixture
def kv_with_keys(kv):
    kv.set("user:1", "x" * 10)
    kv.set("user:2", "")
    kv.set("log/1", "x" * 2000)
    kv.set(b"a\x1b\xff", "x" * 300)
    return kv


def test_json_has_all(kvsh, kv_with_keys):
    code, out, messages = kvsh("--json", "--bigkeys")
    assert (code, messages) == (0, "")
    assert json.loads(out) == {
        "complete": True,
        "keys": 4,
        "key_bytes": 20,
        "value_bytes": 2310,
        "mean_value_bytes": 577.5,
        "largest": [
            {"key": "log/1", "bytes": 2000},
            {"key": {"base64": "YRv/"}, "bytes": 300},
            {"key": "user:1", "bytes": 10},
            {"key": "user:2", "bytes": 0},
        ],
        "prefixes": [
            {"prefix": "log/", "keys": 1, "bytes": 2005},
            {"prefix": None, "keys": 1, "bytes": 303},
            {"prefix": "user:", "keys": 2, "bytes": 22},
        ],
        "sizes": [
            {"from": 0, "to": 0, "keys": 1},
            {"from": 1, "to": 9, "keys": 0},
            {"from": 10, "to": 99, "keys": 1},
            {"from": 100, "to": 999, "keys": 1},
            {"from": 1000, "to": 9999, "keys": 1},
        ],
    }


def test_raw_and_csv_have_rows(kvsh, kv_with_keys):
    code, out, _ = kvsh("--bigkeys")
    lines = out.split(b"\n")
    assert (code, lines[:5]) == (
        0,
        [b"complete true", b"keys 4", b"key_bytes 20", b"value_bytes 2310", b"mean_value_bytes 577.5"],
    )
    assert lines[5:7] == [b"largest 2000 log/1", b"largest 300 a\x1b\xff"]
    assert b"prefix 303 1 -" in lines
    assert b"size 1000 9999 1" in lines
    _, rows, _ = kvsh("--csv", "--bigkeys")
    assert b"largest,2000,log/1\r\n" in rows
    assert b"prefix,303,1,\r\n" in rows


def test_a_terminal_shows_words_and_bars(kvsh, kv_with_keys):
    code, out, _ = kvsh("--terminal", "--bigkeys")
    assert code == 0
    assert out.decode().splitlines() == [
        "4 keys hold 20 B in keys and 2.3 KiB in values, 578 B a value on average",
        "",
        "largest values",
        "    2.0 KiB  log/1",
        r'      300 B  "a\x1b\xff"',
        "       10 B  user:1",
        "        0 B  user:2",
        "",
        "largest prefixes, in keys and values",
        "    2.0 KiB              1 keys  log/",
        "      303 B              1 keys  (keys without : or /)",
        "       22 B              2 keys  user:",
        "",
        "values by size in bytes",
        *[
            f"{low:>10,} - {high:<10,}  {keys:>13,}  {'#' * 39 * keys}".rstrip()
            for low, high, keys in [(0, 0, 1), (1, 9, 0), (10, 99, 1), (100, 999, 1), (1000, 9999, 1)]
        ],
    ]


def test_an_empty_store_is_said(kvsh):
    assert kvsh("--terminal", "--bigkeys") == (0, b"0 keys hold 0 B in keys and 0 B in values\n", "")


def test_it_only_reads(kvsh, kv_with_keys):
    before = kv_with_keys.info("store")["store"]
    kvsh("--bigkeys")
    after = kv_with_keys.info("store")["store"]
    assert (after["revision"], after["cache_bytes"]) == (before["revision"], before["cache_bytes"])


def test_how_far_it_is_is_told(kvsh, kv_with_keys):
    code, _, messages = kvsh("--progress", "--bigkeys")
    assert (code, messages.split("\r")[1]) == (0, "4 of 4 keys, 2.3 KiB")
    assert messages.endswith("\r")


def test_ctrl_c_shows_what_was_seen(daemon, monkeypatch, capfd):
    def interrupt(*_, **__):
        yield [[b"a:1", b"xyz", 1, None]]
        raise KeyboardInterrupt

    monkeypatch.setattr(bigkeys, "pages", interrupt)
    settings = Settings(url=daemon, timeout=5, form="json")
    assert bigkeys.run(settings, Output(), True) == 130  # noqa: FBT003
    out, messages = capfd.readouterr()
    assert messages == "kvsh: interrupted: the figures are those of the first 1 keys\n"
    found = json.loads(out)
    assert (found["complete"], found["largest"]) == (False, [{"key": "a:1", "bytes": 3}])
