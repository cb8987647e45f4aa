"""Schemathesis sends requests that /openapi.json allows, and others, and receives no 500."""

import re
import subprocess
import sys

import pytest

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.conformance
@pytest.mark.parametrize(
    ("phases", "examples"), [("fuzzing", 12), pytest.param("coverage,fuzzing", 1_000, marks=pytest.mark.long)]
)
def test_the_document_holds_and_nothing_is_a_server_error(web, tmp_path, phases, examples):
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"http://{web.gateway.address}/openapi.json"]
    # A watch has no end, which the tool does not know.
    asked = ["--exclude-path", "/v1/watch", "--checks", CHECKS, "--phases", phases, "--max-examples", str(examples)]
    # The tool leaves a folder where it runs.
    done = subprocess.run(
        [*command, *asked, "--seed", "1"], capture_output=True, text=True, timeout=1_800, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout[-5_000:]
    found = re.search(r"(\d+) generated", done.stdout)
    print(f"{found[1]} requests")
    assert int(found[1]) > 10 * examples
    assert "Traceback" not in web.gateway.log.read_text()
