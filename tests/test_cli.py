"""The command line as a user meets it: exit statuses, help, and what `verify` and `show` print for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest

from sockact import __version__
from sockact.cli import commands, main
from sockact.unit.directives.service import ServiceSection
from sockact.unit.directives.sockact import SockactSection
from sockact.unit.directives.socket import SocketSection
from sockact.unit.directives.unit import UnitSection
from tests.lab import write_units

COMMANDS = ("start", "verify", "show")

SERVICE = "[Service]\nExecStart=/bin/cat\n"
FILES = {
    "good.socket": "[Socket]\nListenStream=127.0.0.1:8080\n",
    "good.service": SERVICE,
    "warned.service": "[Service]\nExecStart=/bin/cat\nExecStrat=/bin/cat\n",
    "noted.service": "[Unit]\nCollectMode=inactive\n[Service]\nExecStart=/bin/cat\n",
    "broken.socket": "[Socket]\nListenStream=localhost\nService=good.service\n",
    "elsewhere.service": "[Service]\nExecStart=/no/such/program\nUser=no-such-user\n",
}


class Said(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str


Sockact = Callable[..., Said]


def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The units above in the current directory, and nothing of the environment that changes what is said."""
    write_units(tmp_path, FILES)
    monkeypatch.chdir(tmp_path)
    for name in ("SOCKACT_UNIT_PATH", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def caller(capsys: pytest.CaptureFixture[str]) -> Sockact:
    """The command in this process."""

    def call(*arguments: str) -> Said:
        status = main(list(arguments))
        return Said(status, *capsys.readouterr())

    return call


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return prepared(tmp_path, monkeypatch)


@pytest.fixture
def sockact(capsys: pytest.CaptureFixture[str]) -> Sockact:
    return caller(capsys)


# --- exit statuses


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("--version", 0),
        ("--help", 0),
        ("-h", 0),
        ("start --help", 0),
        ("verify good.socket", 0),
        ("verify good.socket good.service", 0),
        ("verify warned.service", 0),
        ("verify noted.service", 0),
        ("verify --format=json good.socket", 0),
        ("verify --offline elsewhere.service", 0),
        ("show good.socket", 0),
        ("show good.service", 0),
        ("show elsewhere.service", 0),
        ("show --json --plan good.socket", 0),
        ("verify --format=github good.socket", 0),
        ("verify --portable good.socket", 0),
        ("explain", 0),
        ("explain NoDelay SA021", 0),
        ("explain --json nodelay=", 0),
        ("start broken.socket", 1),
        ("start good.socket broken.socket", 1),
        ("start --now -q elsewhere.service", 1),
        ("start missing.socket", 1),
        ("start -v --quiet missing.socket", 1),
        ("verify broken.socket", 1),
        ("verify good.socket broken.socket", 1),
        ("verify elsewhere.service", 1),
        ("verify missing.socket", 1),
        ("verify --strict warned.service", 1),
        ("verify --strict noted.service", 1),
        ("verify --format=json broken.socket", 1),
        ("show broken.socket", 1),
        ("show --json broken.socket", 1),
        ("show missing.socket", 1),
        ("verify --format=github broken.socket", 1),
        ("explain NoSuchThing", 1),
        ("explain NoDelay NoSuchThing", 1),
        ("explain --json NoSuchThing", 1),
        ("", 2),
        ("start", 2),
        ("verify", 2),
        ("show", 2),
        ("frobnicate", 2),
        ("--frobnicate", 2),
        ("start --frobnicate good.socket", 2),
        ("start --now=yes good.socket", 2),
        ("verify --frobnicate good.socket", 2),
        ("verify --format good.socket", 2),
        ("verify --format=xml good.socket", 2),
        ("show --frobnicate good.socket", 2),
        ("show good.socket good.service", 2),
        ("explain --frobnicate", 2),
    ],
)
def test_the_exit_status_is_0_for_success_1_for_bad_units_and_2_for_wrong_usage(sockact: Sockact, line: str, status: int) -> None:
    said = sockact(*line.split())
    assert said.status == status, said
    assert "Traceback" not in said.err
    asked_for = "json" in line or "github" in line
    assert said.err or status == 0 or asked_for, "a failure is explained on standard error, unless programs are to read it"


