"""The golden bytes in tests/golden/*.txt: a line is a name, two blanks and the bytes in hex, or a row as text."""

from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden"


def golden_lines(name: str) -> list[tuple[str, ...]]:
    """Return the (name, text) pairs of one file."""
    lines = (GOLDEN / f"{name}.txt").read_text().splitlines()
    return [tuple(line.split("  ", 1)) for line in lines if line and not line.startswith("#")]
