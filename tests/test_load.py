"""Loading: what of a file becomes which value, what a wrong or empty value leaves standing, and which units belong together."""

from __future__ import annotations

from typing import Any

import pytest

from sockact.unit import syntax
from sockact.unit.diagnostics import Diagnostic
from sockact.unit.gather import gather, service_name, template_name
from sockact.unit.load import ServiceUnit, SocketUnit, load
from sockact.unit.verify import verify
from tests.fakes import HOST, SERVICE, codes, context, found_in, gathered, ours, service_unit, socket_unit

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
        ("ListenStream=1\nListenNetlink=\n", "listen", ()),
        ("Symlinks=/a\nSymlinks='/b", "symlinks", ("/a",)),
        ("Symlinks=/a\nSymlinks=/b c", "symlinks", ("/a",)),
        ("Symlinks=/a\nSymlinks=/b /c", "symlinks", ("/a", "/b", "/c")),
        ("Symlinks=/a\nSymlinks=\nSymlinks=/b", "symlinks", ("/b",)),
        ("NetworkNamespacePath=/a\nNetworkNamespacePath=", "network_namespace", None),
        ("BindToDevice=lo\nBindToDevice=*", "bind_to_device", None),
        ("BindToDevice=lo\nBindToDevice=a/b", "bind_to_device", "lo"),
        ("Priority=5\nPriority=-1", "priority", None),
        ("IPTOS=low-delay\nIPTOS=", "ip_tos", None),
        ("IPTOS=low-delay\nIPTOS=fast", "ip_tos", 16),
        ("MessageQueueMaxMessages=5\nMessageQueueMaxMessages=0", "queue_messages", 5),
        ("Timestamping=us\nTimestamping=off", "timestamping", "off"),
        ("Timestamping=us\nTimestamping=", "timestamping", "us"),
        ("PollLimitBurst=9\nPollLimitBurst=4294967295", "poll_limit_burst", 15),
        ("DeferTrigger=patient\nDeferTrigger=x", "defer_trigger", "patient"),
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
    found = socket_unit("Foo=1\nBacklog=x\nListenStream=x\nAfter=x\n")[1]
    assert [d.span.line for d in found if d.span] == [2, 3, 4, 5]


def test_specifiers_are_expanded_where_values_are_text() -> None:
    unit, found = socket_unit("ListenStream=%t/%p-%i.sock\nFileDescriptorName=%N\nSocketUser=%u\n", "web@a.socket")
    assert found == []
    assert str(unit.socket.listen[0].address) == "/run/web-a.sock"
    assert (unit.socket.fd_name, unit.socket.socket_user) == ("web@a", "root")


def test_quotes_are_no_part_of_the_grammar_of_addresses() -> None:
    assert codes(socket_unit('ListenStream="80"')[1]) == ["SA011"]


# What is our own

OWN = "[X-Sockact]\n"
EXPANDED = f"{OWN}Expand=yes\n"
USES = "[Socket]\nListenStream=127.0.0.1:${PORT}\nListenStream=${PATH_:-/run/%p}\n"


def with_variables(text: str, **variables: str) -> tuple[SocketUnit, list[Diagnostic]]:
    unit, found = load(syntax.parse(text.encode(), "f"), "web.socket", "f", context().replace(variables=variables))
    assert isinstance(unit, SocketUnit)
    return unit, ours(found)


def addresses(unit: SocketUnit) -> list[str]:
    return [str(listen.address) for listen in unit.socket.listen]


@pytest.mark.parametrize("text", [EXPANDED + USES, USES + EXPANDED, f"{OWN}Expand=no\n{USES}{EXPANDED}"])
def test_our_own_section_is_read_before_the_others_wherever_it_stands(text: str) -> None:
    unit, found = with_variables(text, PORT="80")
    assert (addresses(unit), found) == (["127.0.0.1:80", "/run/web"], [])
    unit, found = with_variables(text, PORT="0x50", PATH_="@x")
    assert (addresses(unit), found) == (["127.0.0.1:80", "@x"], [])


@pytest.mark.parametrize("own", ["", OWN, f"{OWN}Expand=no\n", f"{OWN}Expand=yes\nExpand=no\n", f"{OWN}Expand=perhaps\n"])
def test_without_expand_variables_are_text(own: str) -> None:
    unit, found = with_variables(f"{own}[Socket]\nListenStream=/run/${{PORT}}\nListenStream=${{PORT}}\n", PORT="80")
    assert addresses(unit) == ["/run/${PORT}"]
    assert codes(found) == (["SA010", "SA011"] if "perhaps" in own else ["SA011"])


def test_a_variable_that_is_not_set_is_an_error_at_its_place() -> None:
    unit, (found,) = with_variables(EXPANDED + USES)
    assert found.code == "SA011"
    assert found.span is not None
    assert (found.span.line, found.span.column, found.span.end_column) == (4, 24, 31)
    assert "${PORT:-DEFAULT}" in found.hint
    assert addresses(unit) == ["/run/web"], "the other line is taken"