@pytest.mark.parametrize("line", ["", "start", "verify --format=xml good.socket", "show good.socket good.service", "frobnicate"])
def test_wrong_usage_shows_the_usage_on_standard_error_and_nothing_on_standard_output(sockact: Sockact, line: str) -> None:
    said = sockact(*line.split())
    assert (said.status, said.out) == (2, "")
    assert "Usage: sockact" in said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_name_is_answered_as_any_other_name_that_is_none(sockact: Sockact, command: str) -> None:
    said = sockact(command, "")
    assert said.status in (1, 2)
    assert "unit" in said.err.lower()


# --- help


def test_the_version_is_that_of_the_package(sockact: Sockact) -> None:
    assert sockact("--version") == (0, f"sockact {__version__}\n", "")


def test_the_help_names_every_command_and_the_search_path(sockact: Sockact) -> None:
    said = sockact("--help")
    assert [word for word in (*commands.cli.commands, "SOCKACT_UNIT_PATH") if word not in said.out] == []
    assert said.err == ""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_help_of_a_command_shows_its_usage_and_explains_each_of_its_options(
    sockact: Sockact, command: str, option: str
) -> None:
    said = sockact(command, option)
    assert said.status == 0
    assert said.err == ""
    assert f"Usage: sockact {command} [OPTIONS] UNIT" in said.out
    own = [parameter for parameter in commands.cli.commands[command].params if isinstance(parameter, click.Option)]
    assert own
    for parameter in own:
        assert parameter.help, parameter.name
        assert all(spelling in said.out for spelling in parameter.opts)


def test_the_help_of_explain_says_what_a_key_is(sockact: Sockact) -> None:
    said = sockact("explain", "--help")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("Usage: sockact explain [OPTIONS] [KEY]...\n")
    assert "SA021" in said.out


def test_every_option_of_the_help_is_in_the_manual() -> None:
    page = (Path(__file__).parents[1] / "man" / "sockact.1").read_text().replace("\\-", "-")
    spellings = [
        spelling
        for command in commands.cli.commands.values()
        for option in command.params
        for spelling in option.opts
        if "-" in spelling
    ]
    assert [spelling for spelling in spellings if spelling not in page] == []


# --- verify


def test_verify_prints_diagnostics_on_standard_error_and_its_verdict_on_standard_output(sockact: Sockact) -> None:
    said = sockact("verify", "broken.socket")
    assert said.err.splitlines() == [
        "broken.socket:2:14: error[SA011]: ListenStream=: " + said.err.partition("ListenStream=: ")[2].splitlines()[0],
        "    ListenStream=localhost",
        "                 ^~~~~~~~~",
        *said.err.splitlines()[3:],
    ]
    assert said.out == "broken.socket, good.service: 1 error\n"


def test_verify_of_good_units_says_so_and_nothing_on_standard_error(sockact: Sockact) -> None:
    assert sockact("verify", "good.socket") == (0, "good.socket, good.service: nothing to complain about\n", "")


def test_the_verdict_counts_errors_warnings_and_notes(sockact: Sockact) -> None:
    said = sockact("verify", "broken.socket", "warned.service", "noted.service", "elsewhere.service")
    assert said.out.endswith(": 3 errors, 1 warning, 1 note\n")


def test_format_text_is_the_default(sockact: Sockact) -> None:
    assert sockact("verify", "--format=text", "broken.socket") == sockact("verify", "broken.socket")


KEYS = {"code", "severity", "scope", "message", "file", "line", "column", "end_column", "hint"}
PLACELESS = "[Socket]\nListenStream=@x\n"


