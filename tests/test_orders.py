"""What `--forward` of `sockact start` may say."""

from __future__ import annotations

import signal

import pytest

from sockact.net import linux
from sockact.runtime.orders import Forward, read_forwards

USR1, HUP, WINCH = (int(getattr(signal, f"SIG{name}")) for name in ("USR1", "HUP", "WINCH"))


@pytest.mark.parametrize(
    ("text", "forward"),
    [
        ("USR1", Forward(USR1, USR1)),
        ("SIGUSR1", Forward(USR1, USR1)),
        ("10", Forward(10, 10)),
        ("WINCH=HUP", Forward(WINCH, HUP)),
        ("HUP", Forward(HUP, HUP)),
        ("INT=TERM", Forward(int(signal.SIGINT), int(signal.SIGTERM))),
        ("web.service:USR1", Forward(USR1, USR1, "web.service")),
        ("web@a:b.service:USR1=HUP", Forward(USR1, HUP, "web@a:b.service")),
        ("RTMIN+1", Forward(linux.RTMIN + 1, linux.RTMIN + 1)),
    ],
)
def test_a_signal_is_forwarded_as_itself_or_as_another_to_all_or_to_one(text: str, forward: Forward) -> None:
    assert read_forwards((text,)) == (forward,)


def test_each_option_adds_to_those_before() -> None:
    assert read_forwards(()) == ()
    assert read_forwards(("USR1", "a.service:HUP")) == (Forward(USR1, USR1), Forward(HUP, HUP, "a.service"))


@pytest.mark.parametrize("unit", ["", "web.service"])
def test_all_is_every_signal_that_sockact_has_no_use_for(unit: str) -> None:
    found = read_forwards((f"{unit}:all" if unit else "all",))
    assert {forward.unit for forward in found} == {unit}
    assert all(forward.signal == forward.sent for forward in found)
    numbers = {forward.signal for forward in found}
    names = ("KILL", "STOP", "CHLD", "TERM", "INT", "QUIT", "HUP", "SEGV", "ABRT", "BUS", "FPE", "ILL", "SYS", "TRAP")
    assert numbers.isdisjoint(int(getattr(signal, f"SIG{name}")) for name in names)
    assert numbers >= {USR1, WINCH, int(signal.SIGUSR2), linux.RTMIN, linux.RTMAX}


@pytest.mark.parametrize("text", ["", "USR3", "USR1=", "=USR1", "USR1=X", "0", "web.service:", "web.service", "65"])
def test_what_is_no_signal_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a signal; write for example USR1"):
        read_forwards((text,))


@pytest.mark.parametrize("name", ["KILL", "STOP", "CHLD", "TERM", "SEGV", "ABRT"])
def test_what_is_for_the_supervisor_or_for_nobody_cannot_be_forwarded(name: str) -> None:
    with pytest.raises(ValueError, match=f"SIG{name} cannot be forwarded"):
        read_forwards((f"{name}=USR1",))
