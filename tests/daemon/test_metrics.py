"""`kvd metrics`: a live daemon reports each metric, by Prometheus' rules, and a daemon that is down is reported."""

import http.client
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families
from support import forks
from support.running import eventually, run_kvd

from kvd.cli import main
from kvd.cli.metrics_http import InfoReader, Pages
from kvd.client import Client
from kvd.gateways.common.prometheus import BUILD, CALLS, DURATION, METRICS, SPENT, UP, InfoCollector, number_of

# Fields of INFO that are no metric, and why.
LEFT_OUT = {
    ("server", "pid"), ("process", "pid"),  # changes with each start, which kvd_start_time_seconds shows
    ("server", "memory_bytes"), ("server", "uptime_ms"), ("server", "revision"),  # reported by other sections
    ("server", "publish_queue"), ("server", "protocol"), ("server", "features"),  # constants
    ("server", "keys"),  # how it was set up
    ("latency", "slow_us"), ("latency", "us"), ("latency", "requests"),  # set up; in the histogram
}  # fmt: skip


class UnixConnection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.host)


class Metrics:
    """A running `kvd metrics`."""

    def __init__(self, url, *options):
        command = [sys.executable, "-m", "kvd", "metrics", "--url", url, *map(str, options)]
        self.process = forks.ForkedPopen(command, stderr=subprocess.PIPE, text=True)
        self.said = self.process.stderr.readline()
        self.at = self.said.rpartition(" at ")[2].strip()

    def connection(self):
        if self.at.startswith("unix:"):
            return UnixConnection(self.at.removeprefix("unix:"))
        return http.client.HTTPConnection(self.at.removeprefix("http://"), timeout=60)

    def get(self, path, method="GET"):
        connection = self.connection()
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response.status, body

    def families(self):
        status, text = self.get("/metrics")
        assert status == 200
        return {family.name: family for family in text_string_to_metric_families(text)}, text

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        self.process.stderr.close()
        return self.process.returncode


@pytest.fixture
def make_metrics():
    made = []

    def make(url, *options):
        made.append(Metrics(url, *(options or ("--listen", "127.0.0.1:0"))))
        return made[-1]

    yield make
    for each in made:
        each.stop()


def samples(family):
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


def test_each_metric_comes_out_of_a_live_daemon_and_is_as_prometheus_likes_it(daemon, kv, make_metrics):
    kv.set("a", "1")
    kv.get("a")
    families, text = make_metrics(daemon.commands).families()
    names = {measure.name for measure in METRICS} | {UP[0], CALLS[0], SPENT[0], DURATION[0], "kvd_build_info"}
    assert {name.removesuffix("_total") for name in names} == set(families)
    for family in families.values():
        assert family.documentation.endswith("."), family.name
        assert family.samples, family.name
        assert family.type in ("counter", "gauge", "histogram")
    typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helped = set(re.findall(r"^# HELP (\S+) .", text, re.MULTILINE))
    assert set(typed) == helped == names
    for name, kind in typed.items():
        assert re.fullmatch(r"kvd_[a-z_]+", name)
        assert (kind == "counter") == name.endswith("_total"), name
        assert not re.search(r"_(ms|us|kb|mb|minutes|count|sum|bucket)(_|$)", name), f"{name}: seconds and bytes"
    assert samples(families["kvd_up"]) == {(): 1}
    assert samples(families["kvd_commands"])["SET",] == 1
    assert families["kvd_keys"].samples[0].value == 1
    assert set(samples(families["kvd_wal_bytes"])) == {("journal",), ("table",)}
    started = families["kvd_start_time_seconds"].samples[0].value
    assert abs(started - time.time()) < 60


def test_the_histogram_is_one(daemon, kv, make_metrics):
    for number in range(20):
        kv.set("a", str(number))
    families, _ = make_metrics(daemon.commands).families()
    found = families["kvd_request_duration_seconds"].samples
    buckets = [(float(sample.labels["le"]), sample.value) for sample in found if sample.name.endswith("_bucket")]
    assert buckets == sorted(buckets)
    assert [count for _, count in buckets] == sorted(count for _, count in buckets)
    assert buckets[-1][0] == float("inf")
    rest = {sample.name.rpartition("_")[2]: sample.value for sample in found if not sample.name.endswith("_bucket")}
    assert rest["count"] == buckets[-1][1] >= 20
    assert 0 < rest["sum"] < 10


def test_each_number_of_info_is_a_metric_or_is_left_out_on_purpose(kv):
    table = {(measure.section, measure.field) for measure in METRICS}
    table |= {(section, field) for section, fields in BUILD for field in fields}
    info = kv.info()
    fields = {(section, field) for section in info if section != "commands" for field in info[section]}
    numbers = {
        (section, field)
        for section, field in fields
        if isinstance(info[section][field], int | float) and not field.startswith("below_")
    }
    assert numbers - table - LEFT_OUT == set(), (
        "put it into METRICS of kvd/gateways/common/prometheus.py, or into LEFT_OUT here"
    )
    assert (table | LEFT_OUT) - fields == set(), "INFO does not report these any more"
    assert not table & LEFT_OUT - {("server", "protocol")}


def test_an_older_daemon_tells_less():
    info = {"server": {"read_only": None}, "store": {"keys": 7}}
    names = {family.name for family in InfoCollector(info).collect() if family.samples}
    assert names == {"kvd_up", "kvd_read_only", "kvd_keys", "kvd_build_info"}