def test_verify_in_json_has_exactly_the_documented_keys_and_nothing_on_standard_error(sockact: Sockact) -> None:
    said = sockact("verify", "--format=json", "broken.socket", "warned.service", "elsewhere.service", "missing.socket")
    found = json.loads(said.out)
    assert (said.status, said.err) == (1, "")
    assert set(found) == {"diagnostics", "units"}
    assert found["units"] == ["broken.socket", "warned.service", "elsewhere.service", "good.service"]
    assert all(set(diagnostic) == KEYS for diagnostic in found["diagnostics"])
    assert {diagnostic["severity"] for diagnostic in found["diagnostics"]} == {"error", "warning"}
    assert {diagnostic["scope"] for diagnostic in found["diagnostics"]} == {"unit", "host"}


def test_a_diagnostic_in_json_has_its_place_or_null_for_it(sockact: Sockact) -> None:
    found = json.loads(sockact("verify", "--format=json", "broken.socket", "missing.socket").out)["diagnostics"]
    placed, placeless = found
    assert (placed["file"], placed["line"], placed["column"], placed["end_column"]) == ("broken.socket", 2, 14, 23)
    assert (placeless["file"], placeless["line"], placeless["column"], placeless["end_column"]) == (
        "missing.socket",
        None,
        None,
        None,
    )
    assert all(diagnostic["hint"] is None or isinstance(diagnostic["hint"], str) for diagnostic in found)


def test_verify_in_json_of_good_units_has_no_diagnostics(sockact: Sockact) -> None:
    said = sockact("verify", "--format", "json", "good.socket")
    assert json.loads(said.out) == {"diagnostics": [], "units": ["good.socket", "good.service"]}


def test_units_of_verify_names_a_template_once_however_many_sockets_use_it(sockact: Sockact, folder: Path) -> None:
    files = {f"echo@{i}.socket": f"[Socket]\nListenStream=@cli-{i}\nAccept=yes\n" for i in range(2)}
    write_units(folder, {**files, "echo@.service": SERVICE})
    found = json.loads(sockact("verify", "--format=json", *files).out)
    assert found == {"diagnostics": [], "units": ["echo@0.socket", "echo@1.socket", "echo@.service"]}


def test_offline_leaves_out_what_is_true_of_this_machine_only(sockact: Sockact) -> None:
    here = json.loads(sockact("verify", "--format=json", "elsewhere.service").out)["diagnostics"]
    assert {diagnostic["scope"] for diagnostic in here} == {"host"}
    assert json.loads(sockact("verify", "--format=json", "--offline", "elsewhere.service").out)["diagnostics"] == []


def test_offline_still_tells_what_is_true_everywhere(sockact: Sockact) -> None:
    assert sockact("verify", "--offline", "broken.socket").status == 1


def test_strict_changes_the_exit_status_and_nothing_that_is_said(sockact: Sockact) -> None:
    usual, strict = sockact("verify", "warned.service"), sockact("verify", "--strict", "warned.service")
    assert (usual.status, strict.status) == (0, 1)
    assert usual[1:] == strict[1:]


def test_strict_is_content_with_units_without_findings(sockact: Sockact) -> None:
    assert sockact("verify", "--strict", "good.socket").status == 0


def test_portable_tells_what_systemd_would_refuse_and_that_is_no_error(sockact: Sockact, folder: Path) -> None:
    write_units(folder, {"ports.socket": "[Socket]\nListenStream=127.0.0.1:8000-8001\nService=good.service\n"})
    assert sockact("verify", "ports.socket").err == ""
    said = sockact("verify", "--portable", "ports.socket")
    assert said.status == 0
    assert said.err.startswith("ports.socket:2:14: warning[SA060]: ListenStream=127.0.0.1:8000-8001: systemd ")
    assert sockact("verify", "--portable", "--strict", "ports.socket").status == 1


@pytest.mark.parametrize("unit", ["good.socket", "warned.service", "noted.service"])
def test_portable_has_nothing_to_say_of_what_is_systemds_own(sockact: Sockact, unit: str) -> None:
    assert sockact("verify", "--portable", unit) == sockact("verify", unit)