@pytest.mark.parametrize("line", ["SocketUser=${U}", "FileDescriptorName=${U}", "Symlinks=/${U}", "NetworkNamespacePath=/${U}"])
def test_variables_are_put_into_addresses_only(line: str) -> None:
    unit, _ = with_variables(f"{EXPANDED}[Socket]\nListenStream=/run/x\n{line}\n", U="root")
    found = (unit.socket.socket_user, unit.socket.fd_name, *unit.socket.symlinks, unit.socket.network_namespace)
    assert "${U}" in "".join(filter(None, found))


def test_variables_of_a_unit_come_from_the_supervisor() -> None:
    files = {"web.socket": EXPANDED + USES, "web.service": SERVICE}
    units = gather(["web.socket"], found_in(files), HOST.replace(variables={"PORT": "8080"}))
    assert ours(units.diagnostics) == []
    assert addresses(units.sockets["web.socket"]) == ["127.0.0.1:8080", "/run/web"]


def test_a_template_of_a_socket_has_variables_and_specifiers() -> None:
    files = {"web@.socket": f"{EXPANDED}[Socket]\nListenStream=${{DIR}}/%i\n", "web@a.service": SERVICE}
    units = gather(["web@a.socket"], found_in(files), HOST.replace(variables={"DIR": "/run"}))
    assert addresses(units.sockets["web@a.socket"]) == ["/run/a"]


def test_our_own_keys_have_their_defaults_and_their_mistakes_are_located() -> None:
    unit, found = socket_unit(f"[Socket]\nListenStream=1\n{OWN}OptionFailure=fail\nProtocolFallback=udp\nLinger=5\n")
    assert (unit.own.option_failure, unit.own.protocol_fallback) == ("fail", "no")
    assert [(d.code, d.span and d.span.line) for d in found] == [("SA010", 5), ("SA007", 6)]


def test_our_own_section_in_a_service_is_told_not_to_be_read() -> None:
    unit, (found,) = service_unit(f"[Service]\nExecStart=/x\n{OWN}Expand=yes\n")
    assert (found.code, found.severity, found.span and found.span.line) == ("SA006", "warning", 3)
    assert "socket units only" in found.message
    assert unit.service.exec_start[0].program == "/x"


def test_sections_of_others_are_passed_over_in_silence() -> None:
    assert socket_unit("[X-Other]\nAny=thing\n[Socket]\nListenStream=1\nX-Key=1\n")[1] == []
    assert service_unit("[X-Other]\nAny=thing\n[Service]\nExecStart=/x\n")[1] == []


def test_our_own_section_misspelt_is_one_of_others() -> None:
    """systemd passes it over as well; [X-…] belongs to whoever knows it."""
    assert socket_unit("[X-sockact]\nExpand=yes\n[Socket]\nListenStream=1\n")[1] == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("ListenStream=80", 0),
        ("ListenStream=0", 1),
        ("ListenStream=80-81", 1),
        ("ListenDatagram=127.0.0.1:0", 1),
        ("ListenStream=80\nListenSequentialPacket=vsock::80", 1),
        ("ListenStream=80\nSocketProtocol=tcp", 1),
        ("ListenStream=80\nSocketProtocol=mptcp", 0),
        ("ListenStream=80\nSocketProtocol=mptcp\nSocketProtocol=", 1),
        ("ListenStream=0\nListenStream=\nListenStream=1-2", 2),
    ],
)
def test_what_systemd_would_refuse_is_told_only_if_asked_for(line: str, told: int) -> None:
    units = gathered({"web.socket": f"[Socket]\n{line}\n", "web.service": SERVICE})
    assert codes(verify(units, None, portable=True)) == ["SA060"] * told
    assert verify(units, None) == verify(units, None, portable=False) == []


def test_variables_in_addresses_are_nothing_that_systemd_has() -> None:
    text = f"{EXPANDED}[Socket]\nListenStream=${{NO:-80}}\nListenStream=/run/x\n"
    (found,) = verify(gathered({"web.socket": text, "web.service": SERVICE}), None, portable=True)
    assert (found.code, found.severity, found.scope) == ("SA060", "warning", "portable")
    assert found.span is not None
    assert (found.span.line, found.span.source) == (4, "ListenStream=${NO:-80}")


def test_what_cannot_be_read_at_all_is_not_told_twice() -> None:
    units = gathered({"web.socket": "[Socket]\nListenStream=0-5\n", "web.service": SERVICE})
    assert codes(verify(units, None, portable=True)) == ["SA011"]


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


# What a later line makes good


def test_a_later_value_makes_good_what_an_earlier_one_got_wrong() -> None:
    unit, found = socket_unit("ListenStream=80\nSocketProtocol=quic\nSocketProtocol=mptcp\n")
    assert unit.socket.protocol is not None
    assert (unit.socket.protocol.name, codes(found)) == ("mptcp", ["SA010"])


def test_a_list_is_made_good_by_its_reset_and_not_by_one_more_entry() -> None:
    wrong = "ListenStream=localhost:80\n"
    assert codes(socket_unit(f"{wrong}ListenStream=80\n")[1]) == ["SA011"]
    assert codes(socket_unit(f"{wrong}ListenStream=\nListenStream=80\n")[1]) == ["SA010"]


def test_what_systemd_can_read_needs_no_word_when_it_does_not_count() -> None:
    assert service_unit("ExecStart=/x\nType=dbus\nType=simple\n")[1] == []
    assert codes(service_unit("ExecStart=/x\nType=simple\nType=dbus\n")[1]) == ["SA011"]
