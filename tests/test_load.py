"""Loading: what of a file becomes which value, what a wrong or empty value leaves standing, and which units belong together."""

from __future__ import annotations

from typing import Any

import pytest

from sockact.unit import syntax
from sockact.unit.diagnostics import Diagnostic
from sockact.unit.gather import gather, service_name, template_name
from sockact.unit.load import ServiceUnit, SocketUnit, load
from tests.fakes import HOST, SERVICE, codes, context, found_in, gathered, service_unit, socket_unit

LISTEN = "[Socket]\nListenStream=80\n"


# One unit


def test_a_unit_is_typed_by_its_name() -> None:
    document = syntax.parse(b"[Socket]\nListenStream=80\n[Service]\nExecStart=/bin/x\n", "f")
    socket, _ = load(document, "a.socket", "f", context("a.socket"))
    service, _ = load(document, "a.service", "f", context("a.service"))
    assert isinstance(socket, SocketUnit)
    assert isinstance(service, ServiceUnit)
    assert [str(listen.address) for listen in socket.socket.listen] == ["[::]:80"]
    assert [command.program for command in service.service.exec_start] == ["/bin/x"]


def test_the_same_section_may_come_back_later_in_the_file() -> None:
    unit, found = socket_unit("[Socket]\nListenStream=1\n[Unit]\nDescription=x\n[Socket]\nListenStream=2\n")
    assert found == []
    assert [listen.address.__dict__["port"] for listen in unit.socket.listen] == [1, 2]
    assert unit.unit.description == "x"


@pytest.mark.parametrize(
    ("lines", "field", "value"),
    [
        ("Backlog=5\nBacklog=many", "backlog", 5),
        ("Backlog=5\nBacklog=", "backlog", 5),
        ("Backlog=5\nBacklog=7", "backlog", 7),
        ("Backlog=x", "backlog", 2147483647),
        ("Accept=yes\nAccept=perhaps", "accept", True),
        ("Accept=yes\nAccept=", "accept", True),
        ("SocketMode=0600\nSocketMode=0o666\nSocketMode=", "socket_mode", 0o600),
        ("BindIPv6Only=both\nBindIPv6Only=\nBindIPv6Only=never", "bind_ipv6_only", "both"),
        ("BindIPv6Only=yes", "bind_ipv6_only", "ipv6-only"),
        ("BindIPv6Only=0", "bind_ipv6_only", "both"),
        ("ReceiveBuffer=1K\nReceiveBuffer=\nReceiveBuffer=1k", "receive_buffer", 1024),
        ("KeepAliveTimeSec=5\nKeepAliveTimeSec=\nKeepAliveTimeSec=x", "keep_alive_time", 5),
        ("TriggerLimitIntervalSec=9\nTriggerLimitIntervalSec=infinity", "trigger_limit_interval", 2),
        ("TriggerLimitBurst=9\nTriggerLimitBurst=4294967295", "trigger_limit_burst", 20),
        ("TriggerLimitBurst=9\nTriggerLimitBurst=", "trigger_limit_burst", 9),
        ("SocketUser=a\nSocketUser=", "socket_user", None),
        ("SocketGroup=a\nSocketGroup=", "socket_group", None),
        ("FileDescriptorName=a\nFileDescriptorName=", "fd_name", None),
        ("FileDescriptorName=a\nFileDescriptorName=b:c", "fd_name", "a"),
        ("TCPCongestion=reno\nTCPCongestion=", "congestion", None),
        ("Service=a.service\nService=b", "service", "a.service"),
        ("SocketProtocol=mptcp\nSocketProtocol=", "protocol", None),
        ("ListenStream=1\nListenDatagram=\n", "listen", ()),
    ],
)
def test_a_wrong_value_leaves_the_one_before_and_an_empty_one_resets_only_what_it_may(
    lines: str, field: str, value: object
) -> None:
    unit, _ = socket_unit(lines)
    assert getattr(unit.socket, field) == value


