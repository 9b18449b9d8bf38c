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
from sockact.unit.directives.socket import SocketSection
from sockact.unit.directives.unit import UnitSection
from tests.lab import write_units

COMMANDS = ("start", "verify", "show")

SERVICE = "[Service]\nExecStart=/bin/cat\n"
FILES = {
    "good.socket": "[Socket]\nListenStream=127.0.0.1:1\n",
    "good.service": SERVICE,
    "warned.service": "[Service]\nExecStart=/bin/cat\nExecStrat=/bin/cat\n",
    "noted.service": "[Unit]\nAfter=network.target\n[Service]\nExecStart=/bin/cat\n",
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
    ],
)
def test_the_exit_status_is_0_for_success_1_for_bad_units_and_2_for_wrong_usage(sockact: Sockact, line: str, status: int) -> None:
    said = sockact(*line.split())
    assert said.status == status, said
    assert "Traceback" not in said.err
    assert said.err or status == 0 or "json" in line, "a failure is explained on standard error, unless it is asked for in JSON"


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
    assert [word for word in (*COMMANDS, "SOCKACT_UNIT_PATH") if word not in said.out] == []
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


def test_every_option_of_the_help_is_in_the_manual() -> None:
    page = (Path(__file__).parents[1] / "man" / "sockact.1").read_text().replace("\\-", "-")
    spellings = [
        spelling
        for name in COMMANDS
        for option in commands.cli.commands[name].params
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
    assert set(described) == {"unit", "file", "service", "listen", "settings"}
    assert (described["unit"], described["file"], described["service"]) == ("all.socket", "all.socket", "all.service")


def test_show_lists_addresses_in_file_order_and_canonical_form(described: dict[str, Any]) -> None:
    wildcard = ("[::]:8080", "inet6") if Path("/proc/net/if_inet6").exists() else ("0.0.0.0:8080", "inet")
    listen = [(each["kind"], each["address"], each["family"], each["protocol"]) for each in described["listen"]]
    assert all(set(each) == {"kind", "address", "family", "protocol"} for each in described["listen"])
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
    ("unit", "sections"), [("good.socket", (UnitSection, SocketSection)), ("good.service", (UnitSection, ServiceSection))]
)
def test_every_directive_that_is_applied_is_among_the_settings_or_the_addresses(
    sockact: Sockact, unit: str, sections: Any
) -> None:
    settings = json.loads(sockact("show", "--json", unit).out)["settings"]
    rows = {row.key for section in sections for field, row in section.rows() if field.name != "listen"}
    assert rows - set(settings) <= {"TimeoutSec"}, "TimeoutSec= is the other two timeouts"
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
    assert port["socket"] == "tcp 127.0.0.1:1"
    assert [call.partition("(")[0] for call in port["calls"]] == ["socket", "setsockopt", "bind", "listen"]
    lines = sockact("show", "--plan", "good.socket").out.splitlines()
    assert [line.strip() for line in lines[-4:]] == port["calls"]


def test_show_as_text_has_a_line_for_every_setting_and_address(sockact: Sockact, folder: Path) -> None:
    write_units(folder, {"all.socket": ALL_KINDS})
    lines = [line.strip() for line in sockact("show", "all.socket").out.splitlines()]
    settings = json.loads(sockact("show", "--json", "all.socket").out)["settings"]
    assert [key for key in settings if not any(line.startswith(f"{key}=") for line in lines)] == []
    expected = [
        "all.socket  (all.socket)",
        "service  all.service",
        "listen   datagram udp 127.0.0.1:82",
        "listen   fifo /run/f",
        "KeepAlive=yes",
        "NoDelay=no",
        "SocketGroup=",
        "SocketMode=0660",
    ]
    assert [line for line in expected if line not in lines] == []


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
