"""kvd under a real systemd, booted in a Debian root: trial.sh is what happens there, step by step.

It wants root, debootstrap and systemd-nspawn, and takes some minutes; with KVD_TEST_ROOT=FOLDER the Debian root is made
there once and used again. The transcript is printed with -s.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,ca-certificates,procps,man-db,curl"
# Where this machine gets packages from, if that is configured.
PIP = ["/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/resolv.conf"]
# Files of an earlier trial.
LEFT = "opt/kvd", "var/lib/kvd", "etc/kvd", "etc/systemd/system/kvd.service.d", "etc/default/kvd-gateway-http"
UNIT = """\
[Unit]
Description=the trial
After=multi-user.target
[Service]
Type=oneshot
ExecStart=sh /root/trial.sh
ExecStopPost=systemctl poweroff --no-block
StandardOutput=file:/root/transcript
StandardError=inherit
[Install]
WantedBy=multi-user.target
"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="booting a Debian root wants root"),
    pytest.mark.skipif(
        not (shutil.which("systemd-nspawn") and shutil.which("debootstrap")),
        reason="this wants systemd-nspawn and debootstrap: apt-get install systemd-container debootstrap",
    ),
]


@pytest.fixture
def root(tmp_path):
    """Return a Debian root with systemd."""
    made = Path(os.environ.get("KVD_TEST_ROOT", tmp_path / "root"))
    if not (made / "usr/bin/systemctl").exists():
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert (made / "usr/bin/curl").exists(), f"{made} is older than this test: install curl there"
    for path in map(Path, PIP):
        if path.exists():
            (made / path.relative_to("/")).unlink(missing_ok=True)
            shutil.copy(path, made / path.relative_to("/"))
    return made


@pytest.fixture
def wheel(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path / "dist"), str(PROJECT)]
    subprocess.run(command, check=True)
    (made,) = (tmp_path / "dist").glob("*.whl")
    return made


def in_root(root, *command):
    nspawn = ["systemd-nspawn", "--quiet", "--pipe", "--register=no", "--keep-unit", "--directory", str(root)]
    done = subprocess.run([*nspawn, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_what_an_operator_does_and_what_goes_wrong(root, wheel):
    shutil.copy(wheel, root / "root")
    shutil.copy(PROJECT / "conf/install-system.sh", root / "root")
    for left in LEFT:
        shutil.rmtree(root / left, ignore_errors=True)
        (root / left).unlink(missing_ok=True)
    for enabled in (root / "etc/systemd/system").glob("*.wants/kvd*"):
        enabled.unlink()
    in_root(root, "sh", "-c", "userdel ada; userdel eve; mkdir -p /var/log/journal; true")
    said = in_root(root, "sh", "/root/install-system.sh", f"/root/{wheel.name}")
    assert "systemctl enable --now kvd.socket kvd-changes.socket kvd.service" in said
    shutil.copy(HERE / "trial.sh", root / "root")
    transcript = root / "root/transcript"
    transcript.unlink(missing_ok=True)
    (root / "etc/systemd/system/trial.service").write_text(UNIT)
    in_root(root, "systemctl", "enable", "trial.service")
    options = ["--quiet", "--boot", "--private-network", "--console=pipe", "--register=no", "--keep-unit"]
    command = ["systemd-nspawn", *options, "--directory", str(root)]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=600, check=False)
    told = transcript.read_text(encoding="utf-8", errors="replace")
    print(told)
    assert told.endswith("TRIAL PASSED\n"), told[-4000:]
