"""kvsh's modes for operators: one module a mode, each with `run`.

    scan.py           --scan     the keys of a prefix
    stat.py           --stat     the daemon's activity, a line a second
    latency.py        --latency  round-trip times
    bench.py          --bench    throughput
    bench_workers.py  the client processes of --bench, as its own process sees them
    bench_worker.py   a client process of --bench
    bench_messages.py the messages between them
    bigkeys.py        --bigkeys  the largest values and prefixes
    sizes.py          the sums of --bigkeys
    latency_stats.py  percentiles and buckets: pure
    report.py         figures as text: pure
    progress.py       the line of progress

A mode is loaded by its name (`kvsh.cli.app.enter`), so it does not slow down the start of others.
"""