@pytest.mark.parametrize(
    ("lines", "field", "value"),
    [
        ("ExecStart=/bin/a\nExecStart=\nExecStart=/bin/b", "exec_start", ["/bin/b"]),
        ("ExecStart=/bin/a\nExecStart=/bin/b", "exec_start", ["/bin/a", "/bin/b"]),
        ("ExecStart=/bin/a\nExecStart=;", "exec_start", ["/bin/a"]),
        ("ExecStart=/bin/a\nExecStart='", "exec_start", ["/bin/a"]),
        ("Environment=A=1 B=2\nEnvironment=C=3", "environment", ["A=1", "B=2", "C=3"]),
        ("Environment=A=1\nEnvironment=\nEnvironment=C=3", "environment", ["C=3"]),
        ("Environment=A=1 B\nEnvironment=C=3", "environment", ["A=1", "C=3"]),
        ("EnvironmentFile=/a\nEnvironmentFile=-/b", "environment_file", ["/a", "-/b"]),
        ("EnvironmentFile=/a\nEnvironmentFile=", "environment_file", []),
        ("Sockets=a.socket\nSockets=b.socket c.socket", "sockets", ["a.socket", "b.socket", "c.socket"]),
    ],
)
def test_lists_add_up_until_an_empty_value_clears_them(lines: str, field: str, value: list[str]) -> None:
    unit, _ = service_unit(lines)
    row = next(row for found, row in type(unit.service).rows() if found.name == field)
    assert row.kind.show(getattr(unit.service, field)) == value


def test_origins_tell_where_each_entry_of_a_list_comes_from() -> None:
    unit, _ = service_unit("ExecStart=/bin/a ; /bin/b\nType=oneshot\nExecStart=/bin/c\n")
    lines = [origin.span().line for origin in (unit.service.origin("exec_start", i) for i in range(3)) if origin]
    assert lines == [2, 2, 4]
    assert unit.service.origin("restart") is None


def test_an_origin_goes_with_the_value_that_is_reset() -> None:
    unit, _ = socket_unit("SocketProtocol=mptcp\nSocketProtocol=\nListenStream=1\nListenStream=\n")
    assert unit.socket.origin("protocol") is None
    assert unit.socket.origin("listen") is None


def test_the_origin_of_a_value_is_that_of_the_last_readable_assignment() -> None:
    unit, _ = socket_unit("Backlog=1\nBacklog=2\nBacklog=x\n")
    origin = unit.socket.origin("backlog")
    assert origin is not None
    assert origin.span().line == 3


@pytest.mark.parametrize(
    ("text", "code", "severity"),
    [("Backlog=x", "SA010", "warning"), ("ListenStream=x", "SA011", "error"), ("SocketUser=a:b", "SA011", "error")],
)
def test_an_unreadable_value_is_an_error_only_where_the_unit_makes_no_sense_without_it(
    text: str, code: str, severity: str
) -> None:
    (found,) = socket_unit(text)[1]
    assert (found.code, found.severity) == (code, severity)
    assert found.message.startswith(text.partition("=")[0] + "=: ")


def test_an_empty_value_that_is_no_reset_says_so() -> None:
    (found,) = socket_unit("Backlog=\n")[1]
    assert "empty value does not reset Backlog=" in found.message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[Socket]\nlistenstream=1", "ListenStream="),
        ("[Socket]\nListenSteam=1", "ListenStream="),
        ("[Socket]\nNoDely=1", "NoDelay="),
        ("[Socket]\nPrivatTmp=1", "PrivateTmp="),
        ("[socket]\nx=1", "[Socket]"),
        ("[Sockets]\nx=1", "[Socket]"),
    ],
)
def test_a_near_miss_is_answered_with_the_name_meant(text: str, hint: str) -> None:
    (found,) = socket_unit(text)[1]
    assert found.severity == "warning"
    assert f"did you mean {hint}?" in found.hint


def test_what_is_near_to_nothing_gets_no_hint() -> None:
    (found,) = socket_unit("Zzz=1")[1]
    assert found.hint == ""
    (long,) = socket_unit("L" * 5000 + "=1")[1]
    assert long.hint == ""


def test_names_are_case_sensitive() -> None:
    unit, found = socket_unit("backlog=5")
    assert (unit.socket.backlog, codes(found)) == (2147483647, ["SA007"])


