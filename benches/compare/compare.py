"""Runs one campaign report in sendlift, DuckDB, Polars and chDB over the same Parquet logs, and compares time and memory.

In: a folder of logs as `sendlift generate --format parquet` writes them, and the `sendlift` binary. Out: a Markdown table
with medians over several runs and the ratio to the best peer. Every engine runs in a process of its own, on the same CPUs,
from raw files to the finished report, with nothing prepared; the results must agree or the comparison fails.

The report, by campaign and variant (docs/metrics.md has the definitions):

- sent: messages of the sends log;
- delivered: messages with a receipt that says delivered (or read), however many times it says so;
- clicked: messages with any click. sendlift counts people and sets machine clicks apart, so its own number is only
  required not to be larger;
- conversions: a conversion that names a message belongs to it; any other to the latest message sent to that recipient
  within the seven days before it, ties to the greater message id;
- revenue: the value of these conversions, refunded ones counting nothing.

The generated logs hold every message and every conversion once, so that the peers need not look for corrections of
earlier rows; sendlift does. A peer is thus asked for less work, never for more.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LOGS = ("sends", "deliveries", "clicks", "conversions")
PEERS = ("DuckDB", "Polars", "chDB")
WINDOW_MICROSECONDS = 7 * 86_400_000_000
# Sums of doubles depend on the order of adding; the logs' amounts have two decimals.
CENT = 0.005


def duckdb_report(folder, threads):
    """Returns DuckDB's version, the seconds of the query alone and its rows."""
    import duckdb

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as spill:
        connection = duckdb.connect(config={"threads": threads, "temp_directory": spill})
        connection.execute("SET preserve_insertion_order = false")
        for log in LOGS:
            # A view cannot take parameters; a quote in the path is doubled as SQL wants it.
            path = str(folder / f"{log}.parquet").replace("'", "''")
            connection.execute(f"CREATE VIEW {log} AS SELECT * FROM read_parquet('{path}')")
        rows = connection.execute(
            f"""
            WITH delivered AS (
                SELECT DISTINCT message_id FROM deliveries WHERE status IN ('delivered', 'read')
            ), clicked AS (
                SELECT DISTINCT message_id FROM clicks WHERE message_id IS NOT NULL
            ), credited AS (
                SELECT message_id, value, refunded_at FROM conversions WHERE message_id IS NOT NULL
                UNION ALL
                SELECT arg_max(s.message_id, (s.sent_at, s.message_id)), any_value(c.value), any_value(c.refunded_at)
                FROM conversions AS c JOIN sends AS s ON s.recipient_id = c.recipient_id
                WHERE c.message_id IS NULL
                    AND epoch_us(c.occurred_at) - epoch_us(s.sent_at) BETWEEN 0 AND {WINDOW_MICROSECONDS}
                GROUP BY c.conversion_id
            ), earned AS (
                SELECT message_id, count(*) AS conversions,
                    sum(CASE WHEN refunded_at IS NULL THEN value ELSE 0 END) AS revenue
                FROM credited GROUP BY message_id
            )
            SELECT campaign_id, variant, count(*), count(d.message_id), count(k.message_id),
                coalesce(sum(e.conversions), 0), coalesce(sum(e.revenue), 0)
            FROM sends AS s
                LEFT JOIN delivered AS d ON d.message_id = s.message_id
                LEFT JOIN clicked AS k ON k.message_id = s.message_id
                LEFT JOIN earned AS e ON e.message_id = s.message_id
            GROUP BY campaign_id, variant
            """
        ).fetchall()
        connection.close()
    return duckdb.__version__, time.perf_counter() - start, rows


