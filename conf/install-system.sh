#!/bin/sh
# Installs kvd for this machine, as root: install-system.sh [WHAT]
# WHAT is a wheel or a source tree; the default is the tree of this script. A second run upgrades: the configuration and
# the data are kept. All checks and downloads are complete before anything on the machine is changed.
set -eu
home=${KVD_HOME:-/opt/kvd}
units=/etc/systemd/system
python=${PYTHON:-python3}
extras=metrics,http,grpc,nats
own_tree=$(dirname "$0")/..

fail() { printf 'install-system: %s\n' "$*" >&2; exit 1; }

is_tree() { grep -qs '^name = "kvd-server"' "$1/pyproject.toml"; }

check_what() {
    if [ -z "$what" ]; then
        is_tree "$own_tree" || fail "this script is not in a source tree: name a wheel or a clone: install-system.sh kvd_server-...whl"
        what=$own_tree
    fi
    case $what in
    *.whl) [ -f "$what" ] || fail "there is no file $what" ;;
    *) is_tree "$what" || fail "$what is neither a wheel nor a source tree of kvd; a name from an index is not taken" ;;
    esac
}

check_machine() {
    [ "$(id -u)" = 0 ] || fail "this needs root: sudo make install-system"
    command -v "$python" >/dev/null || fail "Python is missing: apt-get install python3 python3-venv"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "$python is older than 3.11: PYTHON=... make install-system"
    "$python" -c 'import ensurepip' 2>/dev/null || fail "Python's venv is missing: apt-get install python3-venv"
    for program in systemd-sysusers systemd-tmpfiles; do
        command -v $program >/dev/null || fail "$program is missing: apt-get install systemd (for one user, without systemd: pipx install .)"
    done
    [ ! -e "$home" ] || [ -e "$home/pyvenv.cfg" ] || fail "$home is there and is not of this script's making"
}

# The C parts are compiled in a copy, because the tree belongs to a user.
copy_tree() {
    mkdir "$scratch/tree"
    (cd "$1" && tar -cf - --exclude='*.so' --exclude=__pycache__ \
        pyproject.toml setup.cfg setup.py MANIFEST.in README.md LICENSE requirements-build.lock requirements-system.lock \
        kvd kvsh conf man) | tar -xf - --no-same-owner -C "$scratch/tree"
}

pip() { "$scratch/venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# Puts the wheels of kvd and of its requirements into $scratch/wheels.
collect_wheels() {
    "$python" -m venv "$scratch/venv"
    case $what in
    *.whl) pip wheel --quiet --wheel-dir "$scratch/wheels" "$(realpath "$what")[$extras]" ;;
    *)
        copy_tree "$what"
        cd "$scratch/tree"
        pip install --quiet --require-hashes --requirement requirements-build.lock
        pip wheel --quiet --no-build-isolation --require-hashes --requirement requirements-system.lock --wheel-dir "$scratch/wheels"
        pip wheel --quiet --no-build-isolation --no-deps --wheel-dir "$scratch/wheels" .
        cd / ;;
    esac
}

install_wheels() {
    [ -x "$home/bin/python" ] || "$python" -m venv "$home"
    # The former name of the distribution, which has the same files.
    [ -z "$(ls -d "$home"/lib/python*/site-packages/kvd-*.dist-info 2>/dev/null)" ] || "$home/bin/python" -m pip uninstall --quiet --yes kvd
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --upgrade "$scratch"/wheels/*.whl
    # A build of the same version replaces the installed one.
    "$home/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --force-reinstall "$scratch"/wheels/kvd_server-*.whl
}

install_rest() {
    share=$home/share/kvd
    systemd-sysusers "$share/kvd.sysusers"
    systemd-tmpfiles --create "$share/kvd.tmpfiles"
    [ -e /etc/kvd/kvd.toml ] || install -m 640 -g kvd "$share/kvd.toml" /etc/kvd/kvd.toml
    mkdir -p "$units" /usr/local/bin
    for unit in "$share"/*.service "$share"/*.socket; do
        sed "s|/opt/kvd/|$home/|g" "$unit" >"$units/$(basename "$unit")"
    done
    ln -sf "$home/bin/kvd" "$home/bin/kvsh" /usr/local/bin/
    for page in "$home"/share/man/man*/*; do
        section=$(basename "$(dirname "$page")")
        mkdir -p "/usr/local/share/man/$section"
        ln -sf "$page" "/usr/local/share/man/$section/"
    done
    [ ! -d /run/systemd/system ] || systemctl daemon-reload
}

what=${1:-}
check_machine
check_what
size="about 25 MB"
[ ! -d "$what" ] || size=$(sed -n 's/^# Download: //p' "$what/requirements-system.lock")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
echo "install-system: collecting kvd and what it needs, a download of $size ..." >&2
collect_wheels
echo "install-system: installing into $home ..." >&2
install_wheels
install_rest
"$home/bin/python" -c 'import kvd.native._core, kvd.server._frames' 2>/dev/null || cat <<'PLAIN' >&2
install-system: nothing is compiled, so kvd runs in its plain form: SET takes 1.2 to 2 times as long, MULTIGET five times (apt-get install gcc python3-dev, and install again)
PLAIN

cat <<NEXT
kvd is installed. To start it, now and at each boot:
    systemctl enable --now kvd.socket kvd-changes.socket kvd.service
The members of the group kvd may use it:
    usermod -aG kvd NAME      (and NAME logs in again)
    kvsh --url ipc:///run/kvd/kvd.sock
TCP beside that, on this machine (see kvd-keys.conf in $share for others):
    systemctl enable kvd-tcp.socket kvd-changes-tcp.socket
    systemctl stop kvd.socket kvd-changes.socket kvd.service
    systemctl start kvd-tcp.socket kvd-changes-tcp.socket kvd.service
Figures for Prometheus, at http://127.0.0.1:9411/metrics:
    systemctl enable --now kvd-metrics.service
HTTP, at http://127.0.0.1:7480; there are gateways for gRPC, TCP and NATS too (man kvd-gateway):
    systemctl enable --now kvd-gateway-http.socket
The manual: man kvd
NEXT
