"""`%`-specifiers (systemd.unit(5), "Specifiers"): a letter stands for a fact about the unit or the host.

The unit's own facts are derived from its name here; those of the host come as a table from the edge.
"""

from __future__ import annotations

from sockact.record import TYPE_CHECKING, Record
from sockact.unit.diagnostics import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Facts = Mapping[str, Callable[[], str]]


def split_name(name: str) -> tuple[str, str | None, str]:
    """`web@1.service` is prefix, instance and type: `("web", "1", "service")`; the instance is None without `@`."""
    stem, _, kind = name.rpartition(".")
    prefix, at, instance = stem.partition("@")
    return prefix, instance if at else None, kind


def unescape_name(text: str) -> str:
    """Undo systemd-escape(1): `-` is a slash, `\\xHH` a byte."""
    parts = text.replace("-", "/").split("\\x")
    data = parts[0].encode()
    for part in parts[1:]:
        try:
            data += bytes([int(part[:2], 16)]) + part[2:].encode()
        except ValueError:
            data += b"\\x" + part.encode()
    return data.decode(errors="replace")


def unit_facts(name: str, file: str) -> Facts:
    """The specifiers that depend on the unit alone."""
    prefix, instance, _ = split_name(name)
    stem = name.rpartition(".")[0]
    last = prefix.rpartition("-")[2]
    return {
        "n": lambda: name,
        "N": lambda: stem,
        "p": lambda: prefix,
        "P": lambda: unescape_name(prefix),
        "i": lambda: instance or "",
        "I": lambda: unescape_name(instance or ""),
        "j": lambda: last,
        "J": lambda: unescape_name(last),
        "f": lambda: "/" + unescape_name(instance or prefix).lstrip("/"),
        "y": lambda: file,
        "Y": lambda: file.rpartition("/")[0],
    }


def expand(text: str, facts: Facts) -> str | Invalid:
    """Replace every `%x`. `%%` is a percent sign; a `%` before anything but a letter or digit stays, as in systemd."""
    if "%" not in text:
        return text
    out = []
    position = 0
    while (at := text.find("%", position)) >= 0:
        out.append(text[position:at])
        letter = text[at + 1 : at + 2]
        position = at + 2
        if letter == "%":
            out.append("%")
        elif letter in facts:
            out.append(facts[letter]())
        elif letter.isascii() and letter.isalnum():
            return Invalid(f"unknown specifier %{letter}", at, at + 2, "a literal percent sign is written %%")
        else:
            out.append("%")
            position = at + 1
    return "".join(out) + text[position:]


class Context(Record):
    """What a value's reader may know beyond the text: the specifiers, whether the host has IPv6, and, where the unit wants
    them in its addresses, the variables of the supervisor."""

    facts: Facts
    ipv6: bool = True
    variables: Mapping[str, str] | None = None

    def expand(self, text: str) -> str | Invalid:
        return expand(text, self.facts)

    def substitute(self, text: str) -> str | Invalid:
        """Specifiers, then variables."""
        expanded = self.expand(text)
        return expanded if isinstance(expanded, Invalid) or self.variables is None else substitute(expanded, self.variables)


def substitute(text: str, variables: Mapping[str, str]) -> str | Invalid:
    """Replace `${NAME}`, and `${NAME:-DEFAULT}` where the variable may be unset or empty, as a shell would."""
    out, rest = "", text
    while "${" in rest:
        before, _, after = rest.partition("${")
        inside, brace, rest = after.partition("}")
        name, fallback, default = inside.partition(":-")
        at = len(text) - len(rest) - len(inside) - len(brace) - 2
        if not brace or not name.replace("_", "a").isalnum() or not name.isascii():
            return Invalid(f"not a variable: '${{{inside}{brace}'", at, hint="write ${NAME} or ${NAME:-DEFAULT}")
        if name not in variables and not fallback:
            return Invalid(f"the variable {name} is not set", at, at + len(inside) + 3, f"set it, or write ${{{name}:-DEFAULT}}")
        out += before + (variables.get(name, "") or default)
    return out + rest
