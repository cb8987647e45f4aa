"""What kvsh does for an operator besides running commands: a module a mode, each with `run`.

    scan.py     --scan     the keys of a prefix
    stat.py     --stat     what the daemon does, a line a second
    latency.py  --latency  round trips
    bench.py    --bench    commands a second; load.py is its client process, task.py what the two tell each other
    bigkeys.py  --bigkeys  what takes the room; sizes.py is its tally

    spread.py, report.py   figures and their text: pure
    progress.py            the line that tells how far it is

A mode is loaded by its name (`kvsh.cli.app.enter`), so nothing of one costs the others a start.
"""
