"""kvd-gateway(8): options, paths, statuses, exit codes and events are those of the code, both ways; examples run.

Its limits are compared with kvd/limits.py by tests/test_manual_kvd.py, as those of the other pages.
"""

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import click
import pytest
from starlette.routing import WebSocketRoute
from support.mdoc import MAN, literals, named, section, unescape

from kvd.cli.gateway import UNAVAILABLE, gateway
from kvd.errors import BadConfiguration, InUse, Refused
from kvd.gateways.common.tokens import read_tokens
from kvd.gateways.http.app import ROUTES
from kvd.gateways.http.errors import CODES, PRECONDITION_FAILED, STATUS
from kvd.gateways.http.rest import Keys

PAGE = MAN / "kvd-gateway.8"
TEXT = PAGE.read_text(encoding="utf-8")
ROOT = MAN.parent
PROGRAMS = Path(sys.executable).parent


def parts():
    """Return the text on each gateway, and as "all" that on all of them."""
    found = re.split(r"^\.Ss (?:kvd gateway )?(.+)\n", section(PAGE, "DESCRIPTION"), flags=re.MULTILINE)
    told = dict(zip(found[1::2], found[2::2], strict=True))
    return {"all": told.pop("All gateways"), **told}


def flags_told(source):
    items = "\n".join(re.findall(r"^\.It Fl.*", source, re.MULTILINE))
    return {f"--{name}" for name in named("Fl Fl", items)}


def options_of(command):
    return [each for each in command.params if isinstance(each, click.Option)]


def test_each_gateway_is_told_and_no_other():
    assert set(parts()) - {"all"} == set(gateway.commands)
    synopsis = section(PAGE, "SYNOPSIS")
    assert set(re.findall(r"^\.Cm gateway (\w+)$", synopsis, re.MULTILINE)) == set(gateway.commands)


@pytest.mark.parametrize("name", sorted(gateway.commands))
def test_each_option_is_told_and_no_other(name):
    common = set() if name == "token" else flags_told(parts()["all"])
    known = {flag for each in options_of(gateway.commands[name]) for flag in each.opts}
    assert known == flags_told(parts()[name]) | common


@pytest.mark.parametrize("name", sorted(gateway.commands))
def test_each_default_and_each_choice_is_told(name):
    told = unescape(parts()["all"] + parts()[name])
    for option in options_of(gateway.commands[name]):
        default = option.default
        if isinstance(default, str | float | int) and not isinstance(default, bool):
            assert re.search(
                rf"(?<![\w.]){re.escape(f'{default:g}' if isinstance(default, float) else str(default))}\b", told
            )
        if isinstance(option.type, click.Choice):
            assert f".It Fl Fl {option.opts[0][2:]} Cm {' | '.join(option.type.choices)}\n" in told
        for place in re.findall(r"\[default: (\S+)\]", option.help or ""):
            assert f".Li {place}\n" in told


def test_no_flag_is_named_that_does_not_exist():
    known = {flag for source in parts().values() for flag in flags_told(source)}
    assert {f"--{name}" for name in named("Fl Fl", TEXT)} <= known
    typed = [line for block in literals(TEXT) for line in re.findall(r"OPTIONS=.*|kvd gateway .*", block)]
    assert typed
    assert {flag for line in typed for flag in re.findall(r"--[a-z-]+", line)} <= known


def test_each_path_is_told_with_its_methods_and_no_other():
    rows = literals(section(PAGE, "HTTP"))[0].splitlines()
    found = [re.fullmatch(r"((?:[A-Za-z]+ +)+)(/\S*) +\S.*", row) for row in rows]
    told = {(method, row[2]) for row in found for method in row[1].split()}
    known = {(method, path_of(route)) for route in ROUTES for method in methods_of(route)}
    assert told == known | {("GET", "/ui")}


ANCESTORS = {3000: "http", 23333: "http", 8000: "http", 6555: "tcp", 50051: "grpc"}


def test_each_ancestor_is_told_with_its_port_and_a_command_that_serves_it():
    rows = unescape(literals(section(PAGE, "COMING FROM ANOTHER STORE"))[0]).splitlines()
    found = [re.fullmatch(r"(\S.*?) +(\d+) +kvd gateway (\w+) --listen 127\.0\.0\.1:(\d+)", row) for row in rows]
    assert {int(row[2]): row[3] for row in found} == ANCESTORS
    assert all(row[2] == row[4] for row in found)


