"""SCTP and vsock, for real: in a guest where this machine's kernel lacks them, and what sockact says where SCTP is missing."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guest import checking, guest
from tests.guest.sctp_checks import CHECKS, SERVICE, lacking
from tests.guest.service import IPPROTO_SCTP
from tests.lab import PATIENCE, free_port, write_units

MODULE = "tests.guest.sctp_checks"
MODULES = ("sctp", "vsock", "vsock_loopback")
LIMIT = 600.0
"""Seconds for all checks together; emulated on an idle machine they take ten, on a crowded one a minute."""


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str | None]:
    """What failed, by the name of the check; of one run of all of them."""
    done = run_here() if lacking() is None else run_in_guest()
    assert done.returncode == 0, done.stdout + done.stderr
    return checking.outcomes(done.stdout)


def run_here() -> subprocess.CompletedProcess[str]:
    return subprocess.run(checking.command(sys.executable, MODULE), check=False, capture_output=True, text=True, timeout=LIMIT)


def run_in_guest() -> subprocess.CompletedProcess[str]:
    if reason := guest.unavailable():
        pytest.skip(f"{lacking()}, and there is no guest: {reason}")
    # The distribution's Python: a shim of a version manager costs seconds under emulation.
    return guest.run(checking.command("/usr/bin/python3", MODULE), MODULES, LIMIT)


@pytest.mark.parametrize("sentence", CHECKS)
def test_with_sctp_in_the_kernel(sentence: str, outcomes: dict[str, str | None]) -> None:
    if failure := outcomes[sentence]:
        pytest.fail(failure, pytrace=False)


def test_without_sctp_in_the_kernel_start_fails_and_names_unit_address_and_errno(tmp_path: Path) -> None:
    if kernel_has_sctp():
        pytest.skip("this kernel has SCTP")
    address = f"127.0.0.1:{free_port()}"
    files = {"lost.socket": f"[Socket]\nSocketProtocol=sctp\nListenStream={address}\n", "lost.service": SERVICE}
    command = [sys.executable, "-m", "sockact", "start", str(write_units(tmp_path, files)[0])]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1, done.stderr
    assert [part for part in ("lost.socket", address, "EPROTONOSUPPORT") if part not in done.stderr] == [], done.stderr


def kernel_has_sctp() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP).close()
    except OSError:
        return False
    return True
