"""The peers' part of the comparisons; also the script that their processes run.

    peers.py report ENGINE FOLDER --threads N            the campaign report over a folder of Parquet logs
    peers.py convert ENGINE FILE OUT LOG --threads N     a CSV or NDJSON file to a Parquet file

The last line of the output is a JSON object: the library's `version`, the `seconds` of the task alone (without the start of
Python and the import of the library), and `rows`: those of the report, or their number in the Parquet file.

A peer's library is imported by the function that uses it, so that a process loads one of them and the caller none.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOGS = ("sends", "deliveries", "clicks", "conversions")
PEERS = ("DuckDB", "Polars", "chDB")
WINDOW_MICROSECONDS = 7 * 86_400_000_000
# Times of the logs that the conversions read.
TIMES = {"sends": ("scheduled_at", "sent_at"), "deliveries": ("at", "received_at")}
# Rows from which Polars infers columns and types: one that the first hundred NDJSON rows lack would be left out.
INFERRED_ROWS = 1_000

# Version, seconds of the query alone, rows.
Answer = tuple[str, float, list[Any]]
# Version, seconds of the conversion alone, number of rows written.
Converted = tuple[str, float, int]


def duckdb_text(path: Path) -> str:
    """A path as a literal of DuckDB's SQL, for statements that take no parameters."""
    return "'" + str(path).replace("'", "''") + "'"


def chdb_text(path: Path) -> str:
    """A path as a literal of ClickHouse's SQL."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def duckdb_report(folder: Path, threads: int) -> Answer:
    """The campaign report by DuckDB."""
    import duckdb

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as spill:
        connection = duckdb.connect(config={"threads": threads, "temp_directory": spill})
        connection.execute("SET preserve_insertion_order = false")
        for log in LOGS:
            path = duckdb_text(folder / f"{log}.parquet")
            connection.execute(f"CREATE VIEW {log} AS SELECT * FROM read_parquet({path})")
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


def polars_report(folder: Path, threads: int) -> Answer:
    """The campaign report by Polars."""
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


def chdb_report(folder: Path, threads: int) -> Answer:
    """The campaign report by chDB."""
    import chdb

    start = time.perf_counter()

    def table(log: str) -> str:
        return f"file({chdb_text(folder / f'{log}.parquet')}, Parquet)"

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


def duckdb_convert(source: Path, target: Path, log: str, threads: int) -> Converted:
    """A file to Parquet by DuckDB, which infers the types."""
    import duckdb

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as spill:
        connection = duckdb.connect(config={"threads": threads, "temp_directory": spill})
        connection.execute("SET preserve_insertion_order = false")
        path = duckdb_text(source)
        read = f"read_csv({path})" if source.suffix == ".csv" else f"read_json({path}, format = 'newline_delimited')"
        connection.execute(f"COPY (FROM {read}) TO {duckdb_text(target)} (FORMAT parquet)")
        connection.close()
    seconds = time.perf_counter() - start
    ((rows,),) = duckdb.execute(f"SELECT count(*) FROM read_parquet({duckdb_text(target)})").fetchall()
    return duckdb.__version__, seconds, rows


def polars_convert(source: Path, target: Path, log: str, threads: int) -> Converted:
    """A file to Parquet by Polars, streaming. It infers the types but those of times, which are named: it infers none in
    NDJSON, and in CSV (`try_parse_dates`) reads them at half the speed."""
    os.environ["POLARS_MAX_THREADS"] = str(threads)
    import polars as pl

    start = time.perf_counter()
    scan = pl.scan_csv if source.suffix == ".csv" else pl.scan_ndjson
    times = [pl.col(name).str.to_datetime(time_zone="UTC") for name in TIMES[log]]
    scan(source, infer_schema_length=INFERRED_ROWS).with_columns(times).sink_parquet(target)
    seconds = time.perf_counter() - start
    return pl.__version__, seconds, pl.scan_parquet(target).select(pl.len()).collect().item()


def chdb_convert(source: Path, target: Path, log: str, threads: int) -> Converted:
    """A file to Parquet by chDB, which infers the types."""
    import chdb

    start = time.perf_counter()
    file_format = "CSVWithNames" if source.suffix == ".csv" else "JSONEachRow"
    chdb.query(
        f"SELECT * FROM file({chdb_text(source)}, {file_format}) INTO OUTFILE {chdb_text(target)} "
        f"FORMAT Parquet SETTINGS max_threads = {threads}"
    )
    seconds = time.perf_counter() - start
    rows = int(str(chdb.query(f"SELECT count() FROM file({chdb_text(target)}, Parquet)", "CSV")))
    return str(chdb.__version__), seconds, rows


REPORTS: dict[str, Callable[[Path, int], Answer]] = {
    "DuckDB": duckdb_report,
    "Polars": polars_report,
    "chDB": chdb_report,
}
CONVERSIONS: dict[str, Callable[[Path, Path, str, int], Converted]] = {
    "DuckDB": duckdb_convert,
    "Polars": polars_convert,
    "chDB": chdb_convert,
}


def main() -> None:
    """The body of a peer's process."""
    parser = argparse.ArgumentParser(description="One task of one peer; compare.py runs this.")
    tasks = parser.add_subparsers(dest="task", required=True)
    report = tasks.add_parser("report")
    convert = tasks.add_parser("convert")
    for task in (report, convert):
        task.add_argument("engine", choices=PEERS)
        task.add_argument("source", type=Path)
        task.add_argument("--threads", type=int, required=True)
    convert.add_argument("target", type=Path)
    convert.add_argument("log", choices=TIMES)
    arguments = parser.parse_args()
    if arguments.task == "report":
        version, seconds, rows = REPORTS[arguments.engine](arguments.source, arguments.threads)
        result: Any = [[row[0], row[1], *(int(count) for count in row[2:6]), float(row[6] or 0)] for row in rows]
    else:
        convert_file = CONVERSIONS[arguments.engine]
        version, seconds, result = convert_file(arguments.source, arguments.target, arguments.log, arguments.threads)
    print(json.dumps({"version": version, "seconds": seconds, "rows": result}))


if __name__ == "__main__":
    main()
