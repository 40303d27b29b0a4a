"""Runs processes and tells what each of them took: shared by all modes of `compare.py`."""

import contextlib
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

MIB = 1 << 20
# What the names of our own engines begin with.
OWN = "sendlift"

Command = Sequence[str | Path]
P, R = ParamSpec("P"), TypeVar("R")


@dataclass(frozen=True)
class Measured:
    """What one process printed and took: wall and processor time in seconds, the greatest resident set in bytes."""

    output: str
    wall: float
    cpu: float
    memory: int


class ProcessFailed(Exception):
    """A measured process ended with another status than 0."""


def measure(command: Command, scratch: Path) -> Measured:
    """Runs a command in a scratch folder, where it also spills what does not fit into memory.

    The folder keeps the binary from reading a `sendlift.toml` that happens to be here; `SENDLIFT_…` variables are left out
    for the same reason. This process imports no engine: before its start a child counts the memory of its parent as its own.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SENDLIFT_")}
    environment["TMPDIR"] = str(scratch)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, cwd=scratch, env=environment
        )
        try:
            # wait4 tells the resources of this one child, where getrusage(RUSAGE_CHILDREN) tells the most of all so far.
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            reason = errors.read().decode(errors="replace").strip()
            words = " ".join(str(word) for word in command[:3])
            raise ProcessFailed(f"{words} … failed with status {process.returncode}: {reason}")
        output.seek(0)
        # Linux counts kibibytes, macOS bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        return Measured(output.read().decode(), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit)


def apart(function: Callable[P, R], *arguments: P.args, **named: P.kwargs) -> R:
    """Calls a function in a process of its own, so that what it imports is not counted as memory of the next one measured."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments, named)


@contextlib.contextmanager
def scratch_folder(parent: Path | None) -> Iterator[Path]:
    """A new folder that is removed at the end, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="sendlift-compare-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()


def generate(binary: Path, folder: Path, messages: int, file_format: str, scratch: Path) -> None:
    """Has sendlift write logs of so many messages."""
    say(f"generating logs of {messages:,} messages as {file_format}")
    measure([binary, "generate", "--out", folder, "--messages", str(messages), "--format", file_format], scratch)


def read_through(files: Sequence[Path]) -> int:
    """Brings files into the page cache, so that the first engine does not pay for the disk alone; returns their bytes."""
    total = 0
    for path in files:
        with open(path, "rb") as file:
            while block := file.read(1 << 22):
                total += len(block)
    return total


def sendlift_version(binary: Path) -> str:
    """The binary's version, without its name."""
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.split()[-1]


def usable_cpus() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_cpus(threads: int) -> None:
    """Keeps this process and its children to so many CPUs, which binds an engine whatever its own settings."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[:threads])


def describe_machine(threads: int) -> str:
    """Processors and memory in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores of which {threads} used, "
        f"{memory / 2**30:.0f} GiB of memory, Python {platform.python_version()}"
    )


@dataclass(frozen=True)
class Timing:
    """One run of one engine as the tables show it.

    `task` is the time that ratios are of: it leaves out what has nothing to do with the task, the start of Python above all.
    """

    engine: str
    version: str
    task: float
    wall: float
    cpu: float
    memory: int

    @property
    def is_own(self) -> bool:
        """Whether this is sendlift and not a peer."""
        return self.engine.startswith(OWN)


def median_of(runs: Sequence[Timing], what: str) -> float:
    """The median of one column over the runs of one engine."""
    return statistics.median(getattr(run, what) for run in runs)


def table(results: Mapping[str, Sequence[Timing]], task: str, more: dict[str, dict[str, str]] | None = None) -> str:
    """The Markdown table: medians, and ratios to the best peer. `task` names the timed task; `more` has further columns."""
    more = more or {}
    peers = [runs for runs in results.values() if not runs[0].is_own]
    best_time = min(median_of(runs, "task") for runs in peers)
    best_memory = min(median_of(runs, "memory") for runs in peers)
    columns = ["engine", "version", f"{task}, s", "spread, s", "process, s", "processor, s", "peak memory, MiB"]
    columns += [*more, "time to best peer", "memory to best peer"]
    lines = ["| " + " | ".join(columns) + " |", "| --- | --- |" + " ---: |" * (len(columns) - 2)]
    for name, runs in results.items():
        seconds, memory = median_of(runs, "task"), median_of(runs, "memory")
        cells = [
            name,
            runs[0].version,
            f"{seconds:.2f}",
            f"{min(run.task for run in runs):.2f}–{max(run.task for run in runs):.2f}",
            f"{median_of(runs, 'wall'):.2f}",
            f"{median_of(runs, 'cpu'):.2f}",
            f"{memory / MIB:,.0f}",
            *(column[name] for column in more.values()),
            f"{seconds / best_time:.2f}",
            f"{memory / best_memory:.2f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def say(text: str) -> None:
    """Progress, which goes to standard error."""
    print(text, file=sys.stderr, flush=True)
