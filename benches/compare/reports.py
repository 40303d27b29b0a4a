"""The campaign report in every engine, and whether they agree about it.

The report, by campaign and variant (docs/metrics.md has the definitions):

- sent: messages of the sends log;
- delivered: messages with a receipt that says delivered (or read), however many times it says so;
- clicked: messages with any click. sendlift reports clickers instead, that is people, with machine clicks set apart: they
  must not be more. From its store, `message_facts` tells the messages with any click, which must be as many as the peers';
- conversions: a conversion that names a message belongs to it; any other to the latest message sent to that recipient
  within the seven days before it, ties to the greater message id;
- revenue: the value of these conversions, refunded ones counting nothing.

The generated logs hold every message and every conversion once, so that the peers need not look for corrections of
earlier rows; sendlift does. A peer is thus asked for less work, never for more.
"""

import json
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import peers
from measure import Command, Measured, Timing, measure, sendlift_version
from peers import LOGS, PEERS

FROM_FILES = "sendlift (files)"
FROM_STORE = "sendlift (store)"
FROM_ROLLUP = "sendlift (rollup)"
# The folder of a store with the sums of reports that were asked before; what is not there is made anew.
ROLLUPS = "_rollups"
BY = "campaign_id,variant"
COUNTS = ("sent", "delivered", "clicked", "clickers", "conversions")
# Sums of doubles depend on the order of adding; the logs' amounts have two decimals.
CENT = 0.005
# Lines of disagreement that are shown; a wrong join makes every group differ.
LINES_SHOWN = 40

Group = tuple[str | None, str | None]


@dataclass(frozen=True)
class Report(Timing):
    """One run of the report; a row has those of `COUNTS` that its engine tells, and `revenue`."""

    rows: dict[Group, dict[str, float]] = field(default_factory=dict)


def log_files(folder: Path) -> list[Path]:
    """The Parquet files that the report reads."""
    return [folder / f"{log}.parquet" for log in LOGS]


def log_arguments(folder: Path) -> list[str]:
    """The same as arguments of sendlift."""
    return [f"{log}={path}" for log, path in zip(LOGS, log_files(folder), strict=True)]


def run_peer(engine: str, folder: Path, threads: int, scratch: Path) -> Report:
    """The report by a peer, in a process of its own."""
    command: Command = [sys.executable, peers.__file__, "report", engine, folder, "--threads", str(threads)]
    measured = measure(command, scratch)
    # Some engines print notes of their own; the answer is the last line.
    answer = json.loads(measured.output.splitlines()[-1])
    columns = ("sent", "delivered", "clicked", "conversions", "revenue")
    rows = {(row[0], row[1]): dict(zip(columns, row[2:], strict=True)) for row in answer["rows"]}
    return Report(engine, answer["version"], answer["seconds"], measured.wall, measured.cpu, measured.memory, rows)


def run_sendlift(name: str, binary: Path, source: Sequence[str | Path], scratch: Path) -> Report:
    """The report by sendlift, the whole process counting; `source` names the files or the store."""
    measured = measure([binary, "report", *source, "--by", BY, "--format", "json"], scratch)
    rows = {}
    for row in json.loads(measured.output)["rows"]:
        group = (row["campaign_id"], row["variant"])
        # A group with several currencies has a row for each, with the same counts; amounts are not added up across them.
        if group in rows:
            raise SystemExit(f"{named(group)} has several currencies; this comparison wants logs with one")
        counts = {column: row.get(column) or 0 for column in ("sent", "delivered", "clickers", "conversions")}
        rows[group] = {**counts, "revenue": float(row.get("revenue") or 0)}
    version = sendlift_version(binary)
    return Report(name, version, measured.wall, measured.wall, measured.cpu, measured.memory, rows)


def run_from_store(binary: Path, store: Path, scratch: Path) -> Report:
    """The report from a store that was not asked for it before."""
    shutil.rmtree(store / ROLLUPS, ignore_errors=True)
    return run_sendlift(FROM_STORE, binary, ["--store", store], scratch)


def ingest_logs(binary: Path, folder: Path, store: Path, scratch: Path) -> Measured:
    """Takes the report's logs into a store, which makes the facts too."""
    return measure([binary, "--store", store, "ingest", *log_arguments(folder), "--format", "json"], scratch)


