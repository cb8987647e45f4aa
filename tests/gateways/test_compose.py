"""conf/compose.yaml: what it starts are commands and options of kvd, and its checks see a gateway that is not ready.

Docker itself is not asked.
"""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from support.running import eventually

from kvd.cli import main

ROOT = Path(__file__).resolve().parents[2]
SERVICES = yaml.safe_load((ROOT / "conf/compose.yaml").read_text())["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
[ENTRYPOINT] = re.findall(r"^ENTRYPOINT (.*)$", DOCKERFILE, re.MULTILINE)
GATEWAYS = main.commands["gateway"].commands


def line_of(service):
    return [*service.get("entrypoint", yaml.safe_load(ENTRYPOINT)), *service["command"]]


@pytest.mark.parametrize("name", SERVICES)
def test_its_line_is_one_that_kvd_takes(name):
    program, *words = line_of(SERVICES[name])
    assert program == "kvd"
    command, context = main, main.make_context("kvd", words[:1])
    while isinstance(command, click.Group):
        _, command, words = command.resolve_command(context, words)
    command.make_context(command.name, words, parent=context)  # raises for what it does not know


@pytest.mark.parametrize("name", SERVICES)
def test_it_can_write_only_where_the_store_is_and_gains_no_rights(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["user"] == "kvd"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert "healthcheck" in service or "HEALTHCHECK" in DOCKERFILE


def test_the_image_has_what_the_gateways_need():
    [extras] = re.findall(r"^ARG EXTRAS=(.*)$", DOCKERFILE, re.MULTILINE)
    assert {name for name in SERVICES if name != "kvd"} <= set(extras.split(","))


@pytest.mark.parametrize("name", [name for name in SERVICES if name in GATEWAYS])
def test_its_check_sees_whether_it_is_ready(name, make_daemon, make_gateway):
    service = SERVICES[name]
    daemon = make_daemon().start()
    options = service["command"]
    at, to = options.index("--listen"), options.index("--url")
    port = options[at + 1].rpartition(":")[2]
    rest = [word for place, word in enumerate(options) if place not in (at, at + 1, to, to + 1)]
    gateway = make_gateway(name, daemon.commands, *rest, listen="0.0.0.0:0")

    def is_ready():
        _, _, *words = (word.replace(port, str(gateway.port)) for word in service["healthcheck"]["test"])
        return subprocess.run([sys.executable, *words], capture_output=True, timeout=60, check=False).returncode == 0

    assert is_ready()
    daemon.stop()
    eventually(lambda: not is_ready())  # health is looked at each second
