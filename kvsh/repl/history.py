"""The history file: readable by its owner only, without lines that begin with a blank, each line once.

The format is prompt-toolkit's: `# time`, then the lines of an entry, each after a `+`. Several shells may append at
once: an entry is one write, and the system appends each as a whole.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

from prompt_toolkit.history import History as AnyHistory

from kvsh.ui.output import write_all

READ_BYTES_MAX = 1024 * 1024  # the newest part; older entries stay in the file but are not loaded


def history_path(profile: str | None) -> Path:
    """Return the history file: `$XDG_STATE_HOME/kvsh/history`, or `history-NAME` of a profile."""
    home = os.environ.get("XDG_STATE_HOME")
    name = "history" if profile is None else f"history-{quote(profile, safe='')}"
    return (Path(home) if home else Path.home() / ".local" / "state") / "kvsh" / name


class History(AnyHistory):
    """A history file. Raises OSError when it cannot be created."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(self._open_file())
        path.chmod(0o600)

    def _open_file(self) -> int:
        """Return a descriptor for appending."""
        return os.open(self.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def append_string(self, string: str) -> None:
        """Store a line, unless it begins with a blank, and drop an earlier equal one from memory."""
        string = string.rstrip()
        if not string or string.startswith((" ", "\t")):
            return
        is_new = self._loaded_strings[:1] != [string]
        self._loaded_strings = [string, *(old for old in self._loaded_strings if old != string)]
        if is_new:
            self.store_string(string)

    def store_string(self, string: str) -> None:
        """Append an entry. On a full disk the entry is lost."""
        lines = "".join(f"+{line}\n" for line in string.split("\n"))
        entry = f"\n# {time.strftime('%Y-%m-%d %H:%M:%S')}\n{lines}".encode(errors="surrogateescape")
        with suppress(OSError):
            fd = self._open_file()
            try:
                write_all(fd, entry)
            finally:
                os.close(fd)

    def load_history_strings(self) -> Iterable[str]:
        """Return the entries, newest first, without duplicates."""
        try:
            data, is_whole = self._tail()
        except OSError:
            return []
        groups = groupby(data.split(b"\n"), key=lambda line: line.startswith(b"+"))
        entries = [b"\n".join(line[1:] for line in lines) for is_entry, lines in groups if is_entry]
        texts = [entry.decode(errors="surrogateescape") for entry in entries]
        return dict.fromkeys(reversed(texts if is_whole else texts[1:]))

    def _tail(self) -> tuple[bytes, bool]:
        """Return the end of the file, and whether it is the whole file."""
        with self.path.open("rb") as file:
            start = max(0, file.seek(0, os.SEEK_END) - READ_BYTES_MAX)
            file.seek(start)
            return file.read(), start == 0
