"""`kvsh watch`, and where it resumes: by a revision and the history that the revision belongs to."""

import json
import re
import shutil
import signal
import subprocess
from contextlib import ExitStack, contextmanager

import pytest
from support.kvsh_cases import KVSH
from support.running import run_kvd
from support.terminal import say

from kvd.client import Client
from kvsh.cli.local import local_daemon

OTHER = "0123456789abcdef"


@contextmanager
def watching(environment, *arguments):
    command = [*KVSH, "watch", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as child:
        try:
            yield child
        finally:
            child.kill()


def server(kv):
    facts = kv.info("server")["server"]
    return facts["revision"], facts["history"]


@pytest.fixture(scope="module")
def store_with_new_history(tmp_path_factory):
    """Run a daemon to revision 5, restore its revision 3, write up to 7; yield its endpoint and the first history."""
    tmp_path = tmp_path_factory.mktemp("restored")
    data, backup = tmp_path / "data0", tmp_path / "backup"
    with local_daemon(str(data)) as endpoint, Client(endpoint) as kv:
        for number in range(1, 4):
            kv.set("n", number)
        kv.backup("backup")
        kv.set("n", "4")
        kv.set("n", "5")
        _, history = server(kv)
    (data / "backups" / "backup").rename(backup)
    data.rename(tmp_path / "earlier")
    assert run_kvd("restore", backup, data).returncode == 0
    with local_daemon(str(data)) as endpoint, Client(endpoint) as kv:
        for number in range(4, 8):
            kv.set("n", f"new {number}")
        yield endpoint, history


def test_each_line_has_the_history_and_the_end_says_where_to_resume(kv, environment):
    with watching(environment, "user:") as child:
        child.stderr.readline()
        kv.set("user:1", "Ada")
        kv.set("other", "x")
        change = json.loads(child.stdout.readline())
        assert (change["revision"], change["history"]) == (server(kv)[0] - 1, server(kv)[1])
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
        last = child.stderr.read().decode()
    found = re.fullmatch(r"kvsh: watched up to revision (\d+); resume with SINCE \1 HISTORY (\w+)\n", last)
    assert int(found[1]) in (change["revision"], change["revision"] + 1)
    assert found[2] == change["history"]
    kv.set("user:2", "Bob")
    with watching(environment, "user:", "since", found[1], "history", found[2]) as child:
        assert json.loads(child.stdout.readline())["key"] == "user:2"


@pytest.mark.parametrize("since", [[], ["since", "0"]])
def test_a_store_of_another_history_is_refused(kvsh, kv, since):
    code, out, messages = kvsh("watch", *since, "history", OTHER)
    _, history = server(kv)
    assert (code, out) == (4, b"")
    assert messages.startswith(f"kvsh: the daemon has the history {history}, not {OTHER}: it was restored, or it is ")
    assert "Read the keys again, and watch without a revision" in messages


def test_a_restore_is_not_silent(kvsh, store_with_new_history):
    """Without HISTORY the changes 4 and 5 of the restored store never come, and nothing says so."""
    endpoint, history = store_with_new_history
    code, out, messages = kvsh("watch", "since", "5", "history", history, KVSH_URL=endpoint)
    assert (code, out) == (4, b"")
    assert f"not {history}" in messages


def test_a_restore_is_not_silent_at_the_prompt(terminal, store_with_new_history):
    endpoint, history = store_with_new_history
    shell = terminal(KVSH_URL=endpoint)
    shell.prompts()
    answer = " ".join(say(shell, f"watch since 5 history {history}"))
    assert answer.startswith("(error) the daemon has the history ")
    assert f"not {history}" in answer
    shell.type("watch since 5\r")
    shell.shows('6  SET n "new 6"')
    shell.prompts()
    answer = " ".join(say(shell, "unwatch"))
    assert re.fullmatch(r"watched up to revision 7; resume with SINCE 7 HISTORY (\w+)", answer)
    assert history not in answer
    assert shell.leave() == 0


def test_a_script_says_where_a_watch_works(kvsh):
    code, _, messages = kvsh(stdin=b"watch since 5 history abc\n")
    assert code == 2
    assert "WATCH works at the prompt, and as `kvsh watch`" in messages


@contextmanager
def short_lived_store(directory):
    """Run a daemon; remove its directory at the end, so that the next one there has another history."""
    with local_daemon(directory) as endpoint, Client(endpoint) as kv:
        kv.set("n", "1")
        yield endpoint
    shutil.rmtree(directory)


def test_a_watch_ends_when_the_store_is_replaced(environment, terminal, tmp_path):
    directory = str(tmp_path / "data0")
    with ExitStack() as stack:
        with short_lived_store(directory) as endpoint:
            child = stack.enter_context(watching({**environment, "KVSH_URL": endpoint}))
            assert b"watching all keys from revision 1" in child.stderr.readline()
            shell = terminal(KVSH_URL=endpoint)
            shell.type("watch\r")
            shell.shows("watching all keys from revision 1")
        stack.enter_context(local_daemon(directory))
        assert child.wait(60) == 4
        assert b"it was restored, or it is another store. Read the keys again" in child.stderr.read()
        shell.shows("the watch of all keys has ended: the daemon has the history ")
        assert say(shell, "unwatch") == []
    assert shell.leave() == 0
