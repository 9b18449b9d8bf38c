"""Dependencies between units: who waits for whom, where that goes in a circle, and who is not there."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.lifecycle.dependencies import Dependencies, waiting
from sockact.unit.diagnostics import Diagnostic
from sockact.unit.gather import Source, UnitSet, gather
from sockact.unit.verify import verify
from tests.fakes import HOST, SERVICE, codes, findings, found_in, gathered

SOCKET = "[Socket]\nListenStream=@%n\n"


def services(**units: str) -> dict[str, str]:
    """Services by the first part of their name, with these lines in [Unit]."""
    return {f"{name}.service": f"[Unit]\n{lines}\n{SERVICE}" for name, lines in units.items()}


def order(files: dict[str, str]) -> tuple[dict[str, set[str]], list[list[str]]]:
    waits, circles = waiting(gathered(files))
    return {name: others for name, others in waits.items() if others}, circles


def noted(files: dict[str, str], *requests: str) -> list[str]:
    found = findings(files, *requests)
    assert {diagnostic.code for diagnostic in found} <= {"SA009"}
    return [diagnostic.message for diagnostic in found]


# Order


def test_a_service_waits_by_its_own_word_or_by_that_of_another() -> None:
    files = services(a="", b="After=a.service", c="Before=a.service d.service", d="After=b.service none.service")
    waits, circles = order(files)
    assert waits == {
        "b.service": {"a.service"},
        "a.service": {"c.service"},
        "d.service": {"c.service", "b.service"},
    }
    assert circles == []


def test_sockets_are_there_before_any_service_starts() -> None:
    files = services(web="After=web.socket\nBefore=web.socket") | {"web.socket": f"[Unit]\nAfter=web.service\n{SOCKET}"}
    assert order(files) == ({}, [])
    assert findings(files) == []


def test_nobody_waits_for_himself() -> None:
    assert order(services(a="After=a.service\nBefore=a.service")) == ({}, [])


def test_both_ways_to_say_the_same_are_no_circle() -> None:
    files = services(a="Before=b.service", b="After=a.service")
    assert order(files) == ({"b.service": {"a.service"}}, [])
    assert findings(files) == []


@pytest.mark.parametrize(
    ("files", "circle", "where"),
    [
        (services(a="After=b.service", b="After=a.service"), "b.service a.service b.service", "b.service:2:7"),
        (services(a="Before=b.service", b="Before=a.service"), "a.service b.service a.service", "b.service:2:8"),
        (services(a="Before=b.service\nAfter=b.service", b=""), "b.service a.service b.service", "a.service:2:8"),
        (
            services(a="After=c.service", b="After=a.service", c="After=b.service"),
            "c.service b.service a.service c.service",
            "c.service:2:7",
        ),
    ],
)
def test_a_circle_is_a_warning_that_names_it(files: dict[str, str], circle: str, where: str) -> None:
    (found,) = findings(files)
    assert (found.code, found.severity, found.where) == ("SA047", "warning", where)
    first, second, *_ = names = circle.split()
    assert found.message == f"{' after '.join(names)}: {first} does not wait for {second}"


def test_each_of_two_circles_is_told_and_the_others_keep_their_order() -> None:
    files = services(a="After=b.service", b="After=a.service", c="After=d.service b.service", d="After=c.service")
    waits, circles = order(files)
    assert [circle[0] for circle in circles] == ["b.service", "d.service"]
    assert waits == {"a.service": {"b.service"}, "c.service": {"d.service", "b.service"}}
    assert codes(findings(files)) == ["SA047"] * 2


LETTERS = "abcdef"
ORDERS = st.dictionaries(st.sampled_from(LETTERS), st.sets(st.sampled_from(LETTERS)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(ORDERS, ORDERS)
def test_what_is_kept_of_an_order_has_no_circle_and_what_is_not_would_make_one(
    after: dict[str, set[str]], before: dict[str, set[str]]
) -> None:
    files = services(
        **{
            letter: "".join(f"After={other}.service\n" for other in sorted(after.get(letter, ())))
            + "".join(f"Before={other}.service\n" for other in sorted(before.get(letter, ())))
            for letter in LETTERS
        }
    )
    waits, circles = order(files)
    asked = {(one, other) for one, others in after.items() for other in others if one != other}
    asked |= {(other, one) for one, others in before.items() for other in others if one != other}
    kept = {(name[0], other[0]) for name, others in waits.items() for other in others}
    assert kept | {(circle[0][0], circle[1][0]) for circle in circles} == asked
    for circle in circles:
        assert circle[0] == circle[-1]
        assert (circle[0][0], circle[1][0]) not in kept
        assert all((one[0], other[0]) in kept for one, other in pairwise(circle[1:]))
    ready: set[str] = set()
    while ready != set(LETTERS):
        able = {letter for letter in LETTERS if all(other in ready for one, other in kept if one == letter)}
        assert able != ready, "somebody waits for ever"
        ready = able


# Units that are not there


@pytest.mark.parametrize(
    "key",
    [
        *("Requires", "Wants", "BindsTo", "Requisite", "Conflicts", "OnFailure", "OnSuccess", "PartOf", "Upholds"),
        *("PropagatesStopTo", "StopPropagatedFrom"),
    ],
)
def test_a_unit_that_was_not_given_is_noted(key: str) -> None:
    files = services(a=f"{key}=none.service dev-x.device all.target system.slice b.service", b="")
    assert noted(files) == ["not given to sockact, and left out: none.service, dev-x.device"]
    assert noted(services(a=f"{key}=all.target system.slice a.service")) == []


@pytest.mark.parametrize("key", ["After", "Before"])
def test_an_order_asks_for_nobody(key: str) -> None:
    assert noted(services(a=f"{key}=none.service x.mount")) == []


def test_all_that_a_unit_lacks_is_one_note_at_a_line_that_names_some() -> None:
    files = services(a="Wants=b.service all.target\nWants=x.service\nConflicts=y.socket x.service\nOnFailure=z@%n.service", b="")
    (found,) = findings(files)
    assert (found.severity, found.where) == ("note", "a.service:3:1")
    assert found.message.endswith(": x.service, y.socket, z@a.service.service")


def test_a_socket_may_lack_somebody_too() -> None:
    files = {"web.socket": f"[Unit]\nRequires=web.service x.service\n{SOCKET}", "web.service": SERVICE}
    assert noted(files) == ["not given to sockact, and left out: x.service"]


def test_an_instance_depends_on_nobody_here() -> None:
    files = {
        "web.socket": f"{SOCKET}Accept=yes\n",
        "web@.service": f"[Unit]\nRequires=db.service\n{SERVICE}",
        "db.service": SERVICE,
    }
    assert noted(files, "web.socket", "db.service") == ["an instance depends on its connection only; left out: db.service"]


def test_alone_a_unit_is_not_asked_for_its_company() -> None:
    """As sockact show looks at it."""
    files = services(a="Requires=none.service")
    assert verify(gather(files, found_in(files), HOST, companions=False), None) == []


# By other names


def aliased(files: dict[str, str], *requests: str, **others: str) -> UnitSet:
    """Units that have other names, too."""

    def find(request: str) -> Source | Diagnostic:
        name = others.get(request.replace(".", "_"), request)
        return Source(name, name, files[name].encode())

    return gather(requests, find, HOST)


def test_a_service_that_the_socket_knows_by_another_name_gets_its_descriptors() -> None:
    files = {
        "web.socket": f"{SOCKET}Service=www.service\nFileDescriptorName=x\n",
        "more.socket": f"{SOCKET}Service=web.service\nFileDescriptorName=x\n",
        "web.service": "[Service]\nExecStart=/bin/true\nSockets=www.socket\n",
    }
    units = aliased(files, "web.socket", "more.socket", www_service="web.service", www_socket="web.socket")
    assert codes(verify(units, None)) == ["SA038"]
    inetd = {**files, "web.service": f"{files['web.service']}StandardInput=socket\n"}
    alone = aliased(inetd, "web.socket", www_service="web.service", www_socket="web.socket")
    assert verify(alone, None) == []


def test_the_sample_of_a_template_has_a_connection_for_standard_input() -> None:
    files = {"web.socket": f"{SOCKET}Accept=yes\n", "web@.service": "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n"}
    assert findings(files, "web.socket", "web@internal.service") == []
    assert codes(findings(files, "web@other.service")) == ["SA036"]


def test_all_relations_are_between_units_that_are_here() -> None:
    files = services(a="Requires=b.service x.service\nOnFailure=b.service\nPartOf=b.service", b="Upholds=a.service")
    between = Dependencies(gathered(files))
    assert between.needs == {"a.service": {"b.service"}}
    assert between.on_failure == {"a.service": {"b.service"}}
    assert between.stops_with == {"b.service": {"a.service"}}
    assert between.upheld_by == {"a.service": {"b.service"}}


# Who is there for the end of another


def begun(files: dict[str, str], *names: str) -> list[str]:
    found = Dependencies(gathered(files)).first(f"{name}.service" for name in names)
    return [name.removesuffix(".service") for name in found]


@pytest.mark.parametrize(
    ("units", "named", "first"),
    [
        ({"a": "OnFailure=b.service", "b": ""}, "b a", "a"),
        ({"a": "OnSuccess=b.service", "b": ""}, "a b", "a"),
        ({"a": "OnFailure=b.service", "b": "OnFailure=c.service", "c": ""}, "a b c", "a"),
        ({"a": "OnFailure=b.service", "b": "OnFailure=a.service"}, "a b", "a"),
        ({"a": "OnFailure=b.service", "b": "OnFailure=a.service"}, "b a", "b"),
        ({"a": "OnFailure=b.service", "b": "OnFailure=a.service", "c": "OnSuccess=a.service"}, "a b c", "c"),
        ({"a": "OnFailure=a.service"}, "a", "a"),
        ({"a": "OnFailure=x.service", "b": ""}, "a b", "a b"),
        ({"a": "Wants=b.service", "b": ""}, "a b", "a b"),
        ({"a": "OnFailure=b.service", "b": ""}, "", ""),
    ],
)
def test_who_is_called_by_others_does_not_begin(units: dict[str, str], named: str, first: str) -> None:
    """Of a circle somebody has to; the one who is named first."""
    assert begun(services(**units), *named.split()) == first.split()


def test_a_service_that_traffic_starts_calls_others_too() -> None:
    files = services(a="OnFailure=b.service", b="OnFailure=a.service") | {"a.socket": SOCKET}
    assert begun(files, "b") == []


def test_a_socket_calls_as_well() -> None:
    files = services(a="", b="") | {"a.socket": f"[Unit]\nOnFailure=b.service\n{SOCKET}"}
    assert begun(files, "b") == []


def test_a_stop_takes_along_whom_either_of_both_names() -> None:
    files = services(a="PropagatesStopTo=b.service none.service", b="", c="StopPropagatedFrom=a.service", d="PartOf=a.service")
    found = Dependencies(gathered(files))
    assert found.stops_with == {"a.service": {"b.service", "c.service", "d.service"}}
    assert not found.waits.get("b.service")
