"""Value types: booleans, numbers, times, sizes, modes, names, commands, environments, streams."""

from __future__ import annotations

from math import inf, isclose
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.net import protocols
from sockact.unit import values
from sockact.unit.diagnostics import Invalid
from sockact.unit.directives.service import INPUTS, OUTPUTS
from sockact.unit.values import RESET, Kind, MaybePath, Stream
from tests.fakes import context


def read(kind: Kind, text: str) -> Any:
    return kind.read(text, context())


def refused(kind: Kind, text: str) -> Invalid:
    found = read(kind, text)
    assert isinstance(found, Invalid), found
    assert found.message
    return found


# Booleans


@pytest.mark.parametrize("text", ["1", "yes", "y", "true", "t", "on", "YES", "True", "oN"])
def test_these_words_are_true(text: str) -> None:
    assert read(values.BOOLEAN, text) is True


@pytest.mark.parametrize("text", ["0", "no", "n", "false", "f", "off", "NO", "False", "oFF"])
def test_these_words_are_false(text: str) -> None:
    assert read(values.BOOLEAN, text) is False


@pytest.mark.parametrize("text", ["", "2", "yes ", "ja", "enable", "-1", "01"])
def test_no_other_word_is_a_boolean(text: str) -> None:
    refused(values.BOOLEAN, text)


# Integers in C radix


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("0", 0), ("00", 0), ("7", 7), ("010", 8), ("0o17", 15), ("0O17", 15), ("0x1f", 31), ("0XfF", 255), ("0b101", 5)),
        *(("0B1", 1), ("+5", 5), ("+0x10", 16), ("4294967295", 0xFFFFFFFF), ("0xffffffff", 0xFFFFFFFF), ("-0", 0)),
    ],
)
def test_an_unsigned_number_is_read_in_the_radix_of_c(text: str, number: int) -> None:
    assert read(values.UNSIGNED, text) == number


@pytest.mark.parametrize(
    "text",
    [
        *("", "-1", "4294967296", "0x", "0b2", "08", "0o8", "1_000", "1 000", " 1", "1.0", "1e3", "--1", "+-1", "0xg", "x10"),
        *("\u0661", "\u00b2", "9" * 5000, "0x" + "f" * 99, "10K", "+", "-", "0-1"),
    ],
)
def test_what_c_does_not_read_as_an_unsigned_number_is_refused(text: str) -> None:
    refused(values.UNSIGNED, text)


@pytest.mark.parametrize("text", ["0o0o17", "0x0x10", "0b0b1", "0O0o7", "-0x0x1"])
def test_a_radix_is_named_once(text: str) -> None:
    refused(values.UNSIGNED, text)


def test_an_integer_has_a_sign_and_thirty_two_bits() -> None:
    assert read(values.INTEGER, "-0x80000000") == -(1 << 31)
    assert read(values.INTEGER, "2147483647") == (1 << 31) - 1
    refused(values.INTEGER, "2147483648")
    refused(values.INTEGER, "-2147483649")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 0xFFFFFFFF), st.sampled_from(["{}", "{:#x}", "{:#o}", "{:#b}", "0{:o}", "+{}"]))
def test_every_number_is_read_back_in_every_radix(number: int, form: str) -> None:
    assert read(values.UNSIGNED, form.format(number)) == number


