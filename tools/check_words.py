"""Check the words of the project: names of functions, and sentences in docstrings, comments, messages, docs and manual.

    check_words.py [--list] [FOLDER ...]

It prints a line for each folder and fails if a folder in CLEAN has a finding, which it then lists. `--list` lists all
findings. Three kinds are found:

name      a function that is named by a participle: functions are verbs, callbacks are on_x
word      a word or phrase of WORDS, in the text that people read
riddle    a sentence that begins with Who, Whose, What, Of, That or Those: put the subject first
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Folders and files without a finding. Add one here when it is clean.
CLEAN = (
    "CONTRIBUTING.md",
    "README.md",
    "bench",
    "docs/architecture.md",
    "docs/clients.md",
    "docs/events.md",
    "docs/gateways.md",
    "docs/grpc.md",
    "docs/http.md",
    "docs/native.md",
    "docs/nats.md",
    "docs/performance.md",
    "docs/protocol.md",
    "docs/reliability.md",
    "docs/storage.md",
    "docs/tcp.md",
    "docs/watching.md",
    "kvd/commands",
    "kvd/storage",
    "kvd/transfer",
    "kvsh/cli",
    "kvsh/grammar",
    "kvsh/modes",
    "kvsh/render",
    "kvsh/repl",
    "kvsh/script",
    "kvsh/ui",
    "man",
    "tests/cli",
    "tests/kvsh",
    "tools",
)
FOLDERS = ("kvd", "kvsh", "tests", "docs", "man", "tools", "bench", "README.md", "CONTRIBUTING.md")
WORDS = re.compile(
    r"\b(whose|whoever|told|tells?|anew|besides|so many|so much|goes on|go on|is well|is there already|what is there|"
    r"all that|not said|comes to an end)\b",
    re.IGNORECASE,
)
RIDDLE = re.compile(r"(?:^|(?<=[.:] ))(Who|Whose|Whoever|What|Of|That|Those)\b(?! else)[^?]*?(?:[.:;]|$)")
IRREGULAR = re.compile(
    "told|took|taken|made|kept|shown|said|meant|given|found|begun|gone|known|left|sent|held|heard|seen|met"
)
NOT_PARTICIPLES = re.compile("embed|feed|seed|speed|need|shed|bed|red|used|unused|based|named|untrusted")
ENDINGS = ("eed", "string", "setting", "listing", "pending")
PARTICIPLE_LENGTH_MIN = 5
PROPERTIES = frozenset(["property", "cached_property", "setter", "contextmanager", "asynccontextmanager", "fixture"])
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
# This file has the words themselves.
SKIPPED = ("_pb2.py", "check_words.py")
TEXT_FILES = (".md", ".c", ".h", ".1", ".5", ".7", ".8")
MACRO = re.compile(r"^\.(?:\\\"|[A-Z][a-z]\b)\s*")


class Finding(NamedTuple):
    """A place with a name or a sentence to change."""

    path: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}: {self.text[:100]}"


def is_participle(name: str) -> bool:
    """Return whether the first word of a name is a participle."""
    word = re.split(r"_|(?<=[a-z])(?=[A-Z])", name.lstrip("_"))[0].lower()
    is_regular = len(word) >= PARTICIPLE_LENGTH_MIN and word.endswith(("ed", "ing")) and not word.endswith(ENDINGS)
    return bool(IRREGULAR.fullmatch(word)) or (is_regular and not NOT_PARTICIPLES.fullmatch(word))


def is_named_by_noun(node: FUNCTIONS) -> bool:
    """Return whether a function is used as a value, so that a noun or participle is its name."""
    decorators = {ast.unparse(each).split("(")[0].split(".")[-1] for each in node.decorator_list}
    return bool(decorators & PROPERTIES)


def check_python(path: Path) -> Iterator[Finding]:
    """Yield the findings in a Python file."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS) and is_participle(node.name) and not is_named_by_noun(node):
            yield Finding(path, node.lineno, "name", node.name)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield from check_words(path, node.lineno, node.value)
        if isinstance(node, FUNCTIONS | ast.ClassDef | ast.Module):
            for sentence in RIDDLE.finditer(" ".join((ast.get_docstring(node) or "").split())):
                yield Finding(path, getattr(node, "lineno", 1), "riddle", sentence[0])
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield from check_words(path, token.start[0], token.string)


def check_words(path: Path, line: int, text: str) -> Iterator[Finding]:
    """Yield the words of the list in a text."""
    for match in WORDS.finditer(text):
        yield Finding(path, line, "word", f"{match[0]} | {' '.join(text.split())}")


def check_text(path: Path) -> Iterator[Finding]:
    """Yield the findings in a document, a manual page or a C file."""
    is_code = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        is_code ^= line.startswith(("```", ".Bd -literal", ".Ed"))
        if is_code:
            continue
        yield from check_words(path, number, line)
        if path.suffix not in (".c", ".h"):
            sentence = RIDDLE.search(MACRO.sub("", line))
            if sentence and not line.startswith((".Sh", ".Ss", "#")):
                yield Finding(path, number, "riddle", sentence[0])


def check_file(path: Path) -> list[Finding]:
    """Return the findings in a file."""
    if path.name.endswith(SKIPPED):
        return []
    if path.suffix == ".py":
        return list(check_python(path))
    return list(check_text(path)) if path.suffix in TEXT_FILES else []


def folder_of(path: Path) -> str:
    """Return the folder that a report names: of two levels, or the file itself below docs and man."""
    parts = path.parts
    depth = 2 if parts[0] in ("docs", "man") or len(parts) > 2 else 1  # noqa: PLR2004
    return "/".join(parts[:depth])


def main() -> int:
    """Report each folder; return 1 if one that has to be clean is not."""
    arguments = sys.argv[1:]
    roots = [Path(each) for each in arguments if each != "--list"] or [Path(each) for each in FOLDERS]
    files = sorted(path for root in roots for path in ([root] if root.is_file() else root.rglob("*")) if path.is_file())
    findings = [found for path in files for found in check_file(path)]
    counts = Counter((folder_of(found.path), found.kind) for found in findings)
    for folder in sorted({folder for folder, _ in counts}):
        row = "  ".join(f"{kind} {counts[folder, kind]}" for kind in ("name", "word", "riddle"))
        print(f"{folder:24} {row}")
    refused = [found for found in findings if f"{found.path}/".startswith(tuple(f"{each}/" for each in CLEAN))]
    for found in findings if "--list" in arguments else refused:
        print(found)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
