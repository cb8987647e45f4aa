"""Standard output and standard error. Data is buffered and flushed before any message, so the order is kept."""

import os

from kvsh.ui.progress import Progress
from kvsh.words import display_pieces

BUFFER_BYTES = 64 * 1024


class Output:
    """The descriptors for data and messages. With `is_terminal`, raw data is escaped for a terminal."""

    def __init__(self, data_fd: int = 1, message_fd: int = 2, *, is_terminal: bool = False) -> None:
        self.data_fd = data_fd
        self.message_fd = message_fd
        self.is_terminal = is_terminal
        self.progress: Progress | None = None
        self.parts: list[bytes] = []
        self.size = 0

    def attach(self, progress: Progress) -> None:
        """Clear this line of progress before other output."""
        self.progress = progress

    def data(self, data: bytes) -> None:
        """Write data, now or with the next flush."""
        if not self.is_terminal:
            self.safe_data(data)
            return
        for piece in display_pieces(data.replace(b"\r\n", b"\n")):
            self.safe_data(piece.encode())

    def safe_data(self, data: bytes) -> None:
        """Write data that does not act on a terminal, now or with the next flush."""
        self.parts.append(data)
        self.size += len(data)
        if self.size >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        if self.parts:
            data = b"".join(self.parts)
            self.parts, self.size = [], 0
            if self.progress is not None and self.progress.length and os.isatty(self.data_fd):
                self.progress.clear()
            write_all(self.data_fd, data)

    def message(self, text: str) -> None:
        """Write a line to standard error, after all data so far."""
        self.flush()
        if self.progress is not None:
            self.progress.clear()
        write_all(self.message_fd, text.encode(errors="backslashreplace") + b"\n")

    def end(self) -> None:
        """Write the buffered data, and remove the line of progress."""
        self.flush()
        if self.progress is not None:
            self.progress.clear()


def write_all(fd: int, data: bytes) -> None:
    """Write bytes to a descriptor, in as many calls as it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