def polars_report(folder, threads):
    """Returns Polars's version, the seconds of the query alone and its rows."""
    # Polars reads the size of its thread pool when it is imported.
    os.environ["POLARS_MAX_THREADS"] = str(threads)
    import polars as pl

    start = time.perf_counter()
    sends, deliveries, clicks, conversions = (pl.scan_parquet(folder / f"{log}.parquet") for log in LOGS)
    delivered = deliveries.filter(pl.col("status").is_in(["delivered", "read"])).select("message_id")
    clicked = clicks.filter(pl.col("message_id").is_not_null()).select("message_id")
    goals = conversions.select(
        "conversion_id",
        "recipient_id",
        "message_id",
        "occurred_at",
        revenue=pl.when(pl.col("refunded_at").is_null()).then(pl.col("value")).otherwise(0.0),
    )
    since_send = pl.col("occurred_at") - pl.col("sent_at")
    last_touch = (
        goals.filter(pl.col("message_id").is_null())
        .drop("message_id")
        .join(sends.select("message_id", "recipient_id", "sent_at"), on="recipient_id")
        .filter(since_send.is_between(pl.duration(), pl.duration(microseconds=WINDOW_MICROSECONDS)))
        .sort("sent_at", "message_id")
        .group_by("conversion_id", maintain_order=True)
        .agg(pl.col("message_id").last(), pl.col("revenue").first())
    )
    named = goals.filter(pl.col("message_id").is_not_null())
    earned = (
        pl.concat([named.select("message_id", "revenue"), last_touch.select("message_id", "revenue")])
        .group_by("message_id")
        .agg(conversions=pl.len(), revenue=pl.col("revenue").sum())
    )
    report = (
        sends.select("message_id", "campaign_id", "variant")
        .join(delivered.unique().with_columns(delivered=True), on="message_id", how="left")
        .join(clicked.unique().with_columns(clicked=True), on="message_id", how="left")
        .join(earned, on="message_id", how="left")
        .group_by("campaign_id", "variant")
        .agg(
            pl.len(),
            pl.col("delivered").count(),
            pl.col("clicked").count(),
            pl.col("conversions").sum(),
            pl.col("revenue").sum(),
        )
    )
    rows = report.collect(engine="streaming").rows()
    return pl.__version__, time.perf_counter() - start, rows


def chdb_report(folder, threads):
    """Returns chDB's version, the seconds of the query alone and its rows."""
    import chdb

    start = time.perf_counter()

    def table(log):
        path = str(folder / f"{log}.parquet").replace("\\", "\\\\").replace("'", "\\'")
        return f"file('{path}', Parquet)"

    # IN builds a set of ids where a join would build a table of rows.
    answer = chdb.query(
        f"""
        WITH credited AS (
            SELECT message_id, value, refunded_at FROM {table("conversions")} WHERE message_id IS NOT NULL
            UNION ALL
            SELECT argMax(s.message_id, (s.sent_at, s.message_id)) AS message_id, any(c.value) AS value,
                anyRespectNulls(c.refunded_at) AS refunded_at
            FROM {table("sends")} AS s
                INNER JOIN (SELECT * FROM {table("conversions")} WHERE message_id IS NULL) AS c
                ON c.recipient_id = s.recipient_id
            WHERE toUnixTimestamp64Micro(assumeNotNull(c.occurred_at)) - toUnixTimestamp64Micro(assumeNotNull(s.sent_at))
                BETWEEN 0 AND {WINDOW_MICROSECONDS}
            GROUP BY c.conversion_id
        ), earned AS (
            SELECT message_id, count() AS conversions, sum(if(refunded_at IS NULL, value, 0)) AS revenue
            FROM credited GROUP BY message_id
        )
        SELECT campaign_id, variant, count() AS sent,
            countIf(s.message_id IN (SELECT message_id FROM {table("deliveries")} WHERE status IN ('delivered', 'read'))),
            countIf(s.message_id IN (SELECT message_id FROM {table("clicks")})),
            sum(e.conversions), sum(e.revenue)
        FROM {table("sends")} AS s LEFT JOIN earned AS e ON e.message_id = s.message_id
        GROUP BY campaign_id, variant
        SETTINGS max_threads = {threads}
        """,
        "JSONCompactEachRow",
    )
    rows = [json.loads(line) for line in str(answer).splitlines()]
    seconds = time.perf_counter() - start
    return str(chdb.__version__), seconds, rows


