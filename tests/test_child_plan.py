"""The child plan: variables in command lines, environment files, standard streams, and what else a process is made of."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.lifecycle.child import (
    CONNECTION,
    NULL,
    OWN_VARIABLES,
    SEARCH_PATH,
    ChildPlan,
    Source,
    base_environment,
    environment_file,
    expand,
    plan,
)
from sockact.unit.commands import Command, MaybePath
from tests.fakes import service_unit, socket_unit

ENVIRONMENT = {"A": "1", "TWO": "x y", "EMPTY": "", "B_2": "b", "Q": "a 'b c' \"d\"", "D": "$A"}


def argv(text: str) -> list[str]:
    """The arguments that a program gets."""
    unit, found = service_unit(f"ExecStart={text}\n")
    assert found == []
    return expand(unit.service.exec_start[0], ENVIRONMENT)


# Variables in command lines


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("plain", ["plain"]),
        ("$A", ["1"]),
        ("${A}", ["1"]),
        ("$TWO", ["x", "y"]),
        ("${TWO}", ["x y"]),
        ("'$TWO'", ["x", "y"]),
        ("'${TWO}'", ["x y"]),
        ("$EMPTY", []),
        ("${EMPTY}", [""]),
        ("$UNSET", []),
        ("${UNSET}", [""]),
        ("a${A}b${B_2}c", ["a1bbc"]),
        ("a$A", ["a$A"]),
        ("$$A", ["$A"]),
        ("$${A}", ["${A}"]),
        ("a$$b", ["a$b"]),
        ("$$$$", ["$$"]),
        ("a$", ["a$"]),
        ("${A", ["${A"]),
        ("${1}", ["${1}"]),
        ("${}", ["${}"]),
        ("${A}}", ["1}"]),
        ("${D}", ["$A"]),
        ("$D", ["$A"]),
        ("x=${A}:${A}", ["x=1:1"]),
        ("$A $TWO ${A}", ["1", "x", "y", "1"]),
    ],
)
def test_variables_are_replaced_as_systemd_replaces_them(words: str, expected: list[str]) -> None:
    assert argv(f"/bin/x {words}") == ["/bin/x", *expected]


def test_a_variable_as_a_whole_word_is_divided_where_its_quotes_allow() -> None:
    assert argv("/bin/x $Q") == ["/bin/x", "a", "b c", "d"]


def test_a_colon_in_front_replaces_no_variables() -> None:
    assert argv(":/bin/x $A ${A} $$") == ["/bin/x", "$A", "${A}", "$$"]


def test_the_program_and_argv_0_are_not_replaced() -> None:
    assert argv("@/bin/x ${A} ${A}") == ["${A}", "1"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("aA$\\{} 1", max_size=8), max_size=4))
def test_doubled_dollar_signs_come_back_single(words: list[str]) -> None:
    doubled = tuple(word.replace("$", "$$") for word in words)
    found = expand(Command("/x", "/x", doubled), {"A": "never", "a": "never"})
    assert found == ["/x", *words]


# Environment files


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("# A=1\n; B=2\n\n  # C=3\nD=4", {"D": "4"}),
        ("  A =  1 2  \n", {"A": "1 2"}),
        ("A=", {"A": ""}),
        ("A=\"1 2\"\nB='3 4'\n", {"A": "1 2", "B": "3 4"}),
        ('A="a\\"b\\\\c\\$d\\`e\\xf"', {"A": 'a"b\\c$d`e\\xf'}),
        ("A='a\\b\"c'", {"A": 'a\\b"c'}),
        ("A=a\\ b\\\\c", {"A": "a b\\c"}),
        ("A=one\\\ntwo", {"A": "onetwo"}),
        ('A="one\\\ntwo"', {"A": "onetwo"}),
        ("A=x # no comment", {"A": "x # no comment"}),
        ("A=a=b", {"A": "a=b"}),
        ("A=1\nA=2", {"A": "2"}),
        ("no assignment\n1A=x\nA B=1\nexport C=1\n=x\nD=4", {"D": "4"}),
        ("A=$B ${C}", {"A": "$B ${C}"}),
        ("A=é", {"A": "é"}),
        ("", {}),
    ],
)
def test_an_environment_file_is_read_as_systemd_reads_it(text: str, expected: dict[str, str]) -> None:
    assert environment_file(text) == expected


def test_a_backslash_at_the_end_of_a_comment_continues_nothing() -> None:
    assert environment_file("# a comment \\\nA=1\n") == {"A": "1"}


@pytest.mark.parametrize("quote", "\"'")
def test_a_quoted_value_may_go_over_several_lines(quote: str) -> None:
    assert environment_file(f"A={quote}one\ntwo{quote}\nB=2") == {"A": "one\ntwo", "B": "2"}


def test_a_backslash_at_the_end_of_a_line_stays_in_single_quotes() -> None:
    assert environment_file("A='one\\\ntwo'") == {"A": "one\\\ntwo"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("A=it's", "it's"), ('A=--name="two words"', '--name="two words"'), ("A=\"1\"2'3'", "12'3'"), ("A=x 'y'", "x 'y'")],
)
def test_quotes_count_at_the_start_of_a_value_only(text: str, value: str) -> None:
    assert environment_file(f"{text}\nB=2") == {"A": value, "B": "2"}


@settings(max_examples=300, deadline=None)
@given(st.text("A=1 \n\\'\"#;$`x\r", max_size=40))
def test_any_text_can_be_read_as_an_environment_file(text: str) -> None:
    for name, value in environment_file(text).items():
        assert name.isidentifier()
        assert "\0" not in value


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=12))
def test_a_quoted_value_of_an_environment_file_comes_back(value: str) -> None:
    quoted = "".join("\\" + char if char in '"\\$`' else char for char in value)
    assert environment_file(f'A="{quoted}"\n') == {"A": value}


# The base environment


def test_services_get_the_environment_of_the_supervisor_less_what_was_said_to_it() -> None:
    given_ = {"HOME": "/root", "PATH": "/bin", **dict.fromkeys(OWN_VARIABLES, "x")}
    assert base_environment(given_, clean=False) == {"HOME": "/root", "PATH": "/bin"}


def test_there_is_always_a_path() -> None:
    assert base_environment({}, clean=False) == {"PATH": SEARCH_PATH}


def test_a_clean_environment_has_a_path_and_nothing_else() -> None:
    assert base_environment({"HOME": "/root", "PATH": "/odd"}, clean=True) == {"PATH": SEARCH_PATH}


@pytest.mark.parametrize(
    "name", ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID", "NOTIFY_SOCKET", "WATCHDOG_PID"]
)
def test_what_the_supervisor_was_told_about_itself_is_never_passed_on(name: str) -> None:
    assert name in OWN_VARIABLES
    assert name not in base_environment({name: "x"}, clean=False)


# The plan


def planned(text: str, *descriptors: tuple[int, str], index: int = 0, handed: dict[str, str] | None = None) -> ChildPlan:
    unit, found = service_unit(text)
    assert found == []
    section = unit.service
    command = section.exec_start[index]
    return plan(section, command, descriptors, {"PATH": "/bin"}, handed or {}, non_blocking=section.non_blocking)


def test_sockets_are_handed_over_with_their_number_and_names() -> None:
    made = planned("ExecStart=/bin/x", (7, "http"), (5, "a b"), (9, "http"))
    assert made.handed == {"LISTEN_FDS": "3", "LISTEN_FDNAMES": "http:a b:http"}
    assert (made.descriptors, made.placed, made.non_blocking) == ((7, 5, 9), 3, False)


def test_without_sockets_nothing_is_said_of_them() -> None:
    made = planned("ExecStart=/bin/x", handed={"NOTIFY_SOCKET": "@n"})
    assert (made.handed, made.descriptors, made.placed) == ({"NOTIFY_SOCKET": "@n"}, (), 0)


def test_non_blocking_concerns_sockets_that_are_placed() -> None:
    assert planned("ExecStart=/bin/x\nNonBlocking=yes", (7, "x")).non_blocking
    assert not planned("ExecStart=/bin/x\nNonBlocking=yes\nStandardInput=socket", (7, "x")).non_blocking


JOURNAL = Source(fd=2, path="x", how="journal")
LOG, OUT = Source(fd=2), Source(fd=1)
"""The supervisor's own standard error and output."""


