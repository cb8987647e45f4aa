"""The line in the user's editor: $VISUAL, else $EDITOR. It returns to the prompt, where Enter runs it.

Not prompt-toolkit's own: it runs the old line when the editor fails, and does not handle bytes that are not UTF-8.
"""

import asyncio
import os
import shlex
import shutil
from pathlib import Path
from tempfile import NamedTemporaryFile

from prompt_toolkit.application import in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document

from kvsh.repl.encoding import as_bytes, as_text

EDITORS = ("editor", "nano", "vi")


def editor() -> str:
    """Return the editor's command line."""
    installed = (name for name in EDITORS if shutil.which(name))
    return os.environ.get("VISUAL") or os.environ.get("EDITOR") or next(installed, "vi")


async def edit(buffer: Buffer) -> None:
    """Edit a buffer. It stays unchanged when the editor fails."""
    with NamedTemporaryFile(prefix="kvsh-", suffix=".kv") as file:
        file.write(as_bytes(buffer.text) + b"\n")
        file.flush()
        async with in_terminal():
            child = await asyncio.create_subprocess_shell(f"{editor()} {shlex.quote(file.name)}")
            code = await child.wait()
        if code == 0:
            text = as_text(Path(file.name).read_bytes()).removesuffix("\n")  # noqa: ASYNC240  # a short file, just written
            buffer.document = Document(text, len(text))