@pytest.mark.parametrize(("value", "number"), [(None, 0), ("a sentence", 1), (True, 1), (False, 0), (7, 7), (0.5, 0.5)])
def test_a_sentence_is_one(value, number):
    assert number_of(value) == number


def test_when_the_daemon_is_down_it_is_told_and_when_it_is_back_too(daemon, make_metrics):
    served = make_metrics(daemon.commands)
    eventually(lambda: served.get("/readyz")[0] == 200)
    daemon.kill()
    families, _ = served.families()
    assert (set(families), samples(families["kvd_up"])) == ({"kvd_up"}, {(): 0})
    status, said = served.get("/readyz")
    assert (status, said.startswith("the daemon does not answer: ")) == (503, True)
    assert served.get("/livez")[0] == 200
    daemon.start()
    eventually(lambda: served.get("/readyz") == (200, "the daemon answers and takes writes\n"))
    eventually(lambda: samples(served.families()[0]["kvd_up"]) == {(): 1})


def test_a_daemon_that_hangs_does_not_answer(daemon, make_metrics):
    served = make_metrics(daemon.commands)
    daemon.signal(signal.SIGSTOP)
    assert served.get("/readyz")[0] == 503
    daemon.signal(signal.SIGCONT)
    eventually(lambda: served.get("/readyz")[0] == 200)


def test_a_read_only_daemon_is_not_ready(monkeypatch):
    monkeypatch.setattr(InfoReader, "info", lambda _: {"server": {"read_only": "a commit failed"}})
    page = Pages(InfoReader("tcp://127.0.0.1:1", None)).page("/readyz", "")
    assert (page.status, page.body) == (503, b"the daemon takes no writes: a commit failed\n")


def test_other_paths_and_methods(daemon, make_metrics, tmp_path):
    served = make_metrics(daemon.commands, "--listen", f"unix:{tmp_path}/m")
    assert served.get("/nothing")[0] == 404
    assert "/metrics" in served.get("/")[1]
    assert served.get("/livez?verbose")[0] == 200
    assert served.get("/metrics", "HEAD") == (200, "")
    assert served.get("/metrics", "POST")[0] == 501
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o600
    again = run_kvd("metrics", "--listen", f"unix:{tmp_path}/m")
    assert (again.returncode, "is in use" in again.stderr) == (69, True)
    assert served.get("/livez")[0] == 200
    assert served.stop() == 0
    assert not (tmp_path / "m").exists()


def test_a_socket_left_behind_is_taken_and_a_file_is_not(daemon, make_metrics, tmp_path):
    served = make_metrics(daemon.commands, "--listen", f"unix:{tmp_path}/m")
    served.process.kill()
    served.process.wait()
    assert make_metrics(daemon.commands, "--listen", f"unix:{tmp_path}/m").get("/livez")[0] == 200
    (tmp_path / "file").write_text("precious")
    assert run_kvd("metrics", "--listen", f"unix:{tmp_path}/file").returncode == 69
    assert (tmp_path / "file").read_text() == "precious"


def test_with_keys(access_daemon, doors, make_metrics):
    key, server = doors.directory / "root.key_secret", doors.directory / "daemon.key"
    url = access_daemon.commands
    served = make_metrics(url, "--listen", "127.0.0.1:0", "--key", key, "--server-key", server)
    assert served.get("/readyz")[0] == 200
    assert make_metrics(url).get("/readyz")[0] == 503


def test_ipv6(daemon, make_metrics):
    try:
        socket.socket(socket.AF_INET6).bind(("::1", 0))
    except OSError:
        pytest.skip("there is no IPv6 here")
    served = make_metrics(daemon.commands, "--listen", "[::1]:0")
    assert served.get("/livez")[0] == 200


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--listen", "0.0.0.0:9411"], 78, "or give --insecure"),
        (["--listen", "host:9411"], 78, "takes ADDRESS:PORT"),
        (["--listen", "9411"], 78, "takes ADDRESS:PORT"),
        (["--listen", "127.0.0.1:x"], 78, "takes ADDRESS:PORT"),
        (["--listen", "127.0.0.1:65536"], 78, "takes ADDRESS:PORT"),
        (["--key", "a"], 78, "--key and --server-key go together"),
        (["--key", "a", "--server-key", "b"], 78, "cannot read a"),
    ],
)
def test_what_is_refused(options, code, said):
    done = CliRunner().invoke(main, ["metrics", *options])
    assert (done.exit_code, said in done.output) == (code, True), done.output


def test_insecure_listens_anywhere(make_metrics):
    assert make_metrics("ipc:///nowhere/c", "--listen", "0.0.0.0:0", "--insecure").at.startswith("http://0.0.0.0:")


def test_without_the_library_a_sentence_names_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "kvd.cli.metrics_http", raising=False)
    monkeypatch.delitem(sys.modules, "kvd.gateways.common.prometheus", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client.exposition", None)
    done = CliRunner().invoke(main, ["metrics"])
    assert done.exit_code == 69
    assert done.output.startswith("kvd: metrics need the extra metrics: pip install 'kvd-server[metrics]'")
    assert len(done.output.splitlines()) == 1


def test_a_port_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as other:
        done = CliRunner().invoke(main, ["metrics", "--listen", f"127.0.0.1:{other.getsockname()[1]}"])
    assert (done.exit_code, "cannot listen on" in done.output) == (69, True)


def test_the_default_url_is_the_clients():
    [url] = [option for option in main.commands["metrics"].params if option.name == "url"]
    assert url.default == Client().endpoint
