"""GET /kv/k through the HTTP gateway, and a Starlette route that answers a constant: gateway_http.py [ROUNDS].

Both run under uvicorn with uvloop and httptools, in separate processes; wrk has 50 connections. Rounds alternate. It
prints medians and their ratio, and needs wrk (apt-get install wrk).
"""

import re
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvicorn
from daemons import run_process
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from kvd.client import Client

GATEWAY_PORT, CONSTANT_PORT = 17480, 17481
CONNECTIONS, SECONDS = 50, 3
VALUE = b"v" * 100


async def constant(request: Request) -> Response:  # noqa: ARG001
    """Answer like the gateway."""
    return Response(VALUE, headers={"ETag": '"1"'}, media_type="application/octet-stream")


def measure(port: int) -> float:
    """Return the replies a second that wrk counts."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}", f"http://127.0.0.1:{port}/kv/k"]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in told:
        raise SystemExit(told)
    found = re.search(r"Requests/sec:\s+([\d.]+)", told)
    if found is None:
        raise SystemExit(told)
    return float(found[1])


def compare(rounds: int) -> None:
    """Measure both, alternating, and print."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvd-bench-")))
        url = f"ipc://{folder}/c"
        kvd = [sys.executable, "-m", "kvd"]
        ends = ["--listen", url, "--publish", f"ipc://{folder}/p", "--log-level", "error"]
        stack.enter_context(run_process([*kvd, "serve", "--data", folder / "data", *ends]))
        stack.enter_context(
            run_process([*kvd, "gateway", "http", "--url", url, "--listen", f"127.0.0.1:{GATEWAY_PORT}"])
        )
        stack.enter_context(run_process([sys.executable, __file__, "--constant"]))
        with Client(url) as kv:
            kv.set("k", VALUE)
        pairs = [(measure(GATEWAY_PORT), measure(CONSTANT_PORT)) for _ in range(rounds)]
    gateway, plain = (statistics.median(each) for each in zip(*pairs, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(
        f"GET {gateway:,.0f}/s  constant {plain:,.0f}/s  ratio {ratio:.2f}  ({rounds} rounds of {CONNECTIONS} clients)"
    )


def main() -> None:
    """Run the part that the arguments name."""
    if sys.argv[1:2] == ["--constant"]:
        app = Starlette(routes=[Route("/kv/{key:path}", constant)])
        uvicorn.run(app, port=CONSTANT_PORT, log_level="error", access_log=False, loop="uvloop", http="httptools")
    else:
        compare(int(sys.argv[1]) if len(sys.argv) > 1 else 5)


if __name__ == "__main__":
    main()