def test_one_http_gateway_serves_several_ports(daemon, make_gateway):
    gateway = make_gateway("http", daemon.commands, "--listen", "127.0.0.1:0")
    places = re.search(r'event=gateway_ready at="([^"]+)"', gateway.log.read_text())[1].split()
    for place in places:
        with urllib.request.urlopen(f"{place}/livez") as answer:
            assert answer.status == 200
    assert len(places) == 2


def path_of(route):
    return route.path.replace("{key:key}", "KEY")


def methods_of(route):
    if isinstance(route, WebSocketRoute):
        return {"WebSocket"}
    return set(Keys.handlers if isinstance(route.endpoint, Keys) else route.methods) - {"HEAD"}


def code_of(kind):
    """Return the code of a class of errors, as failures.code_of does that of an error."""
    return kind.code if issubclass(kind, Refused) else re.sub(r"(?<!^)([A-Z])", r"_\1", kind.__name__).upper()


def test_each_status_is_told_with_its_codes_and_no_other():
    rows = [row.split() for row in literals(section(PAGE, "HTTP"))[1].splitlines()]
    told = {(int(status), code) for status, *codes in rows for code in codes}
    assert told == {(status, code_of(kind)) for kind, status in STATUS.items()}
    more = unescape(section(PAGE, "HTTP").split("\nIn addition")[1].split("After 429")[0])
    statuses = {int(status) for status in re.findall(r"\b\d{3}\b", more)}
    assert statuses <= set(CODES) | {PRECONDITION_FAILED}
    assert {CODES[status] for status in statuses - {PRECONDITION_FAILED}} <= set(
        re.findall(r"\b[A-Z]{2,}(?:_[A-Z]+)*\b", more)
    )


def test_each_exit_code_is_told_and_no_other():
    told = {int(code) for code in re.findall(r"^\.It (\d+)$", section(PAGE, "EXIT STATUS"), re.MULTILINE)}
    assert told == {0, click.UsageError.exit_code, UNAVAILABLE, InUse.exit_code, BadConfiguration.exit_code}


def test_each_event_in_it_is_one_that_the_docs_tell():
    events = set(re.findall(r"event=(\w+)", TEXT))
    assert events
    documented = (ROOT / "docs/events.md").read_text(encoding="utf-8")
    assert [event for event in events if f"| `{event}` |" not in documented] == []


def test_each_file_and_unit_that_it_names_is_there():
    units = re.findall(r"kvd-gateway-\w+@?\d*\.(?:socket|service)", unescape(TEXT))
    assert len(set(units)) >= 4
    for name in units:
        assert (ROOT / "conf" / re.sub(r"@\d+", "@", name)).exists(), name
    for name in re.findall(r"/opt/kvd/share/kvd/(\S+)", unescape(TEXT)):
        assert (ROOT / "conf" / name).exists(), name


def test_the_table_of_a_token_is_one_that_is_read(tmp_path):
    [table] = [block for block in literals(section(PAGE, "TOKENS AND ROLES")) if block.startswith("[ada]")]
    path = tmp_path / "tokens.toml"
    path.write_text(re.sub("^key.*", "", table, flags=re.MULTILINE))
    assert [holder.name for holder in read_tokens(path, None).values()] == ["ada"]
    path.write_text(table)
    with pytest.raises(BadConfiguration, match="--server-key"):
        read_tokens(path, None)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_examples_run(make_daemon, make_gateway, tmp_path):
    served = make_gateway("http", make_daemon().start().commands)
    lines = re.findall(r"^\$ (.*)$", literals(section(PAGE, "EXAMPLES"))[0], re.MULTILINE)
    environment = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
    told = []
    for line in lines:
        text = line.replace("127.0.0.1:7480", served.address).replace("curl ", "curl -sS --fail-with-body ")
        text = text.replace("timeout 1 ", "timeout 5 ")  # on a slow machine a second is short
        done = subprocess.run(
            ["sh", "-c", text], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60, check=False
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        told.append(done.stdout)
    assert told[1] == "Ahmedabad"
    assert told[2].endswith("there is none\n")
    assert '"key":"a/b c"' in told[4]
    assert '"result":1' in told[5]
    assert told[6].count("\nevent: set\n") == 3
