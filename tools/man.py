"""Keeps the lists in the manual true: the directives, what is not applied, and the codes come from the tables of the code.

python tools/man.py            rewrite the lists between the BEGIN and END comments
python tools/man.py --check    say whether they are fresh
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from sockact.unit.diagnostics import CODES
from sockact.unit.directives import Row, Section
from sockact.unit.directives.execution import ExecutionSection
from sockact.unit.directives.service import ServiceSection
from sockact.unit.directives.sockact import SockactSection
from sockact.unit.directives.socket import SocketSection
from sockact.unit.directives.unit import UnitSection

MANUAL = Path(__file__).parent.parent / "man"
SECTIONS: tuple[type[Section], ...] = (SocketSection, SockactSection, ServiceSection, UnitSection)
SHARED = frozenset(row for _, row in ExecutionSection.rows())
"""What [Socket] and [Service] have in common; it is listed once."""


def escape(text: str) -> str:
    """Text as troff takes it: backslashes and hyphens are themselves, a line never starts with a dot."""
    return text.replace("\\", "\\e").replace("-", "\\-").replace("\n.", "\n\\&.")


def default(row: Row) -> str:
    """The default as one would write it; nothing for what is unset, or depends on other directives."""
    if row.default is None or row.default in ((), "") or callable(row.default):
        return ""
    shown = row.kind.show(row.default)
    return f"Default: {escape({True: 'yes', False: 'no'}.get(shown, str(shown)) if isinstance(shown, bool) else str(shown))}."


def directives(section: type[Section], less: frozenset[Row] = frozenset()) -> str:
    rows = {row.key: row for _, row in section.rows() if row.kind.name != "refused" and row not in less}
    return "\n".join(f".TP\n.BR {key} = \\fI{row.kind.name}\\fP\n{' '.join(meaning(row))}" for key, row in rows.items())


def meaning(row: Row) -> Iterator[str]:
    """What is said of a directive, sentence by sentence; its options are left to `sockact explain`."""
    yield escape(row.meaning)
    if row.kind.name == "choice":
        yield escape(f"One of {row.kind.grammar}.")
    yield from filter(None, [default(row)])
    if row.concerns:
        yield escape(f"For {row.concerns.noun} only.")
    if row.accept is not None:
        yield f"With Accept={'yes' if row.accept else 'no'} only."
    if row.since not in ("", FIRST):
        yield f"Since systemd {row.since}."


FIRST = "1"
"""The version of systemd that goes without saying."""


def not_applied(section: type[Section], other: type[Section] | None = None, *, shared: bool = False) -> str:
    """What a section does not apply, by reason: what another one refuses, too, for the same reason, or all but that."""
    also = other.known.items() if other else ()
    reasons: dict[str, list[str]] = {}
    for key, reason in section.known.items():
        if ((key, reason) in also) == shared:
            reasons.setdefault(reason, []).append(key)
    return "\n".join(f".TP\n{escape(sentence(reason))}:\n{escape(', '.join(keys))}." for reason, keys in reasons.items())


def sentence(text: str) -> str:
    """With a capital letter in front, unless the first word is our own name."""
    return text if text.startswith("sockact ") else text[0].upper() + text[1:]


def kinds() -> str:
    """Every type of value once; a choice is explained with its directive."""
    rows = [row for section in SECTIONS for _, row in section.rows()]
    grammars = {row.kind.name: row.kind.grammar for row in rows if row.kind.name not in ("choice", "refused")}
    return "\n".join(f".TP\n.I {name}\n{escape(grammar)}." for name, grammar in grammars.items())


def codes() -> str:
    rows = (f"{code}\t{known.severity}\t{known.scope}\tT{{\n{escape(known.about)}\nT}}" for code, known in CODES.items())
    return "\n".join((".TS", "l l l lx.", *rows, ".TE"))


LISTS: dict[str, Callable[[], str]] = {
    "socket": lambda: directives(SocketSection, SHARED),
    "x-sockact": lambda: directives(SockactSection),
    "service": lambda: directives(ServiceSection, SHARED),
    "shared": lambda: directives(ExecutionSection),
    "unit": lambda: directives(UnitSection),
    "kinds": kinds,
    "codes": codes,
    "not applied in [Socket] and [Service]": lambda: not_applied(SocketSection, ServiceSection, shared=True),
    "not applied in [Socket]": lambda: not_applied(SocketSection, ServiceSection),
    "not applied in [Service]": lambda: not_applied(ServiceSection, SocketSection),
    "not applied in [Unit]": lambda: not_applied(UnitSection),
}


def fresh(text: str) -> str:
    """The page with its lists made anew."""
    for name, make in LISTS.items():
        begin, end = f'.\\" BEGIN {name}\n', f'\n.\\" END {name}\n'
        if begin in text:
            head, _, rest = text.partition(begin)
            text = head + begin + make() + end + rest.partition(end)[2]
    return text


def main(arguments: list[str]) -> int:
    stale = [page for page in sorted(MANUAL.iterdir()) if fresh(page.read_text()) != page.read_text()]
    for page in stale:
        if arguments != ["--check"]:
            page.write_text(fresh(page.read_text()))
        print(f"{page.name}: {'stale' if arguments == ['--check'] else 'written'}")
    return 1 if stale and arguments == ["--check"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
