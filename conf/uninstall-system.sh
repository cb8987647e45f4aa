#!/bin/sh
# Removes the installation of install-system.sh, as root. The data, the configuration and their user are kept.
set -eu
home=${KVD_HOME:-/opt/kvd}

[ "$(id -u)" = 0 ] || { echo "uninstall-system: this needs root: sudo make uninstall-system" >&2; exit 1; }
# Sockets first, or they would start their services again.
for unit in "$home"/share/kvd/*.socket "$home"/share/kvd/*.service; do
    [ -e "$unit" ] || continue
    name=$(basename "$unit")
    if [ -d /run/systemd/system ]; then
        # All instances of a template.
        systemctl disable "$name" 2>/dev/null || true
        systemctl stop "$(echo "$name" | sed 's|@|@*|')" 2>/dev/null || true
    fi
    rm -f "/etc/systemd/system/$name"
done
[ ! -d /run/systemd/system ] || systemctl daemon-reload
for page in "$home"/share/man/man*/*; do
    rm -f "/usr/local/share/man/$(basename "$(dirname "$page")")/$(basename "$page")"
done
for command in kvd kvsh; do
    [ "$(readlink /usr/local/bin/$command)" != "$home/bin/$command" ] || rm -f "/usr/local/bin/$command"
done
rm -rf "$home"
echo "kvd is gone. The data is still in /var/lib/kvd, the configuration in /etc/kvd; they belong to the user kvd."
