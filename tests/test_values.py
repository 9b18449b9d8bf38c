"""Value types: booleans, numbers, times, sizes, modes, words, names."""

from __future__ import annotations

from math import inf, isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockact.unit import values
from sockact.unit.diagnostics import Invalid
from sockact.unit.values import RESET
from tests.fakes import read, refused

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


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("0x10", 16), ("9223372036854775807", (1 << 63) - 1)])
def test_a_count_begins_with_one(text: str, count: int) -> None:
    assert read(values.COUNT, text) == count
    for wrong in ("0", "-1", "", "9223372036854775808"):
        refused(values.COUNT, wrong)


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("0x10", 16), ("0", 0), ("-1", RESET), ("-2147483648", RESET), ("2147483647", 2147483647)],
)
def test_a_negative_setting_leaves_it_to_the_kernel(text: str, value: object) -> None:
    assert read(values.UNSET_OR_INTEGER, text) == value


@pytest.mark.parametrize("text", ["", "x", "2147483648", "-2147483649", "1.5"])
def test_what_is_no_integer_is_no_setting(text: str) -> None:
    refused(values.UNSET_OR_INTEGER, text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("low-delay", 16), ("throughput", 8), ("reliability", 4), ("low-cost", 2), ("0", 0), ("255", 255), ("0x1c", 28)),
        ("", RESET),
    ],
)
def test_a_type_of_service_has_a_name_or_a_number(text: str, value: object) -> None:
    assert read(values.TYPE_OF_SERVICE, text) == value


@pytest.mark.parametrize("text", ["256", "-1", "fast", "LOW-DELAY", "low delay"])
def test_what_does_not_fit_into_the_header_is_no_type_of_service(text: str) -> None:
    refused(values.TYPE_OF_SERVICE, text)


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


@pytest.mark.parametrize(("text", "name"), [("eth0", "eth0"), ("%p0", "web0"), ("x" * 15, "x" * 15), ("*", RESET), ("", RESET)])
def test_an_interface_has_a_name_and_a_star_is_any(text: str, name: object) -> None:
    assert read(values.INTERFACE, text) == name


@pytest.mark.parametrize("text", ["x" * 16, "a/b", "a:b", "a b", "42", ".", "..", "%Z"])
def test_what_names_no_interface_is_refused(text: str) -> None:
    refused(values.INTERFACE, text)


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