def test_an_unknown_section_is_told_once_however_many_lines_it_has() -> None:
    assert codes(socket_unit("[Foo]\na=1\nb=2\n[Foo]\nc=3\n")[1]) == ["SA006"]


def test_the_section_of_another_type_is_unknown_here() -> None:
    assert codes(socket_unit("[Service]\nExecStart=/x\n")[1]) == ["SA006"]


def test_findings_come_in_the_order_of_the_file_within_a_kind() -> None:
    found = socket_unit("Foo=1\nBacklog=x\nListenStream=0\nAfter=x\n")[1]
    assert [d.span.line for d in found if d.span] == [2, 3, 4, 5]


def test_specifiers_are_expanded_where_values_are_text() -> None:
    unit, found = socket_unit("ListenStream=%t/%p-%i.sock\nFileDescriptorName=%N\nSocketUser=%u\n", "web@a.socket")
    assert found == []
    assert str(unit.socket.listen[0].address) == "/run/web-a.sock"
    assert (unit.socket.fd_name, unit.socket.socket_user) == ("web@a", "root")


def test_quotes_are_no_part_of_the_grammar_of_addresses() -> None:
    assert codes(socket_unit('ListenStream="80"')[1]) == ["SA011"]


# Units that belong together


def test_a_socket_brings_its_service() -> None:
    units = gathered({"web.socket": LISTEN, "web.service": SERVICE}, "web.socket")
    assert (units.requested, list(units.sockets), list(units.services)) == (("web.socket",), ["web.socket"], ["web.service"])
    service = units.service_of(units.sockets["web.socket"])
    assert service is units.services["web.service"]
    assert units.sockets_of(units.services["web.service"]) == (units.sockets["web.socket"],)


def test_companions_are_left_out_where_only_one_unit_is_looked_at() -> None:
    units = gather(["web.socket"], found_in({"web.socket": LISTEN}), HOST, companions=False)
    assert (list(units.sockets), list(units.services), units.diagnostics) == (["web.socket"], [], ())


def test_a_socket_with_accept_brings_its_template() -> None:
    units = gathered({"web@x.socket": LISTEN + "Accept=yes\n", "web@.service": SERVICE}, "web@x.socket")
    template = units.templates["web@x.socket"]
    assert (template.name, template.sample.name, units.services) == ("web@.service", "web@internal.service", {})


def test_names_of_service_and_template_follow_the_socket() -> None:
    def named(name: str, text: str = "") -> SocketUnit:
        return socket_unit(text, name)[0]

    assert service_name(named("web.socket")) == "web.service"
    assert service_name(named("web@1.socket")) == "web@1.service"
    assert service_name(named("web.socket", "Service=x.service")) == "x.service"
    assert template_name(named("web.socket")) == "web@.service"
    assert template_name(named("web@1.socket")) == "web@.service"


def test_an_instance_of_a_template_is_made_anew_only_if_the_file_speaks_of_it() -> None:
    files = {"web.socket": LISTEN + "Accept=yes\n", "web@.service": SERVICE}
    plain = gathered(files, "web.socket").templates["web.socket"]
    instance, wrong = plain.instance("web@1.service")
    assert not wrong
    assert (instance.name, instance.service) == ("web@1.service", plain.sample.service)
    files["web@.service"] = "[Service]\nExecStart=/bin/echo %i\n"
    speaking = gathered(files, "web.socket").templates["web.socket"]
    assert speaking.instance("web@1-2.service")[0].service.exec_start[0].arguments == ("1-2",)
    assert speaking.sample.service.exec_start[0].arguments == ("internal",)


def test_an_instance_whose_name_spoils_a_setting_says_so_instead_of_doing_without_it() -> None:
    """User=%i must never become the supervisor's user because a peer's address is no user name."""
    files = {"web.socket": LISTEN + "Accept=yes\n", "web@.service": SERVICE + "User=%i\n"}
    template = gathered(files, "web.socket").templates["web.socket"]
    assert template.instance("web@somebody.service")[1] == []
    (wrong,) = template.instance("web@0-1-127.0.0.1:80-127.0.0.1:9.service")[1]
    assert wrong.code == "SA011"


