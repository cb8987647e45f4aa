"""Options of pytest, and the report of a run: each failure's name at once; with --no-skips a skipped test fails it.

`--pure` is for the tests of pure code (`make quick`): one that starts a process or opens a connection fails.
"""

import sys
from typing import Any

import pytest

FORBIDDEN = frozenset({"os.fork", "os.posix_spawn", "os.system", "socket.bind", "socket.connect", "subprocess.Popen"})


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kvd")
    group.addoption("--pure", action="store_true", help="Let no test start a process or open a connection.")
    group.addoption("--no-skips", action="store_true", help="Fail when a test was skipped.")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Reporting(config), "kvd-reporting")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.config.getoption("--pure") and not Guard.is_installed:
        Guard.is_installed = True
        sys.addaudithook(refuse_processes)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Any:
    """Let a failure text with bytes of no encoding go from a worker to the terminal; xdist would end the run."""
    return printable((yield))


def printable(found: Any) -> Any:
    if isinstance(found, str):
        return found.encode(errors="backslashreplace").decode()
    if isinstance(found, dict):
        return {printable(name): printable(value) for name, value in found.items()}
    return type(found)(map(printable, found)) if type(found) in (list, tuple) else found


class Guard:
    is_installed = False  # an audit hook stays for as long as the interpreter does


def refuse_processes(event: str, _: Any) -> None:
    if event in FORBIDDEN:
        raise RuntimeError(f"{event} in a test that is run by `make quick`: take its file out of QUICK in the Makefile")


class Reporting:
    """The output of the process at the terminal; pytest-xdist's workers write nothing."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.skipped: set[str] = set()
        self.has_failures = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            self.has_failures = True
            terminal.write_line("")
            terminal.write_line(f"FAILED {report.nodeid} ({report.when})", red=True)
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.add(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self.skipped.add(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and self.config.getoption("--no-skips"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        seed = self.config.getoption("randomly_seed", None)
        if self.has_failures and seed is not None:
            terminalreporter.write_line(f"the order was random; to have it again: --randomly-seed={seed}")
        if self.skipped and self.config.getoption("--no-skips"):
            terminalreporter.write_line(f"{len(self.skipped)} tests were skipped, and --no-skips was given", red=True)
