"""The sample units in `units/` are what people read first: they are free of findings, and they work."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import PATIENCE, free_port, started

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "units"
SOCKETS = sorted(UNITS.glob("*.socket"))


@pytest.mark.parametrize("unit", SOCKETS, ids=lambda unit: unit.name)
def test_a_sample_unit_has_no_findings_at_all(unit: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sockact", "verify", "--strict", str(unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def moved(unit: Path, old: str, folder: Path) -> tuple[Path, int]:
    """A copy of the samples in which the socket listens on a port that is free."""
    port = free_port()
    for file in UNITS.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    copy = folder / unit.name
    assert old in copy.read_text()
    copy.write_text(copy.read_text().replace(f":{old}", f":{port}"))
    return copy, port


def test_the_greeting_is_served_on_demand_and_its_service_reports_ready(tmp_path: Path) -> None:
    unit, port = moved(UNITS / "hello.socket", "8080", tmp_path)
    with started(unit) as supervisor:
        assert not any("started, pid" in line for line in supervisor.log)
        for _ in range(2):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            connection.request("GET", "/")
            assert connection.getresponse().read().startswith(b"Hello over TCP from process ")
            connection.close()
        supervisor.wait_log("hello.service: ready")
        assert sum("started, pid" in line for line in supervisor.log) == 1


def test_the_echo_answers_on_both_addresses_with_a_process_each(tmp_path: Path) -> None:
    unit, port = moved(UNITS / "echo.socket", "8007", tmp_path)
    with started(unit) as supervisor:
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), timeout=PATIENCE) as connection:
                connection.sendall(b"ho\n")
                assert connection.recv(16) == b"ho\n"
        supervisor.wait_log("started, pid", count=2)