# Time spans


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("0", 0), ("5", 5), ("5s", 5), ("5 s", 5), ("5sec", 5), ("5second", 5), ("5seconds", 5), ("1.5", 1.5), ("1.5h", 5400)),
        *(("500ms", 0.5), ("500msec", 0.5), ("250us", 0.00025), ("250usec", 0.00025), ("1µs", 1e-6), ("1μs", 1e-6)),
        *(("2m", 120), ("2min", 120), ("2minutes", 120), ("1h", 3600), ("1hr", 3600), ("1hours", 3600), ("1d", 86400)),
        *(("1day", 86400), ("1w", 604800), ("1weeks", 604800), ("1M", 2629800), ("1month", 2629800), ("1y", 31557600)),
        *(("1min 30s", 90), ("1min30s", 90), ("2h 5min 10s", 7510), ("55s500ms", 55.5), ("300ms20s 5day", 432020.3)),
        *(("infinity", inf), (" infinity ", inf), ("  7  ", 7), (".5s", 0.5), ("1.s", 1), ("1 2", 3)),
    ],
)
def test_time_spans_add_up(text: str, seconds: float) -> None:
    found = values.seconds(text)
    assert not isinstance(found, Invalid)
    assert found == seconds or isclose(found, seconds, rel_tol=1e-9)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "x",
        "s",
        "5x",
        "5 sx",
        "-5",
        "+5",
        "1..5",
        ".",
        "1.2.3",
        "5S",
        "5MIN",
        "infinity s",
        "1e3",
        "inf",
        "nan",
        "٥s",
        "9" * 30,
    ],
)
def test_what_is_no_time_span_is_refused(text: str) -> None:
    assert isinstance(values.seconds(text), Invalid)


def test_the_part_of_a_time_span_that_cannot_be_read_is_pointed_at() -> None:
    assert refused(values.SECONDS, "1min 30q").start == 5


def test_zero_is_no_limit_for_a_timeout_and_off_for_an_interval() -> None:
    assert read(values.TIMEOUT, "0") == inf
    assert read(values.TIMEOUT, "infinity") == inf
    assert read(values.TIMEOUT, "5") == 5
    assert read(values.INTERVAL, "0") == 0
    assert read(values.INTERVAL, "infinity") is RESET
    assert read(values.SECONDS, "infinity") == inf


def test_the_largest_burst_means_the_default() -> None:
    assert read(values.BURST, "4294967295") is RESET
    assert read(values.BURST, "4294967294") == 4294967294
    assert read(values.BURST, "0") == 0


def test_time_spans_are_shown_in_seconds() -> None:
    assert values.SECONDS.show(90.0) == 90
    assert isinstance(values.SECONDS.show(90.0), int)
    assert values.SECONDS.show(0.5) == 0.5
    assert values.SECONDS.show(inf) == "infinity"


# Sizes and modes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(
            ("0", 0),
            ("512", 512),
            ("1K", 1024),
            ("8M", 8 << 20),
            ("1G", 1 << 30),
            ("1T", 1 << 40),
            ("1P", 1 << 50),
            ("1E", 1 << 60),
        ),
        *(("1.5K", 1536), ("0.5M", 1 << 19), ("8 M", 8 << 20)),
    ],
)
def test_sizes_count_in_powers_of_1024(text: str, size: int) -> None:
    assert read(values.SIZE, text) == size


@pytest.mark.parametrize("text", ["", "K", "8MB", "8m", "8Mi", "8k", "-1", "1.5", "1..5K", "0x10", "8E", "1 2", "K8", "٣K"])
def test_what_is_no_size_is_refused(text: str) -> None:
    refused(values.SIZE, text)


@pytest.mark.parametrize(("text", "mode"), [("0666", 0o666), ("666", 0o666), ("0", 0), ("7777", 0o7777), ("00000644", 0o644)])
def test_modes_are_octal(text: str, mode: int) -> None:
    assert read(values.MODE, text) == mode


@pytest.mark.parametrize("text", ["", "8", "0o666", "0x1", "10000", "-1", "+7", "rw", "u=rw", "٧"])
def test_what_is_no_mode_is_refused(text: str) -> None:
    refused(values.MODE, text)


def test_modes_are_shown_with_four_digits() -> None:
    assert values.MODE.show(0o66) == "0066"
    assert values.MODE.show(0o4755) == "4755"


# Names


def test_an_empty_name_is_a_reset() -> None:
    for kind in (values.FD_NAME, values.ACCOUNT, values.TEXT):
        assert read(kind, "") is RESET


