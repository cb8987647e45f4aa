"""The options of a test run that are ours: a skipped test fails it, a process in a pure test fails that."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = [
    sys.executable,
    "-m",
    "pytest",
    "-q",
    "-p",
    "support.reporting",
    "-p",
    "no:schemathesis",
    "-p",
    "no:cacheprovider",
]
TESTS = {
    "skips": "import pytest\ndef test_a(): pytest.skip('no')\n",
    "fails": "def test_a(): assert False\ndef test_b(): pass\n",
    "starts": "import subprocess\ndef test_a(): subprocess.run(['true'])\n",
}


@pytest.mark.parametrize(
    ("kind", "options", "code", "said"),
    [
        ("skips", [], 0, "1 skipped"),
        ("skips", ["--no-skips"], 1, "1 tests were skipped, and --no-skips was given"),
        ("fails", [], 1, "FAILED test_it.py::test_a (call)"),
        ("fails", [], 1, "--randomly-seed="),
        ("starts", [], 0, "1 passed"),
        ("starts", ["--pure"], 1, "subprocess.Popen in a test that is run by `make quick`"),
    ],
)
def test_what_a_run_tells(tmp_path, kind, options, code, said):
    (tmp_path / "test_it.py").write_text(TESTS[kind])
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [*RUN, *options, "test_it.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout
