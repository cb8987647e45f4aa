#!/bin/sh
# Installs kvd for this machine, as root: install-system.sh WHAT, where WHAT is what pip takes (a wheel, `kvd`, or `.`).
# Run again it upgrades: the configuration and the data stay.
set -eu
what=${1:-kvd}
home=${KVD_HOME:-/opt/kvd}
units=/etc/systemd/system

[ "$(id -u)" = 0 ] || { echo "install-system: this wants root: sudo make install-system" >&2; exit 1; }
[ -x "$home/bin/python" ] || "${PYTHON:-python3}" -m venv "$home" || {
    echo "install-system: Python's venv is missing: apt-get install python3-venv" >&2
    exit 1
}
"$home/bin/pip" install --quiet --disable-pip-version-check --upgrade "$what[metrics,http,grpc,nats]"
share=$home/share/kvd

systemd-sysusers "$share/kvd.sysusers"
systemd-tmpfiles --create "$share/kvd.tmpfiles"
[ -e /etc/kvd/kvd.toml ] || install -m 640 -g kvd "$share/kvd.toml" /etc/kvd/kvd.toml
for unit in "$share"/*.service "$share"/*.socket; do
    sed "s|/opt/kvd/|$home/|g" "$unit" >"$units/$(basename "$unit")"
done
mkdir -p /usr/local/bin
ln -sf "$home/bin/kvd" "$home/bin/kvsh" /usr/local/bin/
for page in "$home"/share/man/man*/*; do
    section=$(basename "$(dirname "$page")")
    mkdir -p "/usr/local/share/man/$section"
    ln -sf "$page" "/usr/local/share/man/$section/"
done
[ ! -d /run/systemd/system ] || systemctl daemon-reload

cat <<NEXT
kvd is installed. To start it, now and at each boot:
    systemctl enable --now kvd.socket kvd-changes.socket kvd.service
Who may use it is in the group kvd:
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