def test_verify_for_github_prints_a_workflow_command_a_finding_and_nothing_else(sockact: Sockact) -> None:
    said = sockact("verify", "--format=github", "broken.socket", "warned.service", "noted.service", "missing.socket")
    assert (said.status, said.err) == (1, "")
    assert [line.partition("::")[2].partition("::")[0] for line in said.out.splitlines()] == [
        "error file=broken.socket,line=2,col=14,endColumn=23,title=SA011",
        "error file=missing.socket,title=SA030",
        "notice file=noted.service,line=2,col=1,endColumn=12,title=SA008",
        "warning file=warned.service,line=3,col=1,endColumn=10,title=SA007",
    ]
    assert "%0Ahint: did you mean ExecStart=?" in said.out


def test_verify_for_github_of_good_units_prints_nothing(sockact: Sockact) -> None:
    assert sockact("verify", "--format=github", "good.socket") == (0, "", "")


def test_what_has_a_meaning_to_github_is_escaped(sockact: Sockact, folder: Path) -> None:
    odd = folder / "a,b:100%\nc"
    odd.mkdir()
    (odd / "x.socket").write_text("[Socket]\nListenStream=@x\nBacklog=100%::\nService=good.service\n")
    said = sockact("verify", "--format=github", f"{odd.name}/x.socket", "good.service")
    (line,) = said.out.splitlines()
    assert line.startswith("::warning file=a%2Cb%3A100%25%0Ac/x.socket,line=3,col=9,endColumn=15,title=SA010::")
    assert "'100%25::'" in line


# --- show


ALL_KINDS = """\
[Unit]
Description=All of %n
StartLimitIntervalSec=infinity
[Socket]
ListenStream=0x1F90
ListenStream=[2001:DB8:0:0::0001]:81
ListenDatagram=127.0.0.1:82
ListenSequentialPacket=/var/run/x.sock
ListenStream=@abc
ListenFIFO=/var/run/./f//
ListenStream=vsock:any:0x10
ReceiveBuffer=1.5K
SendBuffer=8M
TriggerLimitIntervalSec=1min 500ms
KeepAlive=on
KeepAliveTimeSec=2h
SocketMode=660
SocketUser=root
Backlog=0x80
"""
SENTENCE = (
    "[Service]\nType=oneshot\nExecStart=/bin/echo one\nExecStart=-/bin/echo two\nEnvironment=A=1 'B=two words'\nRestartSec=1.5\n"
)


@pytest.fixture
def described(sockact: Sockact, folder: Path) -> dict[str, Any]:
    write_units(folder, {"all.socket": ALL_KINDS})
    said = sockact("show", "--json", "all.socket")
    assert (said.status, said.err) == (0, "")
    found: dict[str, Any] = json.loads(said.out)
    return found


def test_show_in_json_has_exactly_the_documented_keys(described: dict[str, Any]) -> None:
    assert set(described) == {
        *("unit", "file", "drop_ins", "service", "network_namespace"),
        *("listen", "conditions", "settings", "origins"),
    }
    assert (described["unit"], described["file"], described["service"]) == ("all.socket", "all.socket", "all.service")
    assert (described["drop_ins"], described["network_namespace"], described["conditions"]) == ([], None, [])


def test_show_lists_conditions_apart_from_the_settings(sockact: Sockact, folder: Path) -> None:
    unit = "[Unit]\nConditionUser=|root\nAssertPathExists=/%p\n[Service]\nExecStart=/bin/cat\n[Unit]\nConditionHost=|!a\n"
    write_units(folder, {"if.service": unit})
    found = json.loads(sockact("show", "--json", "if.service").out)
    assert found["conditions"] == [
        {"text": text, "origin": {"file": "if.service", "line": line}}
        for text, line in (("ConditionUser=|root", 2), ("ConditionHost=|!a", 7), ("AssertPathExists=/if", 3))
    ]
    assert [key for key in (*found["settings"], *found["origins"]) if key.startswith(("Condition", "Assert"))] == []
    lines = sockact("show", "if.service").out.splitlines()
    assert [line.split() for line in lines if line.startswith("if ")] == [
        ["if", "ConditionUser=|root", "if.service:2"],
        ["if", "ConditionHost=|!a", "if.service:7"],
        ["if", "AssertPathExists=/if", "if.service:3"],
    ]


