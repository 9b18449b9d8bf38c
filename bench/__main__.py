"""`python -m bench [--quick] [NAMES...]`: run the measures and print one table."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles

from bench import measure
from bench.loading import loading
from bench.measure import FULL, QUICK, Block, Effort, Lab
from bench.peers import PEERS, build, find

MEASURES = {**measure.MEASURES, "loading": loading}
HEADINGS = ("measure", "who", "median", "middle half", "n", "ratio", "goal")


def arguments() -> argparse.Namespace:
    measures = "\n".join(f"  {name:8} {(run.__doc__ or '').splitlines()[0]}" for name, run in MEASURES.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Compare sockact with its peers in one run.",
        epilog=f"measures (all of them unless named):\n{measures}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer samples: less than a minute")
    parser.add_argument("names", metavar="NAME", nargs="*", type=measure_name, help="a measure to run")
    return parser.parse_args()


def measure_name(word: str) -> str:
    """A `type=` and not `choices=`, which refuses the empty list."""
    if word not in MEASURES:
        raise argparse.ArgumentTypeError(f"no measure is called {word!r}; there are {', '.join(MEASURES)}")
    return word


def number(value: float) -> str:
    """Three significant digits or all of those before the point."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def spread(samples: Sequence[float]) -> str:
    """Where the middle half of the samples is: how far the median can be trusted."""
    if len(samples) < 3:
        return ""
    low, _, high = quantiles(samples, n=4, method="inclusive")
    return f"{number(low)} to {number(high)}"


def ratio(block: Block, name: str) -> str:
    """The median beside that of the block's reference, where there is one that is not zero."""
    reference = median(block.samples.get(block.reference, [0.0]))
    if not reference:
        return ""
    return "= 1" if name == block.reference else f"{median(block.samples[name]) / reference:.2f}"


def rows(block: Block) -> Iterator[Sequence[str]]:
    """One block as rows of the table; title once, goal beside sockact."""
    title = f"{block.title} ({block.unit})" if block.unit else block.title
    for name, samples in block.samples.items():
        goal = block.goal if name.startswith("sockact") else ""
        yield title, name, number(median(samples)), spread(samples), str(len(samples)), ratio(block, name), goal
        title = ""
    for name, failure in block.failures.items():
        yield title, name, "FAILED", failure, "", "", ""
        title = ""


def table(lines: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the reason for a failure is left out of that."""
    sound = [line for line in lines if line[2] != "FAILED"]
    widths = [max(len(line[column]) for line in sound) for column in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def machine() -> str:
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"{os.cpu_count()} processors, load {load}, Linux {platform.release()}, Python {platform.python_version()}"


def absent() -> dict[str, str]:
    """The peers that cannot take part, and why."""
    return {peer.name: f"no {peer.program} found ({peer.provided_by})" for peer in PEERS if not find(peer.program)}


def run(names: Sequence[str], effort: Effort) -> list[Block]:
    """Run the measures in the order asked for, telling on stderr what takes the time."""
    blocks: list[Block] = []
    with tempfile.TemporaryDirectory(prefix="sockact-bench-") as folder:
        service, load = (build(name, Path(folder)) for name in ("service", "load"))
        lab = Lab(tuple(peer for peer in PEERS if find(peer.program)), service, load, effort)
        for name in names:
            began = time.monotonic()
            blocks += MEASURES[name](lab)
            print(f"bench: {name} took {time.monotonic() - began:.1f} s", file=sys.stderr)
    return blocks


def main() -> None:
    asked = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))  # an exception, so that every `finally` runs
    print(machine())
    for name, reason in absent().items():
        print(f"skipped: {name}: {reason}")
    try:
        blocks = run(asked.names or list(MEASURES), QUICK if asked.quick else FULL)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: the C programs cannot be compiled: {error}")
    print(table([HEADINGS, *(row for block in blocks for row in rows(block))]))
    print("ratio: to the row marked = 1")
    print(f"afterwards: {machine()}")


if __name__ == "__main__":
    main()
