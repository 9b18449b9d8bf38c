"""Value types of where to listen: protocols, and addresses with ranges, specifiers and variables (their grammar is told by
test_addresses, and which of them fit together by test_protocols)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sockact.net import addresses, protocols
from sockact.unit import endpoints
from sockact.unit.diagnostics import Invalid
from sockact.unit.values import RESET
from tests.fakes import context, read, refused

KINDS = {kind: endpoints.listen(kind) for kind in addresses.KINDS}
VARIABLES = {"PORT": "8080", "HOST": "127.0.0.1", "EMPTY": "", "PATH_": "/run/x", "ALL": "127.0.0.1:80-81", "SPECIFIER": "%t/x"}


# Protocols (which of them fit where is told by test_protocols)


@pytest.mark.parametrize("text", ["mptcp", "MPTCP", "mPtCp", "262", "0x106", "0406"])
def test_a_protocol_has_a_name_in_any_case_and_a_number_in_any_radix(text: str) -> None:
    assert read(endpoints.PROTOCOL, text) == protocols.by_name("mptcp")


@pytest.mark.parametrize(
    ("text", "name"),
    [("tcp", "tcp"), ("6", "tcp"), ("ScTp", "sctp"), ("132", "sctp"), ("UDPLITE", "udplite"), ("136", "udplite")],
)
def test_each_protocol_of_the_reference_and_tcp_are_known(text: str, name: str) -> None:
    assert read(endpoints.PROTOCOL, text).name == name


@pytest.mark.parametrize("text", ["quic", "mptcp,sctp", "mptcp sctp", "-1", "0", "ip", "dccp", "unix", "vsock", "262.0", "99999"])
def test_an_unknown_protocol_is_refused_and_the_known_ones_are_named(text: str) -> None:
    assert "mptcp" in refused(endpoints.PROTOCOL, text).hint


def test_an_empty_protocol_is_a_reset() -> None:
    assert read(endpoints.PROTOCOL, "") is RESET


@pytest.mark.parametrize(("text", "why"), [("tcp", "udplite"), ("udp", "udplite"), ("", "empty"), ("mptcp", ""), ("132", "")])
def test_why_systemd_would_refuse_a_protocol(text: str, why: str) -> None:
    found = read(endpoints.PROTOCOL, text)
    assert endpoints.PROTOCOL.extends is not None
    said = endpoints.PROTOCOL.extends(text, () if found is RESET else found)
    assert bool(said) is bool(why)
    assert why in said


# Addresses


def addresses_of(text: str, variables: Mapping[str, str] | None = None, kind: str = "stream") -> list[str]:
    found = KINDS[kind].read(text, context().replace(variables=variables))
    assert not isinstance(found, Invalid), found
    return [str(listen.address) for listen in found]


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_address_is_a_reset(kind: str) -> None:
    assert read(KINDS[kind], "") is RESET


def test_specifiers_are_expanded_before_the_address_is_read() -> None:
    assert addresses_of("%t/%p.sock") == ["/run/web.sock"]
    assert addresses_of("/jobs-%p", kind="mqueue") == ["/jobs-web"]
    assert addresses_of("[fe80::1]:80%%lo") == ["[fe80::1]:80%lo"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${PORT}", ["[::]:8080"]),
        ("${HOST}:${PORT}", ["127.0.0.1:8080"]),
        ("${HOST}:${NO:-90}-${NO:-91}", ["127.0.0.1:90", "127.0.0.1:91"]),
        ("${NO:-[::1]}:1", ["[::1]:1"]),
        ("${EMPTY:-7}", ["[::]:7"]),
        ("${PORT:-7}", ["[::]:8080"]),
        ("127.0.0.1:${EMPTY}80", ["127.0.0.1:80"]),
        ("${PATH_}/%p", ["/run/x/web"]),
        ("${ALL}", ["127.0.0.1:80", "127.0.0.1:81"]),
        ("/run/$PORT", ["/run/$PORT"]),
        ("/run/${NO:-}x", ["/run/x"]),
        ("/run/$$", ["/run/$$"]),
        ("@${SPECIFIER}", ["@%t/x"]),
    ],
)
def test_variables_are_put_in_where_the_unit_wants_them(text: str, expected: list[str]) -> None:
    """What a variable stands for is not expanded again."""
    assert addresses_of(text, VARIABLES) == expected


@pytest.mark.parametrize("text", ["/run/${PORT}", "/run/${PORT:-x}", "/run/${", "@${}"])
def test_without_expand_they_are_text_like_any_other(text: str) -> None:
    assert addresses_of(text) == [text]
    assert isinstance(KINDS["stream"].read("${PORT}", context().replace(variables=None)), Invalid)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("${NO}", "${NO}"),
        ("127.0.0.1:${NO}", "${NO}"),
        ("${HOST}:${NO}", "${NO}"),
        ("/run/${PORT", "${PORT"),
        ("/run/${PO RT}", "${PO RT}"),
        ("/run/${}", "${}"),
        ("/run/${:-x}", "${:-x}"),
        ("/run/${A-B}", "${A-B}"),
        ("/run/${1}", "${1}"),
        ("/run/${é}", "${é}"),
    ],
)
def test_a_variable_that_is_not_there_or_none_is_pointed_at(text: str, part: str) -> None:
    invalid = KINDS["stream"].read(text, context().replace(variables=VARIABLES))
    assert isinstance(invalid, Invalid)
    assert text[invalid.start : invalid.end] == part
    assert ":-" in invalid.hint


@pytest.mark.parametrize("text", ["${HOST}:x", "%p", "${HOST:-a}:99999"])
def test_a_mistake_in_what_something_stands_for_points_at_all_of_it(text: str) -> None:
    """No column of what a variable stands for is one of the file."""
    invalid = KINDS["stream"].read(text, context().replace(variables=VARIABLES))
    assert isinstance(invalid, Invalid)
    assert (invalid.start, invalid.end) in ((0, None), (0, len(text)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("80", ""),
        ("0", "port 0"),
        ("80-81", "ranges"),
        ("${PORT}", "variables"),
        ("/run/${PORT}", "variables"),
        ("vsock::0", ""),
    ],
)
def test_why_systemd_would_refuse_an_address(text: str, why: str) -> None:
    kind = KINDS["stream"]
    assert kind.extends is not None
    said = kind.extends(text, kind.read(text, context().replace(variables=VARIABLES)))
    assert bool(said) is bool(why)
    assert why in said


def test_braces_that_nobody_replaces_are_what_they_are_to_systemd() -> None:
    kind = KINDS["stream"]
    assert kind.extends is not None
    assert kind.extends("/run/${PORT}", kind.read("/run/${PORT}", context().replace(variables=None))) == ""
