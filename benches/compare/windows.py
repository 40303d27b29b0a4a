"""Send windows from a store beside the naive table of clicks by hour that Polars and DuckDB count from the raw logs.

The two are not the same: the peers only count. sendlift's answer has contrasts within campaigns, shrinkage, intervals,
holidays and the law in it; its time is that of a whole process over facts that are there. What agrees is how many messages
went out at which hour.
"""

import json
import sys
from pathlib import Path

import window_peers
from measure import MIB, OWN, Command, Timing, generate, measure, say, sendlift_version, table

QUESTION, RECIPIENTS = f"{OWN}: windows", f"{OWN}: windows of each recipient"


def run_own(name: str, binary: Path, store: Path, scratch: Path) -> tuple[Timing, int]:
    """A question of windows; also how many messages it counted, or recipients it wrote."""
    command: Command = [binary, "--format", "json", "--store", store, "windows"]
    if name == RECIPIENTS:
        command = [*command, "recipients", "--out", scratch / "recipients.parquet"]
    found = measure(command, scratch)
    answer = json.loads(found.output)
    counted = answer["recipients"] if name == RECIPIENTS else answer["sends"] + sum(answer["left_out"].values())
    return Timing(name, sendlift_version(binary), found.wall, found.wall, found.cpu, found.memory), counted


def run_peer(engine: str, logs: Path, threads: int, scratch: Path) -> tuple[Timing, int]:
    """The naive table by a peer, and how many messages are in it."""
    command: Command = [sys.executable, window_peers.__file__, engine, logs, "--threads", str(threads)]
    found = measure(command, scratch)
    answer = json.loads(found.output.splitlines()[-1])
    name = f"{answer['version'].split()[0]}: clicks by hour"
    timing = Timing(name, answer["version"], answer["seconds"], found.wall, found.cpu, found.memory)
    return timing, sum(row[2] for row in answer["rows"])


def compare(
    binary: Path, messages: int, kept: tuple[Path, Path] | None, runs: int, threads: int, scratch: Path
) -> str:
    """The table, over generated logs or over logs and their store that are there."""
    if kept:
        logs, store = kept
    else:
        logs, store = scratch / "logs", scratch / "store"
        generate(binary, logs, messages, "parquet", scratch)
        say("ingesting the logs")
        words = [f"{path.stem}={path}" for path in sorted(logs.glob("*.parquet"))]
        measure([binary, "--store", store, "ingest", *words], scratch)
    jobs = {
        QUESTION: lambda: run_own(QUESTION, binary, store, scratch),
        RECIPIENTS: lambda: run_own(RECIPIENTS, binary, store, scratch),
        "polars": lambda: run_peer("polars", logs, threads, scratch),
        "duckdb": lambda: run_peer("duckdb", logs, threads, scratch),
    }
    results: dict[str, list[Timing]] = {}
    counted: dict[str, int] = {}
    for number in range(runs):
        for job in jobs.values():
            timing, n = job()
            results.setdefault(timing.engine, []).append(timing)
            counted[timing.engine] = n
            say(f"run {number + 1}: {timing.engine} {timing.wall:.2f} s, {timing.memory / MIB:,.0f} MiB")
    recipients = counted.pop(RECIPIENTS)
    of_own = counted.pop(QUESTION)
    off = {name: n for name, n in counted.items() if n > of_own}
    if off:
        raise SystemExit(f"sendlift looked at {of_own:,} messages, the peers counted {off}")
    return f"{of_own:,} messages, {recipients:,} recipients.\n\n{table(results, 'answer')}"
