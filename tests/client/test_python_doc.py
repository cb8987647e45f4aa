"""docs/python.md: every example runs, in order, against one daemon; mypy passes them; no method is missing."""

import ast
import asyncio
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import types
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner
from support.running import ROOT, eventually
from support.typing_check import type_problems

import kvd
from kvd import Client
from kvd.cli import main

TEXT = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python ?(\S*)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


RUN = [text for kind, text in BLOCKS if not kind]
CELERY, JUPYTER, KEYS = [next(text for kind, text in BLOCKS if kind == name) for name in ("celery", "jupyter", "keys")]
FILES = {kind.removeprefix("file="): text for kind, text in BLOCKS if kind.startswith("file=")}
RESULT = re.compile(r"^( *)(\S.*?)  # -> (.*)$", re.MULTILINE)
MISSING = [name for name in ("flask", "fastapi", "gunicorn") if importlib.util.find_spec(name) is None]
with_frameworks = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")


def compare(value, expected):
    """Hold what an expression returns against what the page says."""
    assert repr(value) == expected


@pytest.fixture
def url(daemon, monkeypatch):
    monkeypatch.setenv("KVD_URL", daemon.commands)
    return daemon.commands


def test_the_page_has_what_it_is_for():
    assert len(RUN) >= 17
    assert {kind.partition("=")[0] for kind, _ in BLOCKS} == {"", "file", "celery", "jupyter", "keys"}
    assert sum(len(RESULT.findall(text)) for text in RUN) >= 30
    assert set(FILES) == {"flask_app", "fastapi_app"}
    assert TEXT.count("```python") == len(BLOCKS)


def test_every_example_runs_and_returns_what_it_says(url):
    for text in RUN:
        checked = RESULT.sub(lambda found: f"{found[1]}compare(({found[2]}), {found[3]!r})", text)
        names = {"compare": compare, "__name__": "example"}
        exec(compile(checked, "docs/python.md", "exec"), names)
        for value in names.values():
            if isinstance(value, Client):
                value.close()


def test_a_wrong_result_on_the_page_would_be_noticed():
    with pytest.raises(AssertionError):
        compare(5, "6")
    found = RESULT.findall("    kv.get('a')  # -> b'x'\nkv.set('a')  # no result")
    assert found == [("    ", "kv.get('a')", "b'x'")]


def test_a_celery_task_that_runs_twice_has_one_effect(url, kv, monkeypatch):
    class Celery(types.ModuleType):
        """As much of it as the example uses."""

        Celery = classmethod(lambda cls, _: cls)
        task = staticmethod(lambda **_: lambda function: function)

    monkeypatch.setitem(sys.modules, "celery", Celery("celery"))
    names = {}
    exec(compile(CELERY, "docs/python.md", "exec"), names)
    task = types.SimpleNamespace(request=types.SimpleNamespace(id="c3b6f2a0-7e57-4d0c"))
    with names["kv"]:
        for _ in range(2):
            names["charge"](task, "account:8", 30)
    assert kv["account:8"] == b"-30"


def test_the_cells_of_a_notebook_run(url, kv):
    code = compile(JUPYTER, "docs/python.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    names = {}

    async def run_cell():
        await eval(code, names)
        await names["kv"].close()

    asyncio.run(run_cell())
    assert kv["city"] == b"Ahmedabad"


def test_a_client_with_keys_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ada", "daemon"):
        assert CliRunner().invoke(main, ["keygen", name]).exit_code == 0
    (tmp_path / "daemon.key_secret").unlink()  # a client has no need of it
    names = {}
    exec(compile(KEYS, "docs/python.md", "exec"), names)
    assert names["kv"].endpoint == "tcp://kvd.example.org:7411"


@pytest.mark.types
def test_a_type_checker_passes_every_example(tmp_path):
    texts = {f"example_{number}": text for number, text in enumerate([*RUN, KEYS])} | ({} if MISSING else FILES)
    assert type_problems(texts, tmp_path) == ""


def test_every_method_and_every_error_is_on_the_page():
    methods = {name for name in dir(Client) if not name.startswith("_")} - {"call", "make_method"}
    assert {name for name in methods if not re.search(rf"`{name}[`( ]", TEXT)} == set()
    raised = [value for value in [getattr(kvd, name) for name in kvd.__all__] if isinstance(value, type)]
    errors = {each.__name__ for each in raised if issubclass(each, kvd.KvdError)}
    assert {name for name in errors if f"`{name}`" not in TEXT} == set()


class Server:
    """A web server of the page, in a process of its own."""

    def __init__(self, directory, arguments):
        for name, text in FILES.items():
            (directory / f"{name}.py").write_text(text, encoding="utf-8")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.log = directory / "log"
        command = [sys.executable, "-m", *[word.replace("PORT", str(self.port)) for word in arguments]]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{directory}"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)

    def open(self, path, timeout=20):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout)

    def get(self, path):
        try:
            with self.open(path) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def is_up(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.get("/visits")[0] == 200
        except OSError:
            return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:  # it waits for the stream that is open
            self.process.kill()
            self.process.wait()


@pytest.fixture(params=["flask", "fastapi", "fastapi_preload"])
def server(request, url, tmp_path):
    listen = "--bind=127.0.0.1:PORT"
    arguments = {
        "flask": [
            "gunicorn",
            "--preload",
            "--threads=4",
            "--workers=2",
            "--graceful-timeout=1",
            listen,
            "flask_app:app",
        ],
        "fastapi": ["uvicorn", "--port=PORT", "fastapi_app:app"],
        "fastapi_preload": ["gunicorn", "--preload", "-k=uvicorn.workers.UvicornWorker", listen, "fastapi_app:app"],
    }
    made = Server(tmp_path, arguments[request.param])
    made.kind = request.param.partition("_")[0]
    try:
        eventually(made.is_up, 60)
        yield made
    finally:
        made.stop()


@with_frameworks
def test_the_applications_count_and_follow_and_outlive_the_daemon(server, daemon, kv):
    paths = ["/visits", "/blocking/visits"] if server.kind == "fastapi" else ["/visits"]
    before = int(kv["page visits"])
    for count, path in enumerate(paths * 5, start=before + 1):
        assert server.get(path) == (200, str(count))
    if server.kind == "flask":
        kv.set("flag:dark", "on")
        eventually(lambda: all(server.get("/flag/dark") == (200, "on") for _ in range(4)))
    with server.open("/events") as events:
        assert events.readline() == b": ready\n"
        kv.set("user:1", "Ada")
        assert [events.readline() for _ in range(2)] == [b"\n", b"data: SET user:1\n"]
    daemon.kill()
    for path in paths:
        status, text = server.get(path)
        assert (status, "/visits" not in text) == (503, True)
    assert server.get("/events") == (200, "retry: 2000\n\n")
    assert "Traceback" not in server.log.read_text()
    daemon.start()
    for path in paths:
        eventually(lambda path=path: server.get(path)[0] == 200)