def test_names_of_descriptors_are_printable_ascii_without_colons() -> None:
    assert read(values.FD_NAME, "http server") == "http server"
    assert read(values.FD_NAME, "%p") == "web"
    assert read(values.FD_NAME, "x" * 255) == "x" * 255
    for text in ("a:b", "é", "a\tb", "x" * 256, "%n:"):
        refused(values.FD_NAME, text)


@pytest.mark.parametrize("text", ["nobody", "www-data", "_apt", "0", "4294967294", "user.name", "%u", "sys$"])
def test_accounts_are_names_or_ids(text: str) -> None:
    assert isinstance(read(values.ACCOUNT, text), str)


@pytest.mark.parametrize("text", ["a:b", "a/b", "65535", "4294967295", "4294967296", ".", "..", "-x", "+x", "x" * 256, "a\tb"])
def test_what_can_be_no_account_is_refused(text: str) -> None:
    refused(values.ACCOUNT, text)


@pytest.mark.parametrize("text", ["a.service", "a@1.service", "%p.service", "a-b_c:d.e.service", r"a\x2d.service"])
def test_a_service_is_a_plain_unit_or_an_instance(text: str) -> None:
    assert str(read(values.SERVICE, text)).endswith(".service")


@pytest.mark.parametrize(
    "text", ["a", ".service", "a@.service", "@1.service", "a.socket", "a b.service", "x" * 250 + ".service", "/a.service"]
)
def test_what_names_no_service_to_start_is_refused(text: str) -> None:
    refused(values.SERVICE, text)


def test_socket_units_are_listed_and_each_must_be_one() -> None:
    assert read(values.SOCKET_UNITS, "a.socket  b@1.socket") == ("a.socket", "b@1.socket")
    refused(values.SOCKET_UNITS, "a.socket b.service")


