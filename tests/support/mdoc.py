"""A manual page taken apart: its sections, its literal blocks, the arguments of its macros."""

import re
from pathlib import Path

MAN = Path(__file__).resolve().parents[2] / "man"
ESCAPES = {r"\(dq": '"', r"\(aq": "'", r"\(ga": "`", r"\(ti": "~", r"\(ha": "^", r"\e": "\\", r"\-": "-", r"\&": ""}
MACRO = re.compile("Ar|Cm|Dd|Dt|El|Ev|Fl|Ic|It|Li|Nd|Nm|No|Ns|Oc|Oo|Op|Pa|Pf|Ql|Sh|Sq|Ss|Sx|Xr")
DELIMITERS = (",", ".", ";", ":", "|", "(", ")")


def unescape(text):
    """Return what mandoc shows for a text without macros."""
    return re.sub(r"\\(?:\(..|.)", lambda found: ESCAPES.get(found[0], found[0][1:]), text)


def section(page, title):
    """Return the source of a section."""
    return page.read_text(encoding="utf-8").split(f"\n.Sh {title}\n")[1].split("\n.Sh ")[0]


def literals(source):
    """Return the literal blocks of a source, as they are shown."""
    blocks = re.findall(r"^\.Bd -literal.*\n((?:.*\n)*?)\.Ed$", source, re.MULTILINE)
    return [unescape(block) for block in blocks]


def named(macro, source):
    """Return the arguments of a macro wherever it stands; `Fl Fl` is that of a long option."""
    return {word for found, word in arguments(source) if found == macro}


def arguments(source):
    """Yield each argument with its macro: `.Ev A , B No and C` gives (Ev, A), (Ev, B), (No, and), (No, C)."""
    for line in source.splitlines():
        macro, is_bare = "", False
        for token in line[1:].split() if re.match(r"\.[A-Z]", line) else ():
            if MACRO.fullmatch(token):
                macro = "Fl Fl" if token == macro == "Fl" and is_bare else token
                is_bare = True
            elif token not in DELIMITERS:
                yield macro, unescape(token)
                is_bare = False
