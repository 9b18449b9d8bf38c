"""The sockets of Debian 12: from what systemd parses of each of them its unit is written anew, and sockact has to read the same.

These facts are in `tests/data/debian-sockets.json`; the units themselves are other people's text. `tools/debian_sockets.py`
writes them, and compares the files as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sockact.cli.describe import describe
from sockact.unit.diagnostics import NOTE
from tests.fakes import SERVICE, findings, service_unit, socket_unit
from tools.debian_sockets import KINDS, Parsed, instance, parsed_by_sockact, same

FACTS: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "debian-sockets.json").read_text())
SOCKETS: dict[str, dict[str, Any]] = {fact["file"]: fact for fact in FACTS["sockets"]}
UNIT_KEYS = ("StartLimitIntervalSec", "StartLimitBurst")

Spell = Callable[[str, str], str]


def as_shown(key: str, value: str) -> str:
    """The value as systemd shows it."""
    return value.replace("%", "%%")


SPELLINGS = {"yes": "oN", "no": "f", "ipv6-only": "y", "both": "false", "us": "µs"}


def otherwise(key: str, value: str) -> str:
    """The same value in another spelling, where unit files have one."""
    if key.startswith("Listen"):
        address = re.sub(r"^\[::\]:", "", value)
        old = key not in ("ListenSpecial", "ListenMessageQueue")
        return re.sub("^/run/", "/var/run/", address) if old else address
    if key.endswith("Mode"):
        return value.lstrip("0").rjust(5, "0") if len(value) == 4 else value
    if value.isdigit() and key in ("ReceiveBuffer", "SendBuffer", "PipeSize"):
        return f"{int(value) / 1024}K"
    if value.isdigit() and key not in ("SocketUser", "SocketGroup"):
        return hex(int(value))
    return SPELLINGS.get(value, as_shown(key, value))


def written(fact: Mapping[str, Any], spell: Spell = as_shown, without: str = "") -> str:
    """A unit file with these facts."""
    settings = {key: spell(key, value) for key, value in fact["settings"].items() if key != without}
    unit = [f"{key}={value}" for key, value in settings.items() if key in UNIT_KEYS]
    listens = [f"{key}={spell(key, address)}" for key, address in fact["listen"]]
    socket = [f"{key}={value}" for key, value in settings.items() if key not in UNIT_KEYS]
    return "\n".join(["[Unit]", *unit, "[Socket]", *listens, *socket])


def understood(text: str, name: str) -> Parsed:
    """What sockact shows of a unit beyond that of one with all defaults; it reads all of it."""
    unit, found = socket_unit(text, name)
    assert found == []
    accept = "Accept=yes" if unit.socket.accept else ""
    plain, _ = socket_unit(f"ListenStream=/run/plain\n{accept}", "plain.socket")
    return parsed_by_sockact(describe(unit, False), describe(plain, False))


def unlike(fact: Mapping[str, Any], parsed: Parsed) -> list[str]:
    """What of a unit is not what systemd has."""
    wrong = [] if [list(one) for one in parsed.listen] == fact["listen"] else ["Listen"]
    theirs: dict[str, Any] = fact["settings"]
    wrong += [key for key, value in theirs.items() if key not in parsed.settings or not same(key, value, parsed.settings[key])]
    return wrong + sorted(parsed.settings.keys() - theirs.keys())


def test_the_facts_are_those_of_a_whole_archive() -> None:
    listens = {key for fact in SOCKETS.values() for key, _ in fact["listen"]}
    settings = {key for fact in SOCKETS.values() for key in fact["settings"]}
    assert len(SOCKETS) > 130
    assert len({fact["package"] for fact in SOCKETS.values()}) > 95
    assert listens == set(KINDS.values()) - {"ListenMessageQueue", "ListenUSBFunction"}
    assert len(settings) > 20


@pytest.mark.parametrize("file", SOCKETS)
def test_a_socket_of_debian_is_read_as_systemd_reads_it(file: str) -> None:
    fact, name = SOCKETS[file], instance(Path(file).name)
    assert unlike(fact, understood(written(fact), name)) == []
    assert unlike(fact, understood(written(fact, otherwise), name)) == []


@pytest.mark.parametrize("file", SOCKETS)
def test_in_a_socket_of_debian_there_is_nothing_wrong(file: str) -> None:
    fact, name = SOCKETS[file], instance(Path(file).name)
    service = fact["settings"].get("Service", name.replace(".socket", ".service"))
    if "Accept" in fact["settings"]:
        service = f"{name.removesuffix('.socket').partition('@')[0]}@.service"
    found = findings({name: written(fact), service: SERVICE}, name)
    assert [diagnostic.message for diagnostic in found if diagnostic.severity != NOTE] == []


@pytest.mark.parametrize("file", [file for file, fact in SOCKETS.items() if fact["settings"]])
def test_every_setting_of_a_socket_of_debian_is_seen(file: str) -> None:
    fact, name = SOCKETS[file], instance(Path(file).name)
    for key in fact["settings"]:
        assert key in unlike(fact, understood(written(fact, without=key), name))


@pytest.mark.parametrize("section", FACTS["directives"])
def test_no_directive_in_the_units_of_debian_is_unknown(section: str) -> None:
    assert section in ("Unit", "Socket", "Service", "Install")
    text = "\n".join([f"[{section}]", *(f"{key}=" for key in FACTS["directives"][section].split())])
    load = socket_unit if section == "Socket" else service_unit
    _, found = load(text)
    assert [diagnostic.message for diagnostic in found if diagnostic.code in ("SA006", "SA007")] == []
