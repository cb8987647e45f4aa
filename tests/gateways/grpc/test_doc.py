"""docs/grpc.md: its session runs as it stands there, and its table of errors is that of the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from kvd.gateways.common.error_body import error_body_of
from kvd.gateways.grpc.status import STATUS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "grpc.md").read_text(encoding="utf-8")
PROTO = ROOT / "kvd" / "gateways" / "grpc"


def test_the_session_prints_what_the_page_says(daemon, make_gateway, tmp_path):
    gateway = make_gateway("grpc", daemon.commands)
    out = [f"--python_out={tmp_path}", f"--grpc_python_out={tmp_path}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", *out, "kvd_v1.proto"], check=True)
    [text] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    [printed] = re.findall(r"The output is\n\n((?:    .*\n)+)", PAGE)
    script = text.replace("127.0.0.1:50051", gateway.address)
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert done.stdout == re.sub("^    ", "", printed, flags=re.MULTILINE)


def test_the_errors_are_those_of_the_code():
    rows = re.findall(r"^\| ([A-Z_]+) \| (.*) \|$", PAGE, re.MULTILINE)
    told = {(code, status) for status, codes in rows for code in re.findall(r"[A-Z_]+\b", codes.partition(";")[0])}
    assert told == {(error_body_of(kind("it")).code, status.name) for kind, status in STATUS.items()}


@pytest.mark.parametrize("link", re.findall(r"\]\((\S+?)\)", PAGE))
def test_every_link_leads_somewhere(link):
    assert (ROOT / "docs" / link).exists()
