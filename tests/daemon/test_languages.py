"""The clients in docs/clients.md, as they are printed there: each sets a key, reads it and prints the value."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.running import Daemon

TEXT = (Path(__file__).parents[2] / "docs/clients.md").read_text()
BLOCKS = dict(re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
JARS = "/usr/share/java/jeromq.jar:/usr/share/java/msgpack-core.jar"
GO = """module client
go 1.21
require github.com/go-zeromq/zmq4 v0.17.0
require github.com/vmihailenco/msgpack/v5 v5.4.1
"""
CARGO = """[package]
name = "client"
version = "0.1.0"
edition = "2021"
[dependencies]
zmq = "0.10"
rmpv = "1.3"
"""
# For each language: the file, how to see that its libraries are there, how to run it, and what installs them.
SCRIPTS = {
    "php": (
        "client.php",
        ["php", "-r", 'exit(extension_loaded("zmq") && extension_loaded("msgpack") ? 0 : 1);'],
        [["php", "client.php"]],
        "apt-get install php-cli php-zmq php-msgpack",
    ),
    "perl": (
        "client.pl",
        ["perl", "-MZMQ::FFI", "-MData::MessagePack", "-e", "1"],
        [["perl", "client.pl"]],
        "apt-get install libzmq-ffi-perl libdata-messagepack-perl",
    ),
    "ruby": (
        "client.rb",
        ["ruby", "-e", 'require "ffi-rzmq"; require "msgpack"'],
        [["ruby", "client.rb"]],
        "apt-get install ruby-ffi-rzmq ruby-msgpack",
    ),
    "c": (
        "client.c",
        ["cc", "-fsyntax-only", "-include", "zmq.h", "-include", "msgpack.h", "-x", "c", "/dev/null"],
        [["cc", "-Wall", "-Werror", "client.c", "-o", "client", "-lzmq", "-lmsgpackc"], ["./client"]],
        "apt-get install gcc libzmq3-dev libmsgpack-dev",
    ),
}
# These compile for long, or need more than Debian has.
OTHERS = {
    "javascript": (
        "client.js",
        ["node", "-e", 'require("zeromq"); require("@msgpack/msgpack")'],
        [["node", "client.js"]],
        "npm install --global zeromq @msgpack/msgpack, and NODE_PATH=$(npm root --global)",
    ),
    "java": (
        "Client.java",
        ["javap", "-cp", JARS, "org.zeromq.ZMQ", "org.msgpack.core.MessagePack"],
        [["javac", "-cp", JARS, "Client.java"], ["java", "-cp", f"{JARS}:.", "Client"]],
        "apt-get install default-jdk-headless libjeromq-java libmsgpack-java",
    ),
    "go": (
        "main.go",
        ["go", "mod", "download", "github.com/go-zeromq/zmq4", "github.com/vmihailenco/msgpack/v5"],
        [["go", "build", "-o", "client", "."], ["./client"]],
        "Go, and once: go get github.com/go-zeromq/zmq4@v0.17.0 github.com/vmihailenco/msgpack/v5@v5.4.1",
    ),
    "rust": (
        "src/main.rs",
        ["cargo", "fetch", "--offline", "--quiet", "--target", "x86_64-unknown-linux-gnu"],
        [["cargo", "build", "--offline", "--quiet"], ["target/debug/client"]],
        "Rust, libzmq3-dev, pkg-config, and once: cargo fetch of the crates zmq and rmpv",
    ),
}
OFFLINE = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOSUMDB": "off"}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """Return the TCP endpoint of a daemon: not every library knows ipc."""
    daemon = Daemon(tmp_path_factory.mktemp("d"), "--listen", "tcp://127.0.0.1:0").start()
    with daemon.client() as kv:
        [found] = [each for each in kv.info("server")["server"]["commands"] if each.startswith("tcp:")]
    yield found
    daemon.stop()


def run(command, folder):
    """Run a program in a folder; it must not ask any package index."""
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **OFFLINE}, capture_output=True, text=True, timeout=300, check=False
    )


def check_client(language, form, folder, endpoint):
    """Run a client as printed, with another endpoint; skip where its libraries are not there."""
    file, probe, commands, missing = form
    assert TEXT.count("tcp://127.0.0.1:7411") == len(SCRIPTS) + len(OTHERS)
    (folder / "src").mkdir()
    (folder / "go.mod").write_text(GO)
    (folder / "Cargo.toml").write_text(CARGO)
    (folder / file).write_text(BLOCKS[language].replace("tcp://127.0.0.1:7411", endpoint))
    if shutil.which(probe[0]) is None or run(probe, folder).returncode:
        pytest.skip(f"the client in {language} needs its libraries: {missing}")
    for command in commands:
        done = run(command, folder)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "Ahmedabad\n"


def test_each_client_of_the_document_is_run():
    assert set(BLOCKS) == set(SCRIPTS) | set(OTHERS)


@pytest.mark.parametrize("language", SCRIPTS)
def test_a_client_sets_a_key_and_reads_it(language, tmp_path, endpoint):
    check_client(language, SCRIPTS[language], tmp_path, endpoint)


@pytest.mark.long
@pytest.mark.parametrize("language", OTHERS)
def test_a_client_that_is_compiled_or_needs_packages_sets_a_key_and_reads_it(language, tmp_path, endpoint):
    check_client(language, OTHERS[language], tmp_path, endpoint)
