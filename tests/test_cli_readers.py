"""The two readers of `sockact start`: the plain one, for speed, and click, for everything else. They must never disagree."""

from __future__ import annotations

from typing import Any

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sockact.cli import commands, options


def by_click(arguments: list[str]) -> dict[str, Any] | None:
    """What click makes of the arguments of `start`; None when it rejects them or does something else than starting."""
    try:
        with commands.cli.commands["start"].make_context("start", list(arguments)) as context:
            return dict(context.params)
    except (click.UsageError, click.exceptions.Exit):
        return None


def as_parameters(plain: options.Start) -> dict[str, Any]:
    return dict(zip(plain.fields, plain.values(), strict=True))


WORDS = st.one_of(
    st.sampled_from(
        [
            *options.FIELDS,
            "--exit=first",
            "--exit=",
            "--forward=USR1",
            "--forward=all",
            "--exit",
            "--forward",
            "web.socket",
            "./a.service",
            "",
            "-",
            "--",
            "-h",
            "--help",
            "--version",
            "-vq",
            "-qv",
            "-vx",
        ]
    ),
    st.sampled_from(["--now=1", "--no", "--clean", "--verbos", "-x", "--no-now", "+v", "a=b", "-v=1", "--", "start"]),
    st.text(alphabet="-=vqnow.@/ ", max_size=6),
    st.text(max_size=4),
)


@given(st.lists(WORDS, max_size=6))
@example(["--", "web.socket"])
@example(["web.socket", "--", "--now"])
@example(["--now", "--now", "web.socket", "-v", "other.socket"])
@example(["-"])
@example([""])
def test_what_the_plain_reader_reads_click_reads_the_same_and_it_reads_nothing_that_click_rejects(arguments: list[str]) -> None:
    """The plain reader leaves to click what it cannot read; it never decides otherwise."""
    plain = options.read_plain(["start", *arguments])
    assert plain is None or as_parameters(plain) == by_click(arguments)


@given(st.lists(st.sampled_from([*options.FIELDS, "--exit=first", "--forward=USR1", "web.socket", "./a.service"]), max_size=6))
def test_the_plain_reader_reads_every_line_of_spelled_out_options_and_units(arguments: list[str]) -> None:
    """Else `start` would be slow without anybody noticing."""
    assert (options.read_plain(["start", *arguments]) is None) == (by_click(arguments) is None)


@pytest.mark.parametrize("arguments", [[], ["verify", "web.socket"], ["show", "web.socket"], ["--now", "start", "web.socket"]])
def test_the_plain_reader_reads_start_only(arguments: list[str]) -> None:
    assert options.read_plain(arguments) is None


def test_the_flags_of_start_are_the_fields_that_its_request_has() -> None:
    assert [flag.field for flag in options.START_FLAGS] == [field for field in options.Start.fields if field != "units"]
