#!/bin/sh
# Runs in a booted Debian root in which install-system.sh has installed kvd: what an operator does, and what goes wrong.
# Each step prints what it sees; the last line of the transcript is TRIAL PASSED.
url=ipc:///run/kvd/kvd.sock

say() { printf '\n### %s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@" 2>&1; }
fail() { printf 'TRIAL FAILED: %s\n' "$*"; systemctl --no-pager status kvd.service; journalctl --no-pager -u kvd | tail -40; exit 1; }
as() { user=$1; shift; runuser -u "$user" -- "$@"; }
wait_for() { # seconds, command...
    left=$1; shift
    while ! "$@" >/dev/null 2>&1; do
        left=$((left - 1)); [ "$left" -gt 0 ] || fail "it did not come to hold: $*"
        sleep 1
    done
}
answers() { as ada kvsh --url "$url" ping; }
main_pid() { systemctl show -P MainPID kvd.service; }

useradd ada; usermod -aG kvd ada; useradd eve

say "first start"
run systemctl enable --now kvd.socket kvd-changes.socket kvd.service || fail start
run systemctl --no-pager status kvd.service | head -14
[ "$(systemctl is-active kvd.service)" = active ] || fail "it is not active"

say "ada is in the group kvd, eve is not"
run as ada kvsh --url $url set city Ahmedabad || fail "ada cannot write"
[ "$(as ada kvsh --url $url --raw get city)" = Ahmedabad ] || fail "ada cannot read"
if run as eve kvsh --url $url get city; then fail "eve can read"; fi
as eve kvsh --url $url get city 2>&1 | grep -q "group kvd" || fail "eve is not told why"

say "restarted three times under a client that keeps writing"
as ada /opt/kvd/bin/python - "$url" <<'PY' >/tmp/writer.out 2>&1 &
import sys, time
from kvd.client import Client
until, number = time.monotonic() + 15, 0
with Client(sys.argv[1], timeout=20) as kv:
    while time.monotonic() < until:
        kv.once().set(f"n:{number}", str(number))
        number += 1
    assert kv.count("n:") == number, (kv.count("n:"), number)
print(f"{number} written, none lost, no error")
PY
writer=$!
for _ in 1 2 3; do sleep 3; run systemctl restart kvd.service || fail restart; done
wait $writer || { cat /tmp/writer.out; fail "the writer saw an error"; }
cat /tmp/writer.out

say "reload with a good file, and with a bad one"
echo 'kept_changes = 500000' >>/etc/kvd/kvd.toml
run systemctl reload kvd.service || fail reload
wait_for 5 sh -c "runuser -u ada -- kvsh --url $url config kept_changes | grep -q 500000"
run as ada kvsh --url $url config kept_changes
printf 'kept_changes = 500000\nfsnc = "never"\nlog_level = "loud"\n' >/etc/kvd/kvd.toml
before=$(main_pid)
if run systemctl reload kvd.service; then fail "a bad file was taken"; fi
run journalctl --no-pager -o cat -u kvd -n 6
[ "$before" = "$(main_pid)" ] && answers >/dev/null || fail "a bad file at a reload did harm"

say "started with the bad file: not again and again"
if run systemctl restart kvd.service; then fail "a bad file was taken"; fi
sleep 3
run systemctl --no-pager show -P ExecMainStatus -P NRestarts kvd.service
[ "$(systemctl show -P ExecMainStatus kvd.service)" = 78 ] || fail "the exit code is not 78"
[ "$(systemctl show -P NRestarts kvd.service)" = 0 ] || fail "it was restarted"
: >/etc/kvd/kvd.toml
run systemctl reset-failed kvd.service kvd.socket kvd-changes.socket
run systemctl start kvd.socket kvd-changes.socket kvd.service || fail "it does not start again"

say "a daemon that hangs is ended by the watchdog, and comes again"
before=$(main_pid)
run kill -STOP "$before"
sleep 45
wait_for 20 answers
[ "$before" != "$(main_pid)" ] || fail "the watchdog did nothing"
run journalctl --no-pager -o cat -u kvd -n 12

say "kill -9"
before=$(main_pid)
run kill -KILL "$before"
wait_for 20 answers
[ "$(as ada kvsh --url $url --raw get city)" = Ahmedabad ] || fail "the data is gone"

say "figures for Prometheus"
run systemctl enable --now kvd-metrics.service || fail metrics
get() { /opt/kvd/bin/python -c 'import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=2).read().decode())' "$1"; }
wait_for 20 get http://127.0.0.1:9411/readyz
get http://127.0.0.1:9411/metrics | grep "^kvd_up\|^kvd_revision"
get http://127.0.0.1:9411/metrics | grep -q "^kvd_up 1" || fail "no figures"

say "HTTP, at a socket that is passed"
run systemctl enable --now kvd-gateway-http.socket || fail "no HTTP socket"
[ "$(systemctl is-active kvd-gateway-http.service)" = inactive ] || fail "it was started before anybody came"
run curl --fail -sS -X PUT --data-binary Surat http://127.0.0.1:7480/kv/town || fail PUT
[ "$(curl --fail -sS http://127.0.0.1:7480/kv/town)" = Surat ] && [ "$(as ada kvsh --url $url --raw get town)" = Surat ] || fail GET
run systemctl --no-pager status kvd-gateway-http.service | head -12
systemctl show -P StatusText kvd-gateway-http.service | grep -q 127.0.0.1:7480 || fail "it does not say where it serves"

say "the gateway is restarted three times under a client that keeps asking"
( number=0; while [ ! -e /tmp/enough ]; do
    number=$((number + 1))
    curl --fail -sS -X PUT --data-binary $number http://127.0.0.1:7480/kv/n >/dev/null || exit 1
    [ "$(curl --fail -sS http://127.0.0.1:7480/kv/n)" = $number ] || exit 1
done; echo "$number written and read, no request failed" ) >/tmp/curls.out 2>&1 &
curls=$!
for _ in 1 2 3; do sleep 2; run systemctl restart kvd-gateway-http.service || fail restart; done
touch /tmp/enough; wait $curls || { cat /tmp/curls.out; fail "a request failed"; }
cat /tmp/curls.out

say "the daemon is away: 503, and again when it is back"
status() { curl -sS -o /tmp/told -w '%{http_code}' "$@"; }
run systemctl stop kvd.socket kvd-changes.socket kvd.service
[ "$(status http://127.0.0.1:7480/kv/town)" = 503 ] || fail "GET is not 503"
cat /tmp/told; echo
[ "$(status http://127.0.0.1:7480/readyz)" = 503 ] || fail "/readyz is not 503"
cat /tmp/told
[ "$(status http://127.0.0.1:7480/livez)" = 200 ] || fail "/livez is not 200"
run systemctl start kvd.socket kvd-changes.socket kvd.service || fail start
wait_for 20 curl --fail -sS http://127.0.0.1:7480/readyz
[ "$(curl --fail -sS http://127.0.0.1:7480/kv/town)" = Surat ] || fail "GET does not come again"
run curl -sS http://127.0.0.1:7480/readyz

say "tokens, which a reload reads again"
tokens=/etc/kvd/gateway/tokens.toml
token() { kvd gateway token "$1" 2>/tmp/said >>$tokens; sed 's/.*: //' /tmp/said; }
ada=$(token ada); chmod 640 $tokens
echo "OPTIONS=\"--token-file $tokens\"" >/etc/default/kvd-gateway-http
run systemctl restart kvd-gateway-http.service || fail "no start with tokens"
ask() { status -H "Authorization: Bearer $1" http://127.0.0.1:7480/kv/town; }
[ "$(status http://127.0.0.1:7480/kv/town)" = 401 ] && [ "$(ask "$ada")" = 200 ] || fail "the token is of no use"
eve=$(token eve)
[ "$(ask "$eve")" = 401 ] || fail "it was read too soon"
run systemctl reload kvd-gateway-http.service || fail reload
wait_for 5 sh -c "curl --fail -sS -H 'Authorization: Bearer $eve' http://127.0.0.1:7480/kv/town"
if as ada cat $tokens; then fail "ada, of the group kvd, reads the tokens"; fi
run journalctl --no-pager -o cat -u kvd-gateway-http -n 3
rm /etc/default/kvd-gateway-http; run systemctl restart kvd-gateway-http.service || fail "no start without them"

say "a gateway that hangs is ended by the watchdog"
before=$(systemctl show -P MainPID kvd-gateway-http.service)
run kill -STOP "$before"
sleep 45
wait_for 20 curl --fail -sS -m 2 http://127.0.0.1:7480/kv/town
[ "$before" != "$(systemctl show -P MainPID kvd-gateway-http.service)" ] || fail "the watchdog did nothing"

say "two more of them, for a balancer; TCP; gRPC"
run systemctl enable --now kvd-gateway-http@7481.socket kvd-gateway-http@7482.socket || fail instances
for port in 7481 7482; do [ "$(curl --fail -sS http://127.0.0.1:$port/kv/town)" = Surat ] || fail "port $port"; done
run systemctl --no-pager list-units 'kvd-gateway-*' | head -8
run systemctl enable --now kvd-gateway-tcp.socket || fail "no TCP socket"
/opt/kvd/bin/python - <<'PY' || fail "TCP does not answer"
import socket, struct
text = lambda data: struct.pack(">I", len(data)) + data
with socket.create_connection(("127.0.0.1", 7413), timeout=20) as sock:
    sock.sendall(b"\0" + struct.pack(">H", 0) + text(b"town"))
    told = b""
    while len(told) < 11:
        told += sock.recv(100)
assert told == b"\0\0" + text(b"Surat"), told
print("TCP: Surat")
PY
run systemctl enable --now kvd-gateway-grpc.service || fail "no gRPC"
/opt/kvd/bin/python - <<'PY' || fail "gRPC does not answer"
import grpc
from grpc_health.v1 import health_pb2 as told, health_pb2_grpc as health
status = health.HealthStub(grpc.insecure_channel("127.0.0.1:50051")).Check(told.HealthCheckRequest(), timeout=20).status
assert status == told.HealthCheckResponse.SERVING, status
print("gRPC: SERVING")
PY

say "what systemd thinks of them"
for name in http tcp grpc nats; do run systemd-analyze --no-pager security kvd-gateway-$name.service | tail -1; done

say "over TCP, by sockets that are passed"
run systemctl enable kvd-tcp.socket kvd-changes-tcp.socket || fail enable
# Its other sockets too, which it starts itself: a gateway that comes again would start it before it has these.
run systemctl stop kvd.socket kvd-changes.socket kvd.service
run systemctl start kvd-tcp.socket kvd-changes-tcp.socket kvd.service || fail "no TCP sockets"
[ "$(as eve kvsh --raw get city)" = Ahmedabad ] || fail "TCP does not answer"

say "with keys"
cd /etc/kvd && /opt/kvd/bin/kvd keygen daemon >/dev/null && /opt/kvd/bin/kvd keygen ada >/dev/null || fail keygen
public=$(sed -n 's/ *public-key = "\(.*\)"/\1/p' ada.key)
printf '[ada]\nkey = "%s"\nrole = "write"\n' "$public" >access.toml
chgrp kvd access.toml; chmod 640 access.toml
install -d -o ada /home/ada; install -o ada -m 600 ada.key_secret /home/ada/; install -m 644 daemon.key /home/ada/; cd /home/ada
install -D -m 644 /opt/kvd/share/kvd/kvd-keys.conf /etc/systemd/system/kvd.service.d/keys.conf
systemctl daemon-reload; run systemctl restart kvd.service || fail "no start with keys"
[ "$(as ada kvsh --raw --key ada.key_secret --server-key daemon.key get city)" = Ahmedabad ] || fail "ada's key is of no use"
if run as eve kvsh get city; then fail "eve came in without a key"; fi
cd /

say "what systemd thinks of it"
run systemd-analyze --no-pager security kvd.service | tail -1
run systemctl --no-pager status kvd.service
run man -w kvd kvd-gateway kvsh kvd.toml || fail "no manual"
run ls -l /var/lib/kvd

say "and away"
run sh /opt/kvd/share/kvd/uninstall-system.sh || fail uninstall
[ -e /var/lib/kvd/journal.db ] && [ -z "$(find /etc/systemd/system ! -type d -name 'kvd*' ! -name '*.conf')" ] || fail "too much or too little is gone"
echo TRIAL PASSED