def test_show_lists_addresses_in_file_order_and_canonical_form(described: dict[str, Any]) -> None:
    wildcard = ("[::]:8080", "inet6") if Path("/proc/net/if_inet6").exists() else ("0.0.0.0:8080", "inet")
    listen = [(each["kind"], each["address"], each["family"], each["protocol"]) for each in described["listen"]]
    keys = {"kind", "address", "family", "protocol", "fallback", "name", "descriptor", "origin"}
    assert all(set(each) == keys for each in described["listen"])
    assert [(each["descriptor"], each["origin"]["line"]) for each in described["listen"]] == [(3 + i, 5 + i) for i in range(7)]
    assert {(each["name"], each["fallback"], each["origin"]["file"]) for each in described["listen"]} == {
        ("all.socket", None, "all.socket")
    }
    assert listen == [
        ("stream", *wildcard, "tcp"),
        ("stream", "[2001:db8::1]:81", "inet6", "tcp"),
        ("datagram", "127.0.0.1:82", "inet", "udp"),
        ("seqpacket", "/run/x.sock", "unix", None),
        ("stream", "@abc", "unix", None),
        ("fifo", "/run/f", None, None),
        ("stream", "vsock::16", "vsock", None),
    ]


@pytest.mark.parametrize(
    ("given", "name"), [("mptcp", "mptcp"), ("MPTCP", "mptcp"), ("262", "mptcp"), ("sctp", "sctp"), ("", "tcp")]
)
def test_show_names_the_protocol_by_its_name(sockact: Sockact, folder: Path, given: str, name: str) -> None:
    write_units(folder, {"p.socket": f"[Socket]\nListenStream=127.0.0.1:1\nSocketProtocol={given}\n"})
    assert json.loads(sockact("show", "--json", "p.socket").out)["listen"][0]["protocol"] == name


def test_settings_in_json_are_json_values(described: dict[str, Any]) -> None:
    expected = {
        "Description": "All of all.socket",
        "StartLimitIntervalSec": "infinity",
        "TriggerLimitIntervalSec": 60.5,
        "KeepAliveTimeSec": 7200,
        "ReceiveBuffer": 1536,
        "SendBuffer": 8 * 1024 * 1024,
        "KeepAlive": True,
        "NoDelay": False,
        "SocketMode": "0660",
        "DirectoryMode": "0755",
        "Backlog": 128,
        "SocketUser": "root",
        "SocketGroup": None,
        "SocketProtocol": None,
        "Accept": False,
        "Service": "all.service",
        "FileDescriptorName": "all.socket",
    }
    found = {key: described["settings"][key] for key in expected}
    assert found == expected
    assert {key: type(value) for key, value in found.items()} == {key: type(value) for key, value in expected.items()}


def test_settings_of_a_service_in_json_are_json_values(sockact: Sockact, folder: Path) -> None:
    write_units(folder, {"s.service": SENTENCE})
    found = json.loads(sockact("show", "--json", "s.service").out)
    assert (found["unit"], found["service"], found["listen"]) == ("s.service", "s.service", [])
    expected = {
        "Type": "oneshot",
        "ExecStart": ["/bin/echo one", "-/bin/echo two"],
        "Environment": ["A=1", "B=two words"],
        "EnvironmentFile": [],
        "Sockets": [],
        "RestartSec": 1.5,
        "TimeoutStartSec": "infinity",
        "TimeoutStopSec": 90,
        "KillSignal": "SIGTERM",
        "User": None,
        "NonBlocking": False,
    }
    assert {key: found["settings"][key] for key in expected} == expected


