"""Endpoints, their addresses, and where the changes are."""

import socket

import pytest

from kvd.client import endpoints
from kvd.client.diagnosis import failures_text
from kvd.client.endpoints import (
    DEFAULT_ENDPOINT,
    Address,
    Endpoint,
    changes_endpoint,
    parse_endpoints,
    parse_url,
    socket_access_problem,
)


@pytest.mark.parametrize(
    ("commands", "told", "dialled"),
    [
        ("tcp://10.0.0.5:7411", "tcp://0.0.0.0:7412", "tcp://10.0.0.5:7412"),
        ("tcp://10.0.0.5:7411", "tcp://*:7412", "tcp://10.0.0.5:7412"),
        ("tcp://[fe80::1]:7411", "tcp://[::]:7412", "tcp://[fe80::1]:7412"),
        ("tcp://10.0.0.5:7411", "tcp://10.0.0.6:7412", "tcp://10.0.0.6:7412"),
        ("tcp://10.0.0.5:7411", "ipc:///run/kvd/changes", "ipc:///run/kvd/changes"),
        ("ipc:///run/kvd/commands", "tcp://0.0.0.0:7412", "tcp://0.0.0.0:7412"),
    ],
)
def test_a_wildcard_host_is_the_host_that_was_dialled(commands, told, dialled):
    assert changes_endpoint(commands, [told]) == dialled


@pytest.mark.parametrize(
    ("commands", "dialled"), [("tcp://h:1", "tcp://h:2"), ("ipc:///c", "ipc:///p"), ("ws://h", "ipc:///p")]
)
def test_of_several_endpoints_the_one_like_that_for_commands_is_dialled(commands, dialled):
    assert changes_endpoint(commands, ["ipc:///p", "tcp://*:2"]) == dialled


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("tcp://127.0.0.1:7411", "127.0.0.1", 7411, ""),
        ("tcp://[::1]:1", "::1", 1, ""),
        ("tcp://kvd.example:65535", "kvd.example", 65535, ""),
        ("ipc:///run/kvd.sock", "", 0, "/run/kvd.sock"),
        ("ipc://@kvd", "", 0, "@kvd"),
    ],
)
def test_an_endpoint_is_a_host_and_a_port_or_a_path(text, host, port, path):
    assert parse_endpoints(text) == (Endpoint(text, host, port, path),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no endpoint is given"),
        (" , ", "no endpoint is given"),
        ("nonsense", r"has to be tcp://HOST:PORT or ipc://PATH \(did you mean tcp://nonsense:7411\?\)$"),
        ("127.0.0.1:7411", r"did you mean tcp://127\.0\.0\.1:7411\?"),
        ("udp://h:1", "has to be tcp"),
        ("tcp://h", r"the port is missing \(did you mean tcp://h:7411\?"),
        ("tcp://[::1]", r"the port is missing \(did you mean tcp://\[::1\]:7411\?"),
        ("localhost", r"did you mean tcp://localhost:7411\?"),
        ("http://h:8000/", r"did you mean tcp://h:8000\?"),
        ("/run/kvd.sock", r"did you mean ipc:///run/kvd\.sock\?"),
        ("a b", r"ipc://PATH$"),
        ("tcp://:1", "the host is missing"),
        ("tcp://*:1", "the host is missing"),
        ("tcp://a..b:1", r"'a\.\.b' is not the name of a host"),
        (f"tcp://{'x' * 64}:1", "is not the name of a host"),
        ("tcp://h:99999", "the port has to be 1 to 65535, not '99999'"),
        ("tcp://h:0", "the port has to be"),
        ("tcp://h:http", "the port has to be"),
        ("tcp://h:\u0661", "the port has to be"),
        ("ipc://", "the path is missing"),
        ("ipc://@", "the path is missing"),
        ("ipc://" + "x" * 108, "at most 107 bytes"),
        ("tcp://h:1,nonsense", "'nonsense' is not an endpoint"),
    ],
)
def test_what_is_no_endpoint_is_refused_with_its_reason(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_endpoints(text)


def test_several_endpoints_are_separated_by_commas_or_given_as_a_list(monkeypatch):
    both = parse_endpoints("tcp://a:1, tcp://b:2")
    assert [each.host for each in both] == ["a", "b"]
    assert parse_endpoints(["tcp://a:1", "tcp://b:2"]) == both
    monkeypatch.setenv("KVD_URL", "tcp://a:1,tcp://b:2")
    assert [each.text for each in parse_endpoints(None)] == ["tcp://a:1", "tcp://b:2"]
    monkeypatch.delenv("KVD_URL")
    assert [each.text for each in parse_endpoints(None)] == [DEFAULT_ENDPOINT]


def test_a_url_has_options():
    assert parse_url("tcp://h:1?timeout=2&key=a.key_secret") == ("tcp://h:1", {"timeout": "2", "key": "a.key_secret"})
    assert parse_url("tcp://h:1") == ("tcp://h:1", {})
    with pytest.raises(ValueError, match="NAME=VALUE"):
        parse_url("tcp://h:1?timeout")


def test_a_name_has_all_its_addresses():
    assert [each.target[:2] for each in Endpoint("tcp://127.0.0.1:7", "127.0.0.1", 7).addresses()] == [("127.0.0.1", 7)]
    assert Endpoint("ipc://@kvd", path="@kvd").addresses() == [Address(socket.AF_UNIX, "\0kvd", "@kvd")]
    assert Endpoint("tcp://[::1]:7", "::1", 7).addresses()[0].label == "[::1]:7"


def test_a_failure_names_every_address_that_was_tried():
    tried = {
        "tcp://localhost:7": [("[::1]:7", "Connection refused"), ("127.0.0.1:7", "no answer in time")],
        "tcp://127.0.0.1:8": [("127.0.0.1:8", "Connection refused")],
        "ipc:///s": [],
    }
    assert failures_text(tried) == (
        "tcp://localhost:7 ([::1]:7: Connection refused; 127.0.0.1:7: no answer in time), "
        "tcp://127.0.0.1:8 (Connection refused), ipc:///s"
    )


def test_a_unix_socket_that_is_not_for_us_is_named_with_its_group(tmp_path, monkeypatch):
    path = tmp_path / "s"
    endpoint = Endpoint(f"ipc://{path}", path=str(path))
    assert socket_access_problem(Endpoint("tcp://h:1", "h", 1)) == socket_access_problem(endpoint) == ""
    path.touch()
    assert socket_access_problem(endpoint) == ""
    monkeypatch.setattr(endpoints.os, "access", lambda path, mode: False)
    group = path.group()
    assert socket_access_problem(endpoint) == (
        f"{path} is for members of the group {group}: `usermod -aG {group} NAME` as root, then log in again"
    )
