"""The history: readable by its owner only, without lines that begin with a blank, the same line once."""

import os
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import FileHistory


def history_path() -> Path:
    """Return where the history is: `$XDG_STATE_HOME/kvsh/history`."""
    home = os.environ.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "kvsh" / "history"


class History(FileHistory):
    """A history file that several shells append to at once; each line is written with one call."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
        super().__init__(str(path))

    def append_string(self, string: str) -> None:
        """Keep a line, unless it begins with a blank or is the one before."""
        if string.startswith((" ", "\t")) or not string.strip() or self.get_strings()[-1:] == [string]:
            return
        super().append_string(string)

    def load_history_strings(self) -> Iterable[str]:
        """Return the lines, newest first, each once."""
        return dict.fromkeys(super().load_history_strings())
