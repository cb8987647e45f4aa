"""A start with a path, a limit or files that are out of the ordinary: it works, or one sentence says what to do."""

import os
import shutil
import subprocess
import sys

import pytest
from support.programs import without_coverage

from kvd.limits import DESCRIPTORS_MIN
from kvd.storage import Store
from kvd.storage.files.permissions import check_permissions

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
LATIN, UTF_8 = os.fsdecode(b"caf\xe9"), "café"


def serve(*options, env=None, before=()):
    """Run `kvd serve` up to its refusal; return its exit code and the line that it says."""
    command = [*before, sys.executable, "-m", "kvd", "serve", *map(str, options)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, **(env or {})}
    )
    [line] = done.stderr.splitlines()
    return done.returncode, line


@pytest.mark.parametrize("env", [{}, ASCII], ids=["utf-8", "ascii"])
@pytest.mark.parametrize("name", [LATIN, UTF_8], ids=["latin-1", "utf-8"])
def test_a_data_directory_may_have_any_name_whatever_the_locale(make_daemon, tmp_path, name, env):
    daemon = make_daemon()
    daemon.data = tmp_path / name
    daemon.before = ["env", *[f"{variable}={value}" for variable, value in env.items()]]
    daemon.start()
    with daemon.client() as kv:
        kv.set("a", "1")
        assert kv.config("data")["data"]["value"].startswith(str(tmp_path))
        kv.backup("b.kvd")
        kv.check()
    assert daemon.stop() == 0
    store = Store(daemon.data)
    store.maintenance.jobs.begin_fold()  # which attaches the journal by its path
    while store.overlays.immutable is not None or store.maintenance.jobs.is_checkpointing:
        store.maintenance.jobs.finish(store.maintenance.parts.fold_thread.done.get())
    assert (store.overlays.folded, store.maintenance.jobs.error) == (1, None)
    store.close()


def test_a_fold_finds_the_journal_in_an_ascii_locale(tmp_path):
    program = (
        "import sys; from pathlib import Path; from kvd.storage import Store; from kvd.engine.engine import Engine\n"
        "from kvd.commands.values import Set\n"
        "store = Store(Path(sys.argv[1])); engine = Engine(store); engine.apply(Set(b'a', b'1'), 1)\n"
        "store.commit(engine.staging.take()); store.maintenance.jobs.begin_fold()\n"
        "while store.overlays.immutable is not None or store.maintenance.jobs.is_checkpointing:\n"
        "    store.maintenance.jobs.finish(store.maintenance.parts.fold_thread.done.get())\n"
        "print(store.overlays.folded, store.maintenance.jobs.error); store.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / UTF_8],
        capture_output=True, text=True, timeout=60, check=True, env={**os.environ, **ASCII},
    )  # fmt: skip
    assert done.stdout == "1 None\n"


def test_an_endpoint_that_is_no_utf_8_is_refused(tmp_path):
    code, said = serve("--data", tmp_path / "d", "--listen", f"ipc://{tmp_path}/{LATIN}")
    assert (code, said.endswith("caf\\xe9 is not UTF-8, which an endpoint must be")) == (78, True)


def test_a_socket_may_have_any_name_in_an_ascii_locale(make_daemon, tmp_path):
    daemon = make_daemon()
    daemon.commands = f"ipc://{tmp_path}/{UTF_8}"
    daemon.before = ["env", *[f"{variable}={value}" for variable, value in ASCII.items()]]
    daemon.start()
    assert (tmp_path / UTF_8).is_socket()
    assert daemon.stop() == 0
    assert not (tmp_path / UTF_8).exists()


@pytest.mark.parametrize("limit", [20, 30, DESCRIPTORS_MIN - 1])
def test_too_few_descriptors_are_told_with_the_number_that_is_needed(tmp_path, limit):
    code, said = serve("--data", tmp_path / "d", before=("sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh"))
    assert code == 78
    assert said.startswith(
        f"kvd: this process may open {limit} files; kvd needs at least {DESCRIPTORS_MIN}, and one more"
    )
    assert not (tmp_path / "d").exists()


def test_the_descriptors_that_are_needed_suffice(make_daemon):
    daemon = make_daemon()
    daemon.before = ["sh", "-c", f'ulimit -n {DESCRIPTORS_MIN}; exec "$@"', "sh"]
    daemon.start()
    with daemon.client() as kv:
        kv.set("a", "1")
    assert daemon.stop() == 0


AS_NOBODY = ("setpriv", "--reuid", "nobody", "--clear-groups")


@pytest.mark.skipif(os.geteuid() != 0, reason="to give files to another user wants root")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
@without_coverage
@pytest.mark.parametrize("file", ["lock", "journal.db", "table.db"])
def test_files_of_another_user_are_told_with_their_owner_and_chown(tmp_path, monkeypatch, file):
    data = tmp_path / "d"
    Store(data).close()
    for path in (data, *data.iterdir()):
        shutil.chown(path, "nobody")
    shutil.chown(data / file, "root")
    program = (
        "import sys; from pathlib import Path; from kvd.storage.files.permissions import check_permissions as check\n"
    )
    monkeypatch.chdir(data)  # nobody may not come by the folders above
    done = subprocess.run(
        [*AS_NOBODY, sys.executable, "-c", program + "check(Path('.'))"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1].endswith(
        f"{file} belongs to root, and this kvd runs as nobody: run it as root, or: chown -R nobody ."
    )


@pytest.mark.parametrize(
    ("uid", "advice"), [(0, "chmod -R u\\+rwX"), (12345, "belongs to 12345, and this kvd runs as root.*chown -R root")]
)
def test_what_cannot_be_used_is_refused_before_anything_is_opened(drive, monkeypatch, uid, advice):
    drive.store.close()
    table = drive.directory / "table.db"
    if os.geteuid() == 0:
        os.chown(table, uid, 0)
    else:
        pytest.skip("to give files to another user wants root")
    monkeypatch.setattr(os, "access", lambda path, mode: path != table)
    with pytest.raises(Exception, match=advice):
        check_permissions(drive.directory)
    with pytest.raises(Exception, match=advice):
        drive.open()
    assert "repair" not in advice


def test_a_file_that_cannot_be_opened_is_no_damage(drive, monkeypatch):
    """As where a directory stands in the place of a file: no repair is advised."""
    drive.store.close()
    (drive.directory / "journal.db").unlink()
    (drive.directory / "journal.db").mkdir()
    with pytest.raises(Exception, match="unable to open database file; look at its owner and permissions") as caught:
        drive.open()
    assert "repair" not in str(caught.value)