@pytest.mark.parametrize(("text", "number"), [("SIGTERM", 15), ("TERM", 15), ("9", 9), ("SIGHUP", 1), ("USR2", 12), ("64", 64)])
def test_signals_have_names_and_numbers(text: str, number: int) -> None:
    assert read(values.SIGNAL, text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "SIGNO", "sigterm", "SIG", "-9", "9999"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    refused(values.SIGNAL, text)


def test_signals_are_shown_by_name() -> None:
    assert values.SIGNAL.show(2) == "SIGINT"


def test_a_choice_takes_its_words_and_tells_why_others_are_not_applied() -> None:
    kind = values.choice({"a": 1, "b": 2}, {"c": "it is gone"})
    assert read(kind, "b") == 2
    assert "it is gone" in refused(kind, "c").message
    assert "a, b" in refused(kind, "d").message
    refused(kind, "A")
    refused(kind, "")


# Protocols (which of them fit where is told by test_protocols)


@pytest.mark.parametrize("text", ["mptcp", "MPTCP", "mPtCp", "262", "0x106", "0406"])
def test_a_protocol_has_a_name_in_any_case_and_a_number_in_any_radix(text: str) -> None:
    assert read(values.PROTOCOL, text) == protocols.by_name("mptcp")


@pytest.mark.parametrize(
    ("text", "name"),
    [("tcp", "tcp"), ("6", "tcp"), ("ScTp", "sctp"), ("132", "sctp"), ("UDPLITE", "udplite"), ("136", "udplite")],
)
def test_each_protocol_of_the_reference_and_tcp_are_known(text: str, name: str) -> None:
    assert read(values.PROTOCOL, text).name == name


@pytest.mark.parametrize("text", ["quic", "mptcp,sctp", "mptcp sctp", "-1", "0", "ip", "dccp", "unix", "vsock", "262.0", "99999"])
def test_an_unknown_protocol_is_refused_and_the_known_ones_are_named(text: str) -> None:
    assert "mptcp" in refused(values.PROTOCOL, text).hint


def test_an_empty_protocol_is_a_reset() -> None:
    assert read(values.PROTOCOL, "") is RESET


# Commands


def command(text: str) -> values.Command:
    (found,) = read(values.COMMANDS, text)
    assert isinstance(found, values.Command)
    return found


def test_a_command_is_a_program_and_its_arguments() -> None:
    found = command("""/bin/sh -c 'echo "$A"' x\\x41""")
    assert (found.program, found.argv0) == ("/bin/sh", "/bin/sh")
    assert found.arguments == ("-c", 'echo "$A"', "xA")
    assert found.prefixes == ""


@pytest.mark.parametrize("prefixes", ["-", ":", "+", "!", "!!", "-:", ":-+", "-!!"])
def test_prefixes_stand_before_the_program_in_any_order(prefixes: str) -> None:
    found = command(f"{prefixes}/bin/x y")
    assert (found.program, found.argv0, found.prefixes, found.arguments) == ("/bin/x", "/bin/x", prefixes, ("y",))


def test_an_at_sign_makes_the_next_word_argv_0() -> None:
    found = command("-@/bin/busybox httpd -i")
    assert (found.program, found.argv0, found.arguments, found.prefixes) == ("/bin/busybox", "httpd", ("-i",), "-@")


def test_a_program_without_a_slash_is_left_to_path() -> None:
    assert command("python3 -V").program == "python3"


def test_a_semicolon_of_its_own_divides_commands_and_an_escaped_or_quoted_one_does_not() -> None:
    found = read(values.COMMANDS, r"/bin/a x ; -/bin/b \; y ';' z;w ;")
    assert [(c.program, c.arguments) for c in found] == [("/bin/a", ("x",)), ("/bin/b", (";", "y", ";", "z;w"))]


def test_specifiers_are_expanded_in_every_word_after_the_words_are_divided() -> None:
    found = values.COMMANDS.read("/bin/%p '%n x' 100%%", context("a@b c.service"))
    assert (found[0].program, found[0].arguments) == ("/bin/a", ("a@b c.service x", "100%"))


def test_a_command_shows_what_was_written_and_knows_where() -> None:
    found = read(values.COMMANDS, "-/bin/a 'x y' ; /bin/b")
    assert [(c.source, c.start) for c in found] == [("-/bin/a 'x y'", 0), ("/bin/b", 16)]
    assert values.COMMANDS.show(found) == ["-/bin/a 'x y'", "/bin/b"]


def test_an_empty_command_line_is_a_reset() -> None:
    assert read(values.COMMANDS, "") is RESET


def test_a_semicolon_alone_adds_no_command_and_forgets_none() -> None:
    assert read(values.COMMANDS, ";") == ()


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("bin/x", 0, 5),
        ("./x", 0, 3),
        ("-bin/x y", 0, 6),
        ("@/bin/x", 0, 7),
        ("-", 0, 1),
        ("/bin/", 0, 5),
        ("/bin/a ; b/c", 9, 12),
        ("/bin/a 'x", 7, 8),
        ("/bin/a %Z", 7, 9),
        ("/bin/a ; @/bin/b ; c", 9, 16),
        ('""', 0, 2),
    ],
)
def test_a_broken_command_is_pointed_at(text: str, start: int, end: int) -> None:
    invalid = refused(values.COMMANDS, text)
    assert (invalid.start, invalid.end) == (start, end)


# Environments, files, streams


def test_an_environment_is_a_list_of_assignments_quoted_as_needed() -> None:
    found = read(values.ENVIRONMENT, """A=1 "B=two words" 'C=x=y' D= E=%p _f9="q r" """)
    assert found == (("A", "1"), ("B", "two words"), ("C", "x=y"), ("D", ""), ("E", "web"), ("_f9", "q r"))
    assert values.ENVIRONMENT.show(found)[1] == "B=two words"
    assert read(values.ENVIRONMENT, "") is RESET


