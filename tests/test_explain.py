"""`sockact explain`: every key and every code has an answer, and the answer is what the tables and the plan say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sockact.cli import explain
from sockact.cli.codes import ADVICE
from sockact.net.plan import SetOption, plan
from sockact.net.protocols import PROTOCOLS
from sockact.unit.diagnostics import CODES, HOST, PORTABLE, errors
from sockact.unit.directives import Option, Row, Section
from sockact.unit.directives.unit import InstallSection
from sockact.unit.load import BODIES
from sockact.unit.verify import verify
from tests.fakes import Machine, gathered, socket_unit
from tests.test_cli import Sockact, caller

ROOT = Path(__file__).parents[1]
APPLIED = [topic for topic in explain.topics() if topic.applied]
NOT_APPLIED = [topic for topic in explain.topics() if not topic.applied]


@pytest.fixture
def sockact(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Sockact:
    monkeypatch.setenv("COLUMNS", "80")
    return caller(capsys)


def explained(sockact: Sockact, *words: str) -> list[dict[str, Any]]:
    said = sockact("explain", "--json", *words)
    assert (said.status, said.err) == (0, "")
    found: list[dict[str, Any]] = json.loads(said.out)
    return found


def named(topic: explain.Topic) -> str:
    return f"{topic.section}.{topic.key}"


# --- what is found


def test_every_key_of_every_section_is_explained_there() -> None:
    sections: list[type[Section]] = [InstallSection, *(section for _, parts in BODIES.values() for section in parts)]
    for section in sections:
        for key in (*section.table, *section.known, *section.moved, *section.silent):
            assert [topic for topic in explain.find(key) if topic.section == section.title], f"[{section.title}] {key}"


@pytest.mark.parametrize(
    "word", ["NoDelay", "NoDelay=", "NoDelay=yes", "nodelay", "NODELAY=", "Socket.NoDelay", "[socket].nodelay"]
)
def test_a_key_is_found_in_any_letter_case_with_its_value_or_its_section(sockact: Sockact, word: str) -> None:
    said = sockact("explain", word)
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("[Socket] NoDelay=BOOLEAN\n")


def test_an_alias_is_explained_as_what_it_stands_for(sockact: Sockact) -> None:
    out = sockact("explain", "StartLimitInterval").out
    assert "[Unit] StartLimitIntervalSec=TIME\n" in out
    assert "also       StartLimitInterval=\n" in out


@pytest.mark.parametrize(
    ("word", "meant"),
    [("NoDelya", "NoDelay="), ("ListenStraem=80", "ListenStream="), ("Service.NoDelay", "NoDelay="), ("SA02", "SA0")],
)
def test_an_unknown_word_fails_and_brings_what_is_near(sockact: Sockact, word: str, meant: str) -> None:
    said = sockact("explain", word)
    assert (said.status, said.out) == (1, "")
    assert said.err.startswith(f"sockact: '{word}' is no directive and no code; did you mean ")
    assert meant in said.err


def test_a_word_that_is_far_from_everything_is_sent_to_the_list(sockact: Sockact) -> None:
    said = sockact("explain", "Xyzzy")
    assert said == (1, "", "sockact: 'Xyzzy' is no directive and no code; sockact explain lists them\n")


def test_a_word_is_printed_without_what_a_terminal_would_take_as_an_order(sockact: Sockact) -> None:
    assert "\x1b" not in sockact("explain", "\x1b[31mX\n").err


@pytest.mark.parametrize("columns", ["1", "40", "100", "1000"])
def test_prose_fills_the_terminal_within_reason(sockact: Sockact, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    widest = max(map(len, sockact("explain", "SA030").out.splitlines()))
    assert 30 < widest <= max(40, min(int(columns), 100))


def test_of_several_words_the_known_ones_are_explained_though_another_is_unknown(sockact: Sockact) -> None:
    said = sockact("explain", "NoDelay", "Xyzzy", "SA024")
    assert said.status == 1
    assert said.out.startswith("[Socket] NoDelay=")
    assert "\nerror[SA024]: " in said.out
    assert "Xyzzy" in said.err


# --- what is told


def test_a_directive_that_is_an_option_tells_all_its_row_does(sockact: Sockact) -> None:
    assert sockact("explain", "NoDelay").out == (
        "[Socket] NoDelay=BOOLEAN\n"
        "\n"
        "    Send small packets at once.\n"
        "\n"
        "    value      yes, no, true, false, on, off, 1 or 0\n"
        "    default    no\n"
        "    kernel     setsockopt(IPPROTO_TCP, TCP_NODELAY): tcp, mptcp\n"
        "               setsockopt(IPPROTO_SCTP, SCTP_NODELAY): sctp\n"
        "    not with   udp, udplite, unix, vsock, netlink\n"
        "    example    NoDelay=yes\n"
        "    since      systemd 216\n"
    )


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("IPTTL", "IP_TTL): tcp, udp, sctp, udplite over IPv4"),
        ("IPTTL", "not with   mptcp, unix, vsock, netlink"),
        ("KeepAlive", "SO_KEEPALIVE): tcp, mptcp not with udp, sctp, "),
        ("LingerSec", "SO_LINGER): tcp, mptcp; sctp for streams"),
        ("ReceiveBuffer", "or SO_RCVBUFFORCE, where a sysctl caps it): every socket"),
        ("BindIPv6Only", "over IPv6; if refused, the unit fails"),
        ("PipeSize", "only for   a FIFO"),
        ("MaxConnections", "only with  Accept=yes"),
        ("FlushPending", "only with  Accept=no"),
        ("TriggerLimitBurst", "default    20, unless other settings say otherwise"),
        ("ExecStart", "mistakes   a value that cannot be read is an error (SA011)"),
        ("SocketMode", "default    0666"),
        ("Priority", "default    what the kernel has"),
        ("LingerSec", "[X-Sockact] LingerSec=TIME"),
        ("LingerSec", "since      sockact's own; systemd reads over the section in silence"),
        ("ListenStream", "example    ListenStream=8080 ListenStream=127.0.0.1:8080 "),
    ],
)
def test_what_a_row_says_is_told(sockact: Sockact, key: str, said: str) -> None:
    assert " ".join(said.split()) in " ".join(sockact("explain", key).out.split())


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (
            "PrivateTmp",
            "[Socket] and [Service] PrivateTmp=\n\n    Not applied: sockact builds no sandbox; nothing is confined by it.\n",
        ),
        ("ListenUSBFunction", "[Socket] ListenUSBFunction=\n\n    Not applied: sockact makes no USB gadgets.\n"),
        ("WantedBy", "[Install] WantedBy=\n\n    It concerns systemctl enable only; sockact passes over it in silence.\n"),
        ("Documentation", "[Unit] Documentation=\n\n    It concerns people only; sockact passes over it in silence.\n"),
        (
            "Service.StartLimitBurst",
            "[Service] StartLimitBurst=\n\n    It belongs to [Unit], and is read as if it stood there.\n",
        ),
    ],
)
def test_of_what_is_not_applied_the_reason_is_told(sockact: Sockact, key: str, said: str) -> None:
    assert sockact("explain", key) == (0, said, "")


def test_a_key_of_several_sections_is_explained_for_each_and_once_where_they_agree(sockact: Sockact) -> None:
    heads = [
        line for line in sockact("explain", "TimeoutSec", "PrivateNetwork", "Environment").out.splitlines() if line[:1] == "["
    ]
    assert heads == [
        "[Socket] TimeoutSec=TIMEOUT",
        "[Service] TimeoutSec=TIMEOUT",
        "[Socket] PrivateNetwork=BOOLEAN",
        "[Service] PrivateNetwork=",
        "[Socket] and [Service] Environment=VARIABLES",
    ]
    assert [each["section"] for each in explained(sockact, "Environment")] == ["Socket", "Service"]


@pytest.mark.parametrize("topic", APPLIED, ids=named)
def test_every_answer_has_its_meaning_its_grammar_and_its_examples_and_fits_the_page(
    sockact: Sockact, topic: explain.Topic
) -> None:
    out = sockact("explain", named(topic)).out
    assert topic.row
    flowing = " ".join(out.split())
    for said in (topic.row.meaning, topic.row.kind.grammar, *(f"{topic.key}={example}" for example in topic.row.examples)):
        assert " ".join(said.split()) in flowing
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("topic", NOT_APPLIED, ids=named)
def test_every_key_that_is_not_applied_has_a_sentence_for_an_answer(topic: explain.Topic) -> None:
    assert re.fullmatch(r"(Not applied: |It belongs to |It concerns ).+[^.]\.", topic.reason)


# --- which protocols an option reaches


OPTIONS = [
    pytest.param(topic.row, option, id=f"{topic.key}:{option.name}")
    for topic in APPLIED
    if topic.row
    for option in topic.row.options
]
PORTS = {
    "tcp": "ListenStream=127.0.0.1:1\nListenStream=[::1]:1",
    "udp": "ListenDatagram=127.0.0.1:1\nListenDatagram=[::1]:1",
    "unix": "ListenStream=@x\nListenDatagram=@x\nListenSequentialPacket=@x",
    "vsock": "ListenStream=vsock::1\nListenDatagram=vsock::1\nListenSequentialPacket=vsock::1",
    "netlink": "ListenNetlink=route",
}
PORTS |= {
    "mptcp": PORTS["tcp"] + "\nSocketProtocol=mptcp",
    "udplite": PORTS["udp"] + "\nSocketProtocol=udplite",
    "sctp": PORTS["tcp"] + "\nListenSequentialPacket=127.0.0.1:1\nListenSequentialPacket=[::1]:1\nSocketProtocol=sctp",
}


def test_the_tests_know_a_unit_for_each_protocol() -> None:
    assert set(PORTS) == {protocol.name for protocol in PROTOCOLS}


@pytest.mark.parametrize(("row", "option"), OPTIONS)
def test_the_protocols_that_are_named_are_those_whose_sockets_get_the_option(row: Row, option: Option) -> None:
    """Planned for a unit of each protocol: there is no second opinion about who gets an option."""
    reached: dict[str, set[str]] = {}
    section = next(topic.section for topic in APPLIED if topic.row is row)
    for name, ports in PORTS.items():
        for example in row.examples:
            unit, found = socket_unit(f"[Socket]\n{ports}\n[{section}]\n{row.key}={example}\n")
            assert errors(found) == []
            planned = {
                f"{port.listen.kind} {port.listen.address.family}"
                for port in plan(unit)
                for step in port.steps
                if isinstance(step, SetOption) and (step.level, step.name) == (option.level, option.name)
            }
            if planned:
                reached.setdefault(name, set()).update(planned)
    told = {name: {f"{one.kind} {one.address.family}" for one in listens} for name, listens in explain.reach(option).items()}
    assert told == reached


# --- codes


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_explained_with_what_to_do(sockact: Sockact, code: str) -> None:
    assert code in ADVICE, "say in sockact/cli/codes.py what to do about it"
    for word in (code, code.lower()):
        said = sockact("explain", word)
        assert (said.status, said.err) == (0, "")
        flowing = " ".join(said.out.split())
        assert flowing.startswith(f"{CODES[code].severity}[{code}]: {CODES[code].about}")
        assert " ".join(ADVICE[code].remedy.split()) in flowing
        assert max(map(len, said.out.splitlines())) <= 80


def test_no_advice_is_left_of_codes_that_are_gone() -> None:
    assert set(ADVICE) <= set(CODES)


LACKS = ("192.0.2.1", "sctp", "CAP_NET_BIND_SERVICE", "CAP_NET_ADMIN", "CAP_NET_RAW", "memory")
"""What the examples ask for and a machine may lack."""


@pytest.mark.parametrize("code", [code for code, advice in ADVICE.items() if advice.example])
def test_the_example_of_a_code_is_an_example_of_it(code: str) -> None:
    example = ADVICE[code].example
    files = (
        {"web.service": example} if "[Service]" in example else {"web.socket": example, "web.service": "[Service]\nExecStart=/x"}
    )
    files["web@.service"] = "[Service]\nExecStart=/x"
    survey = Machine("/x", "/bin/true", lacks=LACKS) if CODES[code].scope == HOST else None
    requested = [name for name in files if "@" not in name][:1]
    found = verify(gathered(files, *requested), survey, portable=CODES[code].scope == PORTABLE)
    assert code in {diagnostic.code for diagnostic in found}


def test_a_code_is_explained_by_example_remedy_severity_and_scope(sockact: Sockact) -> None:
    assert sockact("explain", "SA024").out == (
        "error[SA024]: MaxConnections=0 admits nobody\n"
        "\n"
        "        [Socket]\n"
        "        ListenStream=80\n"
        "        MaxConnections=0\n"
        "\n"
        "    The default is 64; write the number you can bear.\n"
        "\n"
        "    error      nothing is started\n"
        "    unit       true of the file, on every machine\n"
    )


# --- lists, JSON, completion


def test_without_a_word_every_directive_that_is_applied_is_listed_once_for_each_meaning(sockact: Sockact) -> None:
    said = sockact("explain")
    assert (said.status, said.err) == (0, "")
    listed: dict[str, list[str]] = {}
    for line in said.out.splitlines():
        if line.startswith("["):
            listed[line] = found = []
        elif line:
            key, _, meaning = line.strip().partition("= ")
            assert meaning.strip()
            found.append(key)
    assert set(listed) == {"[Unit]", "[Socket]", "[X-Sockact]", "[Service]", "[Socket] and [Service]"}
    assert {key for keys in listed.values() for key in keys} == {topic.key for topic in APPLIED}
    assert "Environment" in listed["[Socket] and [Service]"]
    assert "TimeoutSec" in listed["[Socket]"]
    assert "TimeoutSec" in listed["[Service]"]
    assert all(len(keys) == len(set(keys)) for keys in listed.values())


def test_in_json_an_answer_has_every_column_of_the_row(sockact: Sockact) -> None:
    (found,) = explained(sockact, "IPTTL")
    options = found.pop("options")
    assert found == {
        "section": "Socket",
        "key": "IPTTL",
        "applied": True,
        "reason": None,
        "aliases": [],
        "meaning": "Time to live of what is sent.",
        "type": "setting",
        "grammar": "1 to 2147483647; 0 and negative numbers leave it to the kernel",
        "appends": False,
        "default": None,
        "essential": False,
        "only_for": None,
        "only_with_accept": None,
        "controller": None,
        "not_with": ["mptcp", "unix", "vsock", "netlink"],
        "examples": ["5"],
        "since": "1",
    }
    assert [(option["level"], option["name"]) for option in options] == [
        ("IPPROTO_IP", "IP_TTL"),
        ("IPPROTO_IPV6", "IPV6_UNICAST_HOPS"),
    ]
    assert options[0]["protocols"]["sctp"] == ["seqpacket inet", "stream inet"]


def test_in_json_without_a_word_there_is_all_that_is_known(sockact: Sockact) -> None:
    found = explained(sockact)
    assert len(found) == len(explain.topics()) + len(CODES)
    assert [each["code"] for each in found if "code" in each] == list(CODES)


def completed(incomplete: str) -> list[str]:
    """What a shell offers after `sockact explain INCOMPLETE`."""
    asked = {"_SOCKACT_COMPLETE": "zsh_complete", "COMP_WORDS": f"sockact explain {incomplete}", "COMP_CWORD": "2"}
    environment = {**os.environ, **asked, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "sockact"], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[1::3]


def test_a_shell_completes_keys_in_any_letter_case_and_codes() -> None:
    assert completed("nod") == ["NoDelay"]
    assert completed("Listens") == ["ListenStream", "ListenSequentialPacket", "ListenSpecial"]
    assert completed("sa02") == [code for code in CODES if code.startswith("SA02")]
    assert "PrivateTmp" in completed("Priv"), "what is not applied may be asked for"
    assert "PrivateTmp" not in completed("''"), "and is not offered by itself"
