#!/bin/sh
# Checks with systemd that the units are valid, and how exposed the services are. Part of `make check`.
set -eu
cd "$(dirname "$0")"
command -v systemd-analyze >/dev/null || { echo "check-units: no systemd here, so the units are not looked at" >&2; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for unit in *.service *.socket; do
    # An instance of a template: its name is its port.
    sed 's|/opt/kvd/bin/kvd|/bin/true|' "$unit" >"$folder/$(echo "$unit" | sed 's|@|@7481|')"
done
verify() {
    said=$(SYSTEMD_UNIT_PATH="$folder:" systemd-analyze verify --man=no "$folder"/*.service "$folder"/*.socket 2>&1 | grep -F "$folder" || true)
    [ -z "$said" ] || { echo "$said" >&2; exit 1; }
}
exposed() { # at most $1 tenths: $2
    systemd-analyze security --offline=true --threshold="$1" "$folder/$2" >"$folder/said" || {
        tail -1 "$folder/said" >&2
        exit 1
    }
}
verify
exposed 5 kvd.service
exposed 15 kvd-metrics.service
for name in http http@7481 tcp; do exposed 5 "kvd-gateway-$name.service"; done
for name in grpc nats; do exposed 12 "kvd-gateway-$name.service"; done
grep -v '^#' kvd-network.conf | grep -v '^\[Service\]' >"$folder/network"
sed -i "/^RestrictAddressFamilies=AF_UNIX/r $folder/network" "$folder/kvd.service"
verify
exposed 12 kvd.service