@pytest.mark.parametrize(
    ("unit", "sections"),
    [("good.socket", (UnitSection, SocketSection, SockactSection)), ("good.service", (UnitSection, ServiceSection))],
)
def test_every_directive_that_is_applied_is_among_the_settings_the_addresses_or_the_conditions(
    sockact: Sockact, unit: str, sections: Any
) -> None:
    settings = json.loads(sockact("show", "--json", unit).out)["settings"]
    apart = ("listen", "conditions", "asserts")
    rows = {row.key for section in sections for field, row in section.rows() if field.name not in apart}
    shared = {"StandardInputData"} | ({"TimeoutSec"} if ServiceSection in sections else set())
    assert rows - set(settings) == shared, "what another key says is said with that"
    assert set(settings) <= rows


def test_the_effective_defaults_of_accept_are_shown(sockact: Sockact, folder: Path) -> None:
    write_units(folder, {"in.socket": "[Socket]\nListenStream=@in\nAccept=yes\n"})
    found = json.loads(sockact("show", "--json", "in.socket").out)
    assert found["service"] == "in@.service"
    wanted = {"Accept": True, "TriggerLimitBurst": 200, "FileDescriptorName": "connection", "Service": None}
    assert {key: found["settings"][key] for key in wanted} == wanted


def test_the_plan_is_there_when_asked_for_and_follows_the_order_of_the_file(sockact: Sockact) -> None:
    assert "plan" not in json.loads(sockact("show", "--json", "good.socket").out)
    (port,) = json.loads(sockact("show", "--json", "--plan", "good.socket").out)["plan"]
    assert port["socket"] == "tcp 127.0.0.1:8080"
    assert [call.partition("(")[0] for call in port["calls"]] == ["socket", "setsockopt", "bind", "listen"]
    lines = sockact("show", "--plan", "good.socket").out.splitlines()
    assert [line.strip() for line in lines[-4:]] == port["calls"]


def test_show_as_text_has_a_line_for_every_setting_and_address(sockact: Sockact, folder: Path) -> None:
    write_units(folder, {"all.socket": ALL_KINDS})
    lines = [" ".join(line.split()) for line in sockact("show", "all.socket").out.splitlines()]
    settings = json.loads(sockact("show", "--json", "all.socket").out)["settings"]
    assert [key for key in settings if not any(line.startswith(f"{key}=") for line in lines)] == []
    expected = [
        "all.socket (all.socket)",
        "service all.service",
        "listen 5 datagram udp 127.0.0.1:82 all.socket:7",
        "listen 8 fifo /run/f all.socket:10",
        "KeepAlive=yes all.socket:15",
        "NoDelay=no",
        "SocketGroup=",
        "SocketMode=0660 all.socket:17",
    ]
    assert [line for line in expected if line not in lines] == []


EVERYWHERE = {
    "far.socket": """\
[Socket]
SocketProtocol=mptcp
ListenStream=[::1]:8000-8001
NetworkNamespacePath=/run/netns/blue
FileDescriptorName=web
NoDelay=no
[X-Sockact]
ProtocolFallback=tcp
""",
    "far.socket.d/10-more.conf": "[Socket]\nExecStartPre=/bin/one\nExecStartPre=/bin/two\nBacklog=8\nBacklog=9\n",
    "far.socket.d/20-nothing.conf": "# nothing\n",
}


@pytest.fixture
def far(folder: Path) -> None:
    (folder / "far.socket.d").mkdir()
    write_units(folder, EVERYWHERE)


@pytest.mark.usefixtures("far")
def test_show_in_json_tells_where_each_thing_was_set_and_which_files_add_to_the_unit(sockact: Sockact) -> None:
    shown = json.loads(sockact("show", "--json", "far.socket").out)
    drop_in = "far.socket.d/10-more.conf"
    assert shown["drop_ins"] == [drop_in, "far.socket.d/20-nothing.conf"]
    places = {key: [(origin["file"], origin["line"]) for origin in origins] for key, origins in shown["origins"].items()}
    assert places == {
        "SocketProtocol": [("far.socket", 2)],
        "NetworkNamespacePath": [("far.socket", 4)],
        "FileDescriptorName": [("far.socket", 5)],
        "NoDelay": [("far.socket", 6)],
        "ProtocolFallback": [("far.socket", 8)],
        "ExecStartPre": [(drop_in, 2), (drop_in, 3)],
        "Backlog": [(drop_in, 5)],
    }
    assert (shown["settings"]["Backlog"], shown["settings"]["ProtocolFallback"]) == (9, "tcp")