def test_an_inetd_service_gets_its_connection_as_standard_input_and_output() -> None:
    made = planned("ExecStart=/bin/x\nStandardInput=socket", (7, "connection"), handed={"REMOTE_ADDR": "::1"})
    assert (made.handed, made.descriptors, made.placed) == ({"REMOTE_ADDR": "::1"}, (7,), 0)
    assert made.streams == (CONNECTION, Source(follows=0), LOG)


@pytest.mark.parametrize(
    ("text", "streams"),
    [
        ("", (NULL, LOG, Source(follows=1))),
        ("StandardOutput=null", (NULL, NULL, Source(follows=1))),
        ("StandardOutput=inherit", (NULL, OUT, Source(follows=1))),
        ("StandardOutput=journal\nStandardError=journal", (NULL, JOURNAL, JOURNAL)),
        ("StandardInput=file:/i", (Source(path="/i", how="read"), LOG, Source(follows=1))),
        ("StandardInput=file:/i\nStandardOutput=inherit", (Source(path="/i", how="read"), Source(follows=0), Source(follows=1))),
        (
            "StandardOutput=append:/o\nStandardError=truncate:/e",
            (NULL, Source(path="/o", how="append"), Source(path="/e", how="truncate")),
        ),
        ("StandardOutput=file:/o", (NULL, Source(path="/o", how="file"), Source(follows=1))),
        ("StandardInput=socket\nStandardOutput=null", (CONNECTION, NULL, LOG)),
        ("StandardInput=socket\nStandardError=inherit", (CONNECTION, Source(follows=0), Source(follows=1))),
        ("StandardInput=socket\nStandardError=socket", (CONNECTION, Source(follows=0), CONNECTION)),
        ("StandardOutput=socket", (NULL, CONNECTION, Source(follows=1))),
    ],
)
def test_a_standard_stream_is_a_file_the_connection_the_log_or_follows_another(text: str, streams: tuple[Source, ...]) -> None:
    assert planned(f"ExecStart=/bin/x\n{text}\n", (7, "x")).streams == streams