def test_a_service_brings_the_sockets_it_asks_for_in_the_order_asked() -> None:
    files = {
        "web.service": SERVICE + "Sockets=b.socket a.socket\n",
        "a.socket": LISTEN + "Service=web.service\n",
        "b.socket": "[Socket]\nListenStream=81\nService=web.service\n",
    }
    units = gathered(files, "web.service")
    assert [unit.name for unit in units.sockets_of(units.services["web.service"])] == ["b.socket", "a.socket"]


def test_descriptors_come_in_the_order_in_which_the_units_were_given() -> None:
    files = {
        "a.socket": LISTEN + "Service=web.service\n",
        "b.socket": "[Socket]\nListenStream=81\nService=web.service\n",
        "web.service": SERVICE,
    }
    for order in (("a.socket", "b.socket"), ("b.socket", "a.socket"), ("web.service", "b.socket", "a.socket")):
        units = gathered(files, *order)
        given = [name for name in order if name.endswith("socket")]
        assert [unit.name for unit in units.sockets_of(units.services["web.service"])] == given


def test_a_socket_that_is_asked_for_and_triggers_another_service_feeds_both() -> None:
    files = {"a.socket": LISTEN + "Service=x.service\n", "x.service": SERVICE, "y.service": SERVICE + "Sockets=a.socket\n"}
    units = gathered(files, "y.service")
    assert set(units.services) == {"x.service", "y.service"}
    assert all(len(units.sockets_of(service)) == 1 for service in units.services.values())


def test_a_socket_with_accept_feeds_its_instances_only() -> None:
    files = {
        "a.socket": LISTEN + "Accept=yes\n",
        "a@.service": SERVICE,
        "a.service": SERVICE + "Sockets=a.socket b.socket\n",
        "b.socket": "[Socket]\nListenStream=81\nService=a.service\n",
    }
    units = gathered(files, "a.socket", "a.service")
    assert [unit.name for unit in units.sockets_of(units.services["a.service"])] == ["b.socket"]


def test_each_unit_is_loaded_once_however_often_it_is_needed() -> None:
    asked: list[str] = []
    files = {"a.socket": LISTEN + "Service=w.service\n", "b.socket": LISTEN + "Service=w.service\n", "w.service": SERVICE}
    inner = found_in(files)

    def find(request: str) -> Any:
        asked.append(request)
        return inner(request)

    gather(["a.socket", "b.socket", "w.service"], find, HOST)
    assert asked == ["a.socket", "b.socket", "w.service"]


@pytest.mark.parametrize(
    ("name", "hint"), [("web", ".socket and .service"), ("web.timer", ".socket"), ("@.service", ""), ("we b.socket", "")]
)
def test_what_is_no_name_of_a_unit_is_told_and_nothing_is_searched(name: str, hint: str) -> None:
    def find(request: str) -> Diagnostic:
        raise AssertionError(request)

    units = gather([name], find, HOST)
    (found,) = units.diagnostics
    assert (found.code, found.file, units.requested) == ("SA031", name, ())
    assert hint in found.message


def test_a_template_cannot_be_started_itself_and_the_hint_says_how() -> None:
    (found,) = gather(["web@.service"], found_in({}), HOST).diagnostics
    assert (found.code, found.hint) == ("SA031", "give it an instance: web@NAME.service")


@pytest.mark.parametrize("kind", ["socket", "service"])
def test_units_that_need_each_other_without_end_are_an_error_or_an_end_in_finite_time(kind: str) -> None:
    files = {
        "web@.service": SERVICE + "Sockets=web@%ix.socket\n",
        "web@.socket": "[Socket]\nListenStream=/run/%i\nService=web@%iy.service\n",
    }
    units = gathered(files, f"web@1.{kind}")
    assert units.diagnostics
    assert len(units.sockets) + len(units.services) < 600


def test_the_file_of_a_unit_is_named_by_the_specifier_that_asks_for_it() -> None:
    units = gathered({"web.service": "[Service]\nExecStart=/bin/echo %y %Y\n"})
    assert units.services["web.service"].service.exec_start[0].arguments == ("/units/web.service", "/units")
