"""The page's files: served as they are, whole and small, and its pure modules tested by node."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
UI = ROOT / "kvd/gateways/http/ui"
FILES = sorted(path.name for path in UI.iterdir())
IMPORT = re.compile(r'^(?:import|export) .*?from "(.+)";$', re.MULTILINE)
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
LINES_MAX = 400
NODE_MIN = 18


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_served_with_its_type_and_the_policy_and_asked_for_again_only_when_it_is_another(web, name):
    path = "/ui" if name == "index.html" else f"/ui/{name}"
    answer = web.get(path)
    assert (answer.status, answer.body) == (200, (UI / name).read_bytes())
    assert answer.headers["content-type"] == f"{KINDS[Path(name).suffix]}; charset=utf-8"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    again = web.get(path, If_None_Match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")


def test_a_file_that_is_not_there_is_not_found(web):
    assert [web.get(path).status for path in ("/ui/ui.js", "/ui/none.js", "/ui/../pages.py")] == [404, 404, 404]


def test_modules_import_files_that_are_there_and_index_html_refers_to_them():
    page = (UI / "index.html").read_text()
    referred = set(re.findall(r'(?:src|href)="ui/([\w.]+)"', page))
    imported = {name for path in UI.glob("*.js") for name in imports(path)}
    assert imported | referred == {f"./{name}"[2:] for name in FILES} - {"index.html"}


def imports(path):
    return {name.removeprefix("./") for name in IMPORT.findall(path.read_text())}


def test_modules_import_only_what_stands_above_them_in_the_list_of_main():
    head = (UI / "main.js").read_text().partition("\nimport")[0]
    listed = [
        f"{word}.js" for line in re.findall(r"^//   ([a-z ]+?)(?:  .*)?$", head, re.MULTILINE) for word in line.split()
    ]
    assert sorted(listed) == sorted(path.name for path in UI.glob("*.js"))
    for place, name in enumerate(listed):
        assert imports(UI / name) <= set(listed[:place]), name


def test_files_are_short():
    assert [name for name in FILES if len((UI / name).read_text().splitlines()) > LINES_MAX] == []


def node():
    """Return the command of node; skip where it is missing or too old."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is missing: apt-get install nodejs")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip("v").partition(".")[0]) < NODE_MIN:
        pytest.skip(f"node {version.strip()} is too old: {NODE_MIN} or newer is needed")
    return found


def test_the_pure_modules_do_what_their_tests_say():
    files = sorted(map(str, (Path(__file__).parent / "modules").glob("*.test.js")))
    done = subprocess.run(
        [node(), "--test", *files], capture_output=True, text=True, cwd=ROOT, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