def add_clicked(report: Report, binary: Path, store: Path, scratch: Path) -> None:
    """Adds the messages with any click, which the report does not tell but the facts do."""
    clicked = "sum(CASE WHEN clicks + machine_clicks > 0 THEN 1 ELSE 0 END)"
    query = f"SELECT {BY}, {clicked} AS clicked FROM message_facts GROUP BY {BY}"
    answer = json.loads(measure([binary, "--store", store, "sql", "--format", "json", query], scratch).output)
    for row in answer:
        report.rows[row["campaign_id"], row["variant"]]["clicked"] = row["clicked"]


def engines(
    folder: Path, threads: int, scratch: Path, binary: Path | None = None, store: Path | None = None
) -> dict[str, Callable[[], Report]]:
    """What runs the report once, by the name of the engine: sendlift if there is a binary, then every peer."""
    runners: dict[str, Callable[[], Report]] = {}
    if binary:
        files = ["--logs", *log_arguments(folder)]
        runners[FROM_FILES] = partial(run_sendlift, FROM_FILES, binary, files, scratch)
    if binary and store:
        runners[FROM_STORE] = partial(run_from_store, binary, store, scratch)
        # Comes after the one that leaves the rollup.
        runners[FROM_ROLLUP] = partial(run_sendlift, FROM_ROLLUP, binary, ["--store", store], scratch)
    for name in PEERS:
        runners[name] = partial(run_peer, name, folder, threads, scratch)
    return runners


def named(group: Group) -> str:
    """A group in words."""
    campaign, variant = (value if value is not None else "none" for value in group)
    return f"campaign {campaign}, variant {variant}"


def disagreements(reports: Sequence[Report]) -> list[str]:
    """What the reports disagree about: a line for each group and column, with every value and who says so."""
    lines = []
    for group in sorted({group for report in reports for group in report.rows}, key=str):
        rows = [(report.engine, report.rows[group]) for report in reports if group in report.rows]
        if len(rows) < len(reports):
            lacking = dict.fromkeys(report.engine for report in reports if group not in report.rows)
            lines.append(f"{named(group)}: missing from {' and '.join(lacking)}")
        for column in COUNTS:
            values = {(engine, row[column]) for engine, row in rows if column in row}
            if len({value for _, value in values}) > 1:
                lines.append(difference(group, column, values))
        revenues = {(engine, row["revenue"]) for engine, row in rows}
        if not all(math.isclose(value, rows[0][1]["revenue"], rel_tol=1e-9, abs_tol=CENT) for _, value in revenues):
            lines.append(difference(group, "revenue", revenues))
        clickers = {(engine, row["clickers"]) for engine, row in rows if "clickers" in row}
        clicked = {(engine, row["clicked"]) for engine, row in rows if "clicked" in row}
        if clickers and clicked and max(value for _, value in clickers) > min(value for _, value in clicked):
            lines.append(difference(group, "more clickers than clicked messages", clickers | clicked))
    return lines


def difference(group: Group, column: str, values: set[tuple[str, float]]) -> str:
    """One line of disagreement."""
    sayings: dict[float, list[str]] = {}
    for engine, value in sorted(values):
        sayings.setdefault(value, []).append(engine)
    words = "; ".join(f"{value:,} in {' and '.join(names)}" for value, names in sayings.items())
    return f"{named(group)}: {column}: {words}"


def require_agreement(reports: Sequence[Report]) -> None:
    """Ends the program with status 1, saying what differs, unless all reports agree and say something."""
    lines = disagreements(reports)
    if not all(report.rows for report in reports):
        lines.append("a report has no rows at all")
    if lines:
        shown = [*lines[:LINES_SHOWN], *([f"… and {len(lines) - LINES_SHOWN} more"] if len(lines) > LINES_SHOWN else [])]
        raise SystemExit("\n  ".join(["the engines disagree:", *shown]))


def agreed(reports: Sequence[Report]) -> str:
    """What they agree on, in words."""
    rows = reports[0].rows.values()
    sent, conversions = (sum(row[column] for row in rows) for column in ("sent", "conversions"))
    names = list(dict.fromkeys(report.engine for report in reports))
    # Our report tells clickers, which are only bounded by the peers' clicked messages.
    tells_clicked = any("clicked" in row for report in reports if report.is_own for row in report.rows.values())
    clicked = "clicked, " if tells_clicked else ""
    return (
        f"{', '.join(names[:-1])} and {names[-1]} agree on sent, delivered, {clicked}conversions and revenue of {len(rows)} "
        f"groups: {sent:,} messages, {conversions:,} credited conversions."
    )
