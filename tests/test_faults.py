"""What fails in the kernel (`tests.faults`): no call that fails brings sockact down, nothing is left behind, and it is said."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import faults, lab
from tests.faults import SETS, Outcome

SAYS = ("warning", "error")
REMOVES = ("unlink", "remove")
SILENT = ("peer",)
"""Calls that fail because the client has gone: nobody has to know."""


@pytest.fixture(scope="module")
def runs() -> dict[tuple[str, str], Future[list[Outcome]]]:
    """The runs of each kind and set; they go on while the first ones are looked at."""
    pool = ThreadPoolExecutor(os.cpu_count())
    return {(kind, name): pool.submit(outcomes, kind, name) for kind in faults.RUNS for name in SETS}


def outcomes(kind: str, name: str) -> list[Outcome]:
    done = subprocess.run([sys.executable, "-m", "tests.faults", kind, name], stdout=subprocess.PIPE, check=True, text=True)
    return [Outcome(**json.loads(line)) for line in done.stdout.splitlines()]


Runs = dict[tuple[str, str], "Future[list[Outcome]]"]
EACH_SET = pytest.mark.parametrize("name", SETS)


@EACH_SET
def test_when_nothing_fails_the_client_is_answered_and_nothing_is_left(name: str, runs: Runs) -> None:
    usual = runs["single", name].result()[0]
    assert (usual.served, usual.status, usual.left, usual.crash, usual.failed) == (True, 0, [], "", 0), usual


@EACH_SET
def test_no_call_that_fails_is_the_end(name: str, runs: Runs) -> None:
    """It is no crash, and no bug of ours either; who does not come up says so by the exit status."""
    for run in runs["single", name].result():
        assert not run.crash, run
        assert not [line for line in run.log if "internal error" in line], run
        ready = any(": ready: " in line for line in run.log)
        assert run.status == (0 if ready else 1) or (ready and run.status and not run.served), run


@EACH_SET
def test_whatever_fails_no_descriptor_node_or_process_is_left(name: str, runs: Runs) -> None:
    for run in runs["single", name].result():
        if run.call in REMOVES:
            assert all(left.startswith("node") for left in run.left), run
            assert not run.left or any("cannot remove" in line for line in run.log), run
        else:
            assert run.left == [], run


@EACH_SET
def test_what_fails_is_said(name: str, runs: Runs) -> None:
    """Unless the client is answered nevertheless."""
    for run in runs["single", name].result():
        assert run.failed == 0 or run.served or run.call in SILENT or says(run), run


def says(run: Outcome) -> bool:
    return any(line.startswith(SAYS) for line in run.log)


@EACH_SET
def test_what_is_used_up_for_a_while_is_waited_for(name: str, runs: Runs) -> None:
    for run in runs["lasting", name].result():
        assert (run.served, run.status, run.left, run.crash) == (True, 0, [], ""), run
        assert run.failed == 0 or says(run), run


@pytest.mark.parametrize("most", range(5, 13))
def test_with_few_descriptors_it_starts_or_says_why_not(most: int, tmp_path: Path) -> None:
    units = lab.write_units(
        tmp_path,
        {
            "a.socket": f"[Socket]\nListenStream={tmp_path}/a\nListenFIFO={tmp_path}/f\n",
            "a.service": "[Service]\nType=notify\nExecStart=/bin/true\n",
            "b.socket": f"[Socket]\nListenStream={tmp_path}/b\nAccept=yes\n",
            "b@.service": "[Service]\nExecStart=/bin/cat\nStandardInput=socket\n",
        },
    )
    words = [*lab.in_shell(f"ulimit -n {most}"), *lab.command(units[0], units[2])]
    supervisor = lab.Supervisor(words)
    try:
        lab.eventually(lambda: supervisor.process.poll() is not None or any(": ready: " in line for line in supervisor.log), "")
        status = supervisor.end()
    finally:
        supervisor.destroy()
    ready = any(": ready: " in line for line in supervisor.log)
    assert status == (0 if ready else 1), supervisor.log
    assert ready or os.strerror(errno.EMFILE) in "".join(supervisor.log)
    assert "Traceback" not in "".join(supervisor.log)