@pytest.mark.parametrize(
    ("text", "word"), [("A=1 B C=3", "B"), ("A=1 1B=x C=3", "1B=x"), ("A=1 =x C=3", "=x"), ("A=1 é=x C=3", "é=x")]
)
def test_what_is_no_assignment_is_pointed_at_and_the_others_stand(text: str, word: str) -> None:
    invalid = refused(values.ENVIRONMENT, text)
    assert text[invalid.start : invalid.end] == word
    assert invalid.kept == (("A", "1"), ("C", "3"))


def test_an_environment_with_an_open_quote_says_nothing_else() -> None:
    assert refused(values.ENVIRONMENT, "A=1 'B=2").kept is None


@pytest.mark.parametrize(
    ("text", "path", "optional"),
    [("/etc/default/x", "/etc/default/x", False), ("-/etc/x", "/etc/x", True), ("%t/x y", "/run/x y", False)],
)
def test_an_environment_file_is_absolute_and_may_be_allowed_to_miss(text: str, path: str, optional: bool) -> None:
    assert read(values.ENVIRONMENT_FILE, text) == (MaybePath(path, optional),)


@pytest.mark.parametrize("text", ["etc/x", "-etc", "~", "/a/../b", '"/etc/x"'])
def test_an_environment_file_that_is_not_absolute_is_refused(text: str) -> None:
    refused(values.ENVIRONMENT_FILE, text)


def test_a_directory_is_absolute_or_the_home() -> None:
    assert read(values.DIRECTORY, "/srv") == MaybePath("/srv")
    assert read(values.DIRECTORY, "-/srv") == MaybePath("/srv", True)
    assert read(values.DIRECTORY, "~") == MaybePath("~")
    assert read(values.DIRECTORY, "") is RESET
    assert str(MaybePath("/srv", True)) == "-/srv"
    for text in ("srv", "~/x", "~root", "/a/.."):
        refused(values.DIRECTORY, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inherit", Stream("inherit")),
        ("null", Stream("null")),
        ("journal", Stream("journal")),
        ("socket", Stream("socket")),
        ("syslog", Stream("journal")),
        ("journal+console", Stream("journal")),
        ("file:/tmp/a b", Stream("file", "/tmp/a b")),
        ("append:%t/x", Stream("append", "/run/x")),
        ("truncate:/x:y", Stream("truncate", "/x:y")),
    ],
)
def test_output_streams_are_words_or_files(text: str, expected: Stream) -> None:
    assert read(OUTPUTS, text) == expected


@pytest.mark.parametrize(
    "text", ["", "printer", "file:", "file:x", "append:", "tty:/dev/tty1", "NULL", "null:/x", "file", ":/x", "fd:x"]
)
def test_no_other_output_stream_is_applied(text: str) -> None:
    refused(OUTPUTS, text)


def test_input_streams_are_null_socket_or_a_file() -> None:
    assert read(INPUTS, "socket") == Stream("socket")
    assert read(INPUTS, "file:/x") == Stream("file", "/x")
    for text in ("journal", "append:/x", "tty", "data", "inherit", ""):
        refused(INPUTS, text)


def test_streams_are_shown_as_they_are_written() -> None:
    assert OUTPUTS.show(Stream("append", "/x")) == "append:/x"
    assert OUTPUTS.show(Stream("null")) == "null"


@pytest.mark.parametrize(
    "kind", [kind for kind in vars(values).values() if isinstance(kind, Kind)] + [INPUTS, OUTPUTS, values.listen("stream")]
)
@settings(max_examples=150, deadline=None)
@given(text=st.text("0123456789abkKxX.,:/%@-+~=;'\"\\[] \té", max_size=12) | st.text(max_size=6))
def test_no_kind_of_value_ever_raises(kind: Kind, text: str) -> None:
    found = kind.read(text, context())
    if isinstance(found, Invalid):
        assert found.message
        assert found.start >= 0
    elif found is not RESET:
        kind.show(found)