def test_the_plan_takes_everything_else_from_the_unit() -> None:
    who = "User=u\nGroup=g\nWorkingDirectory=-/srv\n"
    made = planned(f"ExecStart=/bin/x\n{who}Environment=A=1 B=2\nEnvironmentFile=/e\nEnvironmentFile=-/f\n")
    assert (made.command.program, made.base) == ("/bin/x", {"PATH": "/bin"})
    assert (made.user, made.group, made.directory) == ("u", "g", MaybePath("/srv", True))
    assert made.own == (("A", "1"), ("B", "2"))
    assert made.files == (MaybePath("/e"), MaybePath("/f", True))


@pytest.mark.parametrize("prefix", ["+", "!", "-+"])
def test_a_privileged_command_keeps_the_user_of_the_supervisor(prefix: str) -> None:
    made = planned(f"ExecStart={prefix}/bin/x\nUser=u\nGroup=g\n")
    assert (made.user, made.group) == (None, None)


def test_each_command_of_a_oneshot_service_has_its_own_plan() -> None:
    text = "Type=oneshot\nExecStart=/bin/a\nExecStart=/bin/b\n"
    assert [planned(text, index=i).command.program for i in (0, 1)] == ["/bin/a", "/bin/b"]


def test_the_facts_handed_over_are_not_changed_by_planning() -> None:
    handed: dict[str, Any] = {"SO_COOKIE": "1"}
    made = planned("ExecStart=/bin/x", (7, "x"), handed=handed)
    assert handed == {"SO_COOKIE": "1"}
    assert made.handed == {"SO_COOKIE": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x"}


# Commands of a socket


def planned_for_socket(text: str, *descriptors: tuple[int, str], non_blocking: bool = False) -> ChildPlan:
    unit, found = socket_unit(f"ListenStream=/node\n{text}")
    assert found == []
    section = unit.socket
    return plan(section, section.exec_start_post[0], descriptors, {"PATH": "/bin"}, {}, non_blocking=non_blocking)


def test_a_command_of_a_socket_is_made_of_its_own_section() -> None:
    who = "User=u\nGroup=g\nWorkingDirectory=/srv\nEnvironment=A=1\nEnvironmentFile=/e\n"
    made = planned_for_socket(f"ExecStartPost=/bin/x ${{A}}\n{who}StandardOutput=null\n")
    assert (made.command.program, made.own, made.files) == ("/bin/x", (("A", "1"),), (MaybePath("/e"),))
    assert (made.user, made.group, made.directory) == ("u", "g", MaybePath("/srv"))
    assert made.streams == (NULL, NULL, Source(follows=1))


def test_a_command_of_a_socket_writes_into_the_log_and_reads_nothing() -> None:
    assert planned_for_socket("ExecStartPost=/bin/x").streams == (NULL, LOG, Source(follows=1))


def test_a_privileged_command_of_a_socket_keeps_the_user_of_the_supervisor() -> None:
    made = planned_for_socket("ExecStartPost=+/bin/x\nUser=u\nGroup=g")
    assert (made.user, made.group) == (None, None)


@pytest.mark.parametrize("non_blocking", [True, False])
def test_a_command_of_a_socket_gets_what_is_handed_to_it(non_blocking: bool) -> None:
    made = planned_for_socket("ExecStartPost=/bin/x", (7, "web"), (9, "web"), non_blocking=non_blocking)
    assert made.handed == {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:web"}
    assert (made.descriptors, made.placed, made.non_blocking) == ((7, 9), 2, non_blocking)


def test_a_command_of_a_socket_that_gets_nothing_is_told_nothing() -> None:
    made = planned_for_socket("ExecStartPost=/bin/x")
    assert (made.handed, made.descriptors, made.placed) == ({}, (), 0)
