"""CSV and NDJSON into a store, beside each peer's plain conversion of the same file to Parquet.

sendlift validates every row, hashes phone numbers, remembers the file by its digest, writes a Delta table to disk for good
(fsync) and commits it. A peer infers the types and writes a file. Sends are also taken in with phone numbers instead of
recipient ids, since only columns of addresses are hashed.

After the commit of new sends, `sendlift ingest` makes what reports read, `message_facts` above all, and no option leaves that
out. It is told apart by the time at which the commit's entry of the table's log was written. Receipts without sends make none.
"""

import json
import re
import secrets
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import peers
from measure import MIB, OWN, Command, Timing, generate, measure, median_of, read_through, say, sendlift_version, table
from peers import PEERS

FORMATS = ("csv", "ndjson")
RECIPIENT = {"csv": rb",r(\d{8}),", "ndjson": rb'"recipient_id":"r(\d{8})"'}
AREA_CODES = (415, 212, 312, 713, 206, 617, 305, 404)


@dataclass(frozen=True)
class Ingestion(Timing):
    """One run over one file: the rows that arrived, and the bytes written for them."""

    rows: int
    written: int


@dataclass(frozen=True)
class Case:
    """A file that everybody reads."""

    title: str
    log: str
    path: Path


def phone(recipient: int) -> bytes:
    """A number that the rules of North America allow, another for each recipient."""
    area, line = divmod(recipient, 700_000)
    # Exchanges from 220 to 289, which none of the reserved ones (211, 311, 555, 911) is among.
    return b"+1%d2%d" % (AREA_CODES[area % len(AREA_CODES)], 200_000 + line)


def with_phones(source: Path, target: Path) -> None:
    """Copies sends with a phone number in the place of each recipient id."""
    pattern = re.compile(RECIPIENT[source.suffix[1:]])
    is_csv = source.suffix == ".csv"
    form = b",%s," if is_csv else b'"phone":"%s"'
    with open(source, "rb") as read, open(target, "wb") as write:
        if is_csv:
            write.write(read.readline().replace(b"recipient_id", b"phone"))
        for line in read:
            changed, times = pattern.subn(lambda found: form % phone(int(found[1])), line, count=1)
            if times != 1:
                raise SystemExit(f"{source} has a line without a recipient id of the generator: {line[:200]!r}")
            write.write(changed)


def make_cases(binary: Path, messages: int, scratch: Path) -> list[Case]:
    """Generates the files and removes the logs that are not read."""
    cases = []
    for file_format in FORMATS:
        folder = scratch / file_format
        generate(binary, folder, messages, file_format, scratch)
        for path in folder.iterdir():
            if path.stem not in peers.TIMES:
                path.unlink()
        sends, deliveries = (folder / f"{log}.{file_format}" for log in ("sends", "deliveries"))
        phones = folder / f"sends-with-phones.{file_format}"
        with_phones(sends, phones)
        label = file_format.upper()
        cases.append(Case(f"Sends, {label}", "sends", sends))
        cases.append(Case(f"Sends with phone numbers, {label}", "sends", phones))
        cases.append(Case(f"Receipts, {label}", "deliveries", deliveries))
    return cases


def bytes_in(folder: Path) -> int:
    """The size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run_sendlift(binary: Path, case: Case, key: Path, scratch: Path) -> Ingestion:
    """Takes a file into a fresh store. The task ends with the commit; the process also makes what reports read."""
    store = scratch / "store"
    start = time.time()
    command: Command = [
        binary,
        "--store",
        store,
        "ingest",
        "--format",
        "json",
        "--hash-key-file",
        key,
        f"{case.log}={case.path}",
    ]
    measured = measure(command, scratch)
    (outcome,) = json.loads(measured.output)["logs"]
    if outcome["rejected"] or outcome["left_out"]:
        raise SystemExit(f"{case.title}: sendlift rejected {outcome['rejected']} rows and left out {outcome['left_out']}")
    entry = store / case.log / "_delta_log" / f"{outcome['version']:020}.json"
    committed = entry.stat().st_mtime - start
    if not 0 < committed <= measured.wall + 0.1:
        raise SystemExit(f"{case.title}: the commit seems to be {committed:.2f} s after the start; did the clock jump?")
    # A count of the rows themselves, and not of what ingest says of them.
    count = f"SELECT count(*) AS n, count(recipient_id) AS recipients FROM {case.log}"
    if case.log != "sends":
        count = f"SELECT count(*) AS n FROM {case.log}"
    (stored,) = json.loads(measure([binary, "--store", store, "sql", "--format", "json", count], scratch).output)
    if len(set(stored.values())) > 1:
        raise SystemExit(f"{case.title}: rows without a recipient in the store: {stored}")
    written = bytes_in(store / case.log)
    shutil.rmtree(store)
    version = sendlift_version(binary)
    return Ingestion(OWN, version, committed, measured.wall, measured.cpu, measured.memory, stored["n"], written)


def run_peer(engine: str, case: Case, threads: int, scratch: Path) -> Ingestion:
    """Converts a file to Parquet, in a process of its own."""
    target = scratch / "converted.parquet"
    command: Command = [
        sys.executable,
        peers.__file__,
        "convert",
        engine,
        case.path,
        target,
        case.log,
        "--threads",
        str(threads),
    ]
    measured = measure(command, scratch)
    answer = json.loads(measured.output.splitlines()[-1])
    written = target.stat().st_size
    target.unlink()
    return Ingestion(
        engine, answer["version"], answer["seconds"], measured.wall, measured.cpu, measured.memory, answer["rows"], written
    )


def compare_case(binary: Path, case: Case, runs: int, threads: int, key: Path, scratch: Path) -> str:
    """Runs everybody over one file in turn; returns the Markdown of it."""
    size = read_through([case.path])
    results: dict[str, list[Ingestion]] = {name: [] for name in (OWN, *PEERS)}
    for number in range(runs):
        for name in results:
            run = run_sendlift(binary, case, key, scratch) if name == OWN else run_peer(name, case, threads, scratch)
            results[name].append(run)
            say(f"{case.title}, run {number + 1}: {name} {run.task:.2f} s, {run.memory / MIB:,.0f} MiB")
    rows = {(run.engine, run.rows) for all_runs in results.values() for run in all_runs}
    if len({count for _, count in rows}) > 1:
        told = "; ".join(f"{engine} {count:,}" for engine, count in sorted(rows))
        raise SystemExit(f"{case.title}: the numbers of rows differ: {told}")
    written = {name: f"{median_of(all_runs, 'written') / MIB:,.0f}" for name, all_runs in results.items()}
    (_, count), *_ = rows
    return f"### {case.title}: {count:,} rows, {size / MIB:,.0f} MiB\n\n" + table(
        results, "to the commit or the file", {"written, MiB": written}
    )


def compare(binary: Path, messages: int, runs: int, threads: int, scratch: Path) -> None:
    """Makes the files and prints a table for each."""
    key = scratch / "key"
    key.write_text(secrets.token_hex(32) + "\n")
    for case in make_cases(binary, messages, scratch):
        print(compare_case(binary, case, runs, threads, key, scratch) + "\n", flush=True)
        case.path.unlink()
