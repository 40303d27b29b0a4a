"""The naive table of send windows that a user of Polars or DuckDB would make, as one process: the share of messages with a
click, by weekday group and hour of the recipient's clock, from the raw Parquet logs. It says nothing of what made hours
differ, of the law, nor how sure it is: the work of counting alone."""

import argparse
import json
import time
from pathlib import Path


def polars_table(logs: Path, threads: int) -> tuple[str, float, list]:
    import os

    os.environ["POLARS_MAX_THREADS"] = str(threads)
    import polars as pl

    started = time.perf_counter()
    clicked = (
        pl.scan_parquet(logs / "clicks.parquet").group_by("message_id").agg(pl.col("clicked_at").min().alias("clicked_at"))
    )
    contacts = pl.scan_parquet(logs / "recipients.parquet").select("recipient_id", "time_zone")
    sends = pl.scan_parquet(logs / "sends.parquet").select("message_id", "recipient_id", "sent_at")
    joined = sends.join(contacts, on="recipient_id", how="left").join(clicked, on="message_id", how="left")
    # A quarter of an hour and a zone at a time: offsets are multiples of it, and few cells are left to convert.
    cells = (
        joined.filter(pl.col("time_zone").is_not_null())
        .group_by("time_zone", pl.col("sent_at").dt.truncate("15m").alias("sent_at"))
        .agg(pl.len().alias("n"), pl.col("clicked_at").is_not_null().sum().alias("clicks"))
        .collect(engine="streaming")
    )
    local = pl.concat(
        part.with_columns(pl.col("sent_at").dt.convert_time_zone(zone).dt.replace_time_zone(None).alias("local"))
        for (zone,), part in cells.partition_by("time_zone", as_dict=True).items()
    )
    found = (
        local.group_by(pl.col("local").dt.weekday().clip(5, 7).alias("day"), pl.col("local").dt.hour().alias("hour"))
        .agg(pl.col("n").sum(), pl.col("clicks").sum())
        .sort("day", "hour")
    )
    return f"Polars {pl.__version__}", time.perf_counter() - started, found.rows()


def duckdb_table(logs: Path, threads: int) -> tuple[str, float, list]:
    import duckdb

    started = time.perf_counter()
    connection = duckdb.connect(config={"threads": threads})
    connection.execute("SET TimeZone = 'UTC'; LOAD icu")
    rows = connection.execute(
        f"""
        WITH clicked AS (SELECT DISTINCT message_id FROM '{logs}/clicks.parquet'),
        local AS (SELECT s.message_id, timezone(r.time_zone, s.sent_at::TIMESTAMPTZ) AS local FROM '{logs}/sends.parquet' AS s
                  JOIN '{logs}/recipients.parquet' AS r ON r.recipient_id = s.recipient_id WHERE r.time_zone IS NOT NULL)
        SELECT greatest(isodow(l.local), 5) AS day, hour(l.local) AS hour, count(*), count(c.message_id)
        FROM local AS l LEFT JOIN clicked AS c ON c.message_id = l.message_id GROUP BY 1, 2 ORDER BY 1, 2
        """
    ).fetchall()
    return f"DuckDB {duckdb.__version__}", time.perf_counter() - started, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["polars", "duckdb"])
    parser.add_argument("logs", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    make = {"polars": polars_table, "duckdb": duckdb_table}[arguments.engine]
    version, seconds, rows = make(arguments.logs, arguments.threads)
    print(json.dumps({"version": version, "seconds": seconds, "rows": [list(row) for row in rows]}))


if __name__ == "__main__":
    main()