def child(engine, folder, threads):
    """The body of a peer's process: prints its version, the query's seconds and the rows as JSON."""
    run = {"DuckDB": duckdb_report, "Polars": polars_report, "chDB": chdb_report}[engine]
    version, seconds, rows = run(folder, threads)
    cells = [[row[0], row[1], *(int(count) for count in row[2:6]), float(row[6] or 0)] for row in rows]
    print(json.dumps({"version": version, "seconds": seconds, "rows": cells}))


def measure(command):
    """Runs a command; returns its standard output, wall time in seconds and peak resident memory in bytes."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        # wait4 tells the resources of this one child, where getrusage(RUSAGE_CHILDREN) tells the most of all so far.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            reason = errors.read().decode(errors="replace").strip()
            raise SystemExit(f"{command[0]} failed with status {process.returncode}: {reason}")
        output.seek(0)
        # Linux counts kibibytes, macOS bytes.
        unit = 1 if sys.platform == "darwin" else 1024
        return output.read().decode(), wall, usage.ru_maxrss * unit


def run_peer(engine, folder, threads):
    """One run of a peer."""
    command = [sys.executable, __file__, "--child", engine, "--logs", str(folder), "--threads", str(threads)]
    output, wall, memory = measure(command)
    # Some engines print notes of their own; the answer is the last line.
    answer = json.loads(output.splitlines()[-1])
    rows = {
        (row[0], row[1]): dict(zip(("sent", "delivered", "clicked", "conversions", "revenue"), row[2:]))
        for row in answer["rows"]
    }
    return {"wall": wall, "query": answer["seconds"], "memory": memory, "version": answer["version"], "rows": rows}


def run_sendlift(binary, folder):
    """One run of sendlift: the whole process counts as the query."""
    logs = [f"{log}={folder / f'{log}.parquet'}" for log in LOGS]
    command = [binary, "report", "--logs", *logs, "--by", "campaign_id,variant", "--format", "json"]
    output, wall, memory = measure(command)
    rows = {}
    for row in json.loads(output)["rows"]:
        key = (row["campaign_id"], row["variant"])
        # A group with several currencies has a row for each, with the same counts; amounts are not added up across them.
        if key in rows:
            raise SystemExit(f"{key} has several currencies; this comparison wants logs with one")
        rows[key] = {
            "sent": row["sent"],
            "delivered": row.get("delivered", 0),
            "clicked": row.get("clickers", 0),
            "conversions": row.get("conversions", 0),
            "revenue": float(row.get("revenue") or 0),
        }
    return {"wall": wall, "query": wall, "memory": memory, "rows": rows}


def sendlift_version(binary):
    """The binary's version, without its name."""
    answer = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.split()[-1]


def differences(first, second):
    """What two results disagree about, as lines of text."""
    (first_name, first_rows), (second_name, second_rows) = first, second
    found = []
    for key in sorted(first_rows.keys() | second_rows.keys(), key=str):
        if key not in first_rows or key not in second_rows:
            found.append(f"{key}: only in {first_name if key in first_rows else second_name}")
            continue
        one, other = first_rows[key], second_rows[key]
        for column in ("sent", "delivered", "conversions"):
            if one[column] != other[column]:
                found.append(f"{key} {column}: {first_name} {one[column]}, {second_name} {other[column]}")
        if not math.isclose(one["revenue"], other["revenue"], rel_tol=1e-9, abs_tol=CENT):
            found.append(f"{key} revenue: {first_name} {one['revenue']:.4f}, {second_name} {other['revenue']:.4f}")
        clicks_agree = one["clicked"] == other["clicked"]
        if "sendlift" in (first_name, second_name):
            own, peer = (one, other) if first_name == "sendlift" else (other, one)
            clicks_agree = own["clicked"] <= peer["clicked"]
        if not clicks_agree:
            found.append(f"{key} clicked: {first_name} {one['clicked']}, {second_name} {other['clicked']}")
    return found


def read_through(folder):
    """Brings the files into the page cache, so that the first engine does not pay for the disk alone; returns bytes."""
    total = 0
    for log in LOGS:
        with open(folder / f"{log}.parquet", "rb") as file:
            while block := file.read(1 << 22):
                total += len(block)
    return total