@pytest.mark.usefixtures("far")
def test_show_tells_what_a_socket_falls_back_to_its_descriptor_its_name_and_its_network(sockact: Sockact) -> None:
    shown = json.loads(sockact("show", "--json", "far.socket").out)
    assert shown["network_namespace"] == "/run/netns/blue"
    found = [(each["address"], each["protocol"], each["fallback"], each["name"], each["descriptor"]) for each in shown["listen"]]
    assert found == [("[::1]:8000", "mptcp", "tcp", "web", 3), ("[::1]:8001", "mptcp", "tcp", "web", 4)]


@pytest.mark.usefixtures("far")
def test_show_as_text_begins_with_what_was_set_and_ends_with_the_defaults(sockact: Sockact) -> None:
    out = sockact("show", "far.socket").out
    head, _, rest = out.partition("\nset\n")
    given, _, defaults = rest.partition("\ndefaults\n")
    assert [" ".join(line.split()) for line in head.splitlines()] == [
        "far.socket (far.socket)",
        "drop-in far.socket.d/10-more.conf",
        "drop-in far.socket.d/20-nothing.conf",
        "service far.service",
        "network /run/netns/blue",
        "listen 3 stream mptcp [::1]:8000, else tcp far.socket:3",
        "listen 4 stream mptcp [::1]:8001, else tcp far.socket:3",
    ]
    assert "  NoDelay=no " in given, "set, if only to the default"
    assert {line.partition("=")[0].strip() for line in defaults.splitlines()} & {"NoDelay", "Backlog"} == set()
    assert "  KeepAlive=no\n" in defaults


def test_a_private_network_is_shown_as_private(sockact: Sockact, folder: Path) -> None:
    write_units(folder, {"p.socket": "[Socket]\nListenStream=80\nPrivateNetwork=yes\n"})
    assert json.loads(sockact("show", "--json", "p.socket").out)["network_namespace"] == "private"


def test_a_connection_is_always_the_first_descriptor(sockact: Sockact, folder: Path) -> None:
    write_units(folder, {"c.socket": "[Socket]\nListenStream=@c\nListenStream=@d\nAccept=yes\n"})
    listen = json.loads(sockact("show", "--json", "c.socket").out)["listen"]
    assert [(each["descriptor"], each["name"]) for each in listen] == [(3, "connection"), (3, "connection")]


def test_show_tells_errors_on_standard_error_and_prints_nothing_else(sockact: Sockact) -> None:
    for arguments in (["show", "broken.socket"], ["show", "--json", "broken.socket"]):
        said = sockact(*arguments)
        assert (said.status, said.out) == (1, "")
        assert "broken.socket:2:14: error[SA011]" in said.err


def test_show_does_not_ask_for_the_units_a_unit_needs(sockact: Sockact, folder: Path) -> None:
    """What a unit says can be looked at before its companions are written: its service, its template, its sockets."""
    files = {
        "alone.socket": "[Socket]\nListenStream=@alone\n",
        "accepting.socket": "[Socket]\nListenStream=@accepting\nAccept=yes\n",
        "asking.service": "[Service]\nExecStart=/bin/cat\nSockets=missing.socket\n",
        "inetd.service": "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n",
        "inetd@.service": "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n",
    }
    write_units(folder, files)
    for unit in ("alone.socket", "accepting.socket", "asking.service", "inetd.service", "inetd@1.service"):
        assert sockact("show", "--json", unit)[::2] == (0, ""), unit