def table(engines, results):
    """The Markdown table: medians, and ratios to the best peer."""

    def median(name, what):
        return statistics.median(run[what] for run in results[name])

    peers = [name for name in engines if name != "sendlift"]
    best_time = min(median(name, "query") for name in peers)
    best_memory = min(median(name, "memory") for name in peers)
    lines = [
        "| engine | version | query, s | spread, s | process, s | peak memory, MiB | time to best peer | memory to best peer |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in engines:
        query, memory = median(name, "query"), median(name, "memory")
        queries = [run["query"] for run in results[name]]
        lines.append(
            f"| {name} | {results[name][0]['version']} | {query:.2f} | {min(queries):.2f}–{max(queries):.2f} "
            f"| {median(name, 'wall'):.2f} | {memory / 2**20:,.0f} | {query / best_time:.2f} | {memory / best_memory:.2f} |"
        )
    return "\n".join(lines)


def describe_machine(threads):
    """Processors and memory in words."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores of which {threads} used, "
        f"{memory / 2**30:.0f} GiB of memory, Python {platform.python_version()}"
    )


def limit_cpus(threads):
    """Keeps this process and its children to so many CPUs, which binds an engine whatever its own settings."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < threads:
            raise SystemExit(f"only {len(allowed)} CPUs are available: give --threads {len(allowed)} or fewer")
        os.sched_setaffinity(0, allowed[:threads])


def main():
    """Reads the command line, runs every engine in turn, checks that they agree, prints the table."""
    parser = argparse.ArgumentParser(description="Compares sendlift with DuckDB, Polars and chDB on one campaign report.")
    parser.add_argument("--logs", type=Path, required=True, help="folder with sends, deliveries, clicks and conversions as Parquet")
    parser.add_argument("--sendlift", help="path of the sendlift binary; without it the peers alone are compared")
    parser.add_argument("--runs", type=int, default=3, help="runs of each engine, of which the median counts (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="threads and CPUs of each engine (default 2)")
    parser.add_argument("--child", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    missing = [log for log in LOGS if not (arguments.logs / f"{log}.parquet").is_file()]
    if missing:
        parser.error(f"{arguments.logs} lacks {', '.join(f'{log}.parquet' for log in missing)}: write them with generate --format parquet")
    if arguments.runs < 1 or arguments.threads < 1:
        parser.error("--runs and --threads must be at least 1")
    if arguments.child:
        child(arguments.child, arguments.logs, arguments.threads)
        return

    limit_cpus(arguments.threads)
    size = read_through(arguments.logs)
    engines = [*(["sendlift"] if arguments.sendlift else []), *PEERS]
    results = {name: [] for name in engines}
    # Engines take turns, so that a slow minute of the machine does not fall on one of them.
    for number in range(arguments.runs):
        for name in engines:
            if name == "sendlift":
                run = run_sendlift(arguments.sendlift, arguments.logs)
                run["version"] = sendlift_version(arguments.sendlift)
            else:
                run = run_peer(name, arguments.logs, arguments.threads)
            results[name].append(run)
            print(f"run {number + 1}: {name} {run['wall']:.2f} s, {run['memory'] / 2**20:,.0f} MiB", file=sys.stderr)

    reference = (engines[0], results[engines[0]][0]["rows"])
    disagreements = [
        line
        for name in engines
        for run in results[name]
        for line in differences(reference, (name, run["rows"]))
    ]
    if disagreements:
        print("the engines disagree:", *dict.fromkeys(disagreements), sep="\n  ", file=sys.stderr)
        raise SystemExit(1)

    totals = {column: sum(row[column] for row in reference[1].values()) for column in ("sent", "conversions")}
    print(f"{totals['sent']:,} messages, {totals['conversions']:,} credited conversions, {size / 2**20:,.0f} MiB of Parquet; "
          f"median of {arguments.runs} runs. {describe_machine(arguments.threads)}.\n")
    print(table(engines, results))
    print(f"\nAll engines agree on sent, delivered, conversions and revenue of {len(reference[1])} groups.")


if __name__ == "__main__":
    main()
