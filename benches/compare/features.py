"""The features of recipients beside an independent computation of them, and with the future cut off.

1. *Same*: `sendlift features` over a store, and `feature_oracle.py` over the raw logs, cell by cell, as of several moments:
   counts equal, other numbers within a relative 1e-9. Once over the logs as they are generated, and once over logs that are
   stirred: with corrections, several channels, currencies, histories of contacts and much that is missing.
2. *Leaks*: features as of a moment from whole logs, and from logs that end at the moment, taken into another store: equal. What may
   differ is told by the logs themselves: a message whose receipts or clicks straddle the moment may be delivered, or its click be a
   machine's, by what came after. Such recipients are counted, and differ in nothing but what follows from these messages.
3. *Again*: the features that are asked for several times are the same to the last bit.

Before all of it, a sends log that is large enough to be read in parts, with one message corrected: every message has one row of facts.
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import feature_oracle
from feature_oracle import DAY, literal, microseconds
from measure import generate, measure

LOGS = ("recipients", "assignments", "sends", "deliveries", "clicks", "conversions", "replies", "opt_outs", "consents")
# What decides whether a row is there at a moment. A contact's row is there from its `updated_at` on.
TIMES = {
    "assignments": "assigned_at",
    "sends": "sent_at",
    "deliveries": '"at"',
    "clicks": "clicked_at",
    "conversions": "occurred_at",
    "replies": "received_at",
    "opt_outs": "requested_at",
    "consents": "captured_at",
}
# Numbers that are neither counts nor equal to the last digit: sums of doubles here, of decimals there.
TOLERANCE = 1e-9
# A mean of decimals is cut off after ten of them.
CUT_OFF = 1e-10
LINES_SHOWN = 20
# How often features are asked for again.
AGAIN = 3
# Messages whose log is read in parts.
READ_IN_PARTS = 60_000
HOUR = DAY // 24
# What the last receipts and clicks of a message in flight may change.
IN_FLIGHT = ("delivered", "click", "days_since_click")


@dataclass
class Differences:
    """The cells that differ: how many of each feature, and the first of each."""

    compared: int = 0
    of_feature: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, feature: str, words: str) -> None:
        """Another cell that differs."""
        self.of_feature[feature] = self.of_feature.get(feature, 0) + 1
        self.first.setdefault(feature, words)


def same(left: Any, right: Any) -> bool:
    """Whether two cells are equal, up to rounding."""
    if left is None or right is None:
        return left is right
    try:
        return math.isclose(float(left), float(right), rel_tol=TOLERANCE, abs_tol=CUT_OFF)
    except ValueError:
        return str(left) == str(right)


def rows_of(path: Path) -> tuple[list[str], dict[str, tuple[Any, ...]]]:
    """The columns of a table of features but the id, and its rows by id."""
    import duckdb

    answer = duckdb.execute("SELECT * FROM read_parquet(?)", [str(path)])
    names = [name for name, *_ in answer.description]
    if names[0] != "recipient_id":
        raise SystemExit(f"{path.name} begins with {names[0]} and not with recipient_id")
    rows = answer.fetchall()
    by_id = {row[0]: row[1:] for row in rows}
    if len(by_id) < len(rows):
        raise SystemExit(f"{path.name} has recipients twice")
    return names[1:], by_id


def compare(left: Path, right: Path, words: Sequence[str], ignored: dict[str, set[str]] | None = None) -> Differences:
    """Every cell of two tables. `ignored` names features of a recipient that may differ."""
    (names, own), (others, peer) = rows_of(left), rows_of(right)
    found = Differences()
    if names != others:
        more, fewer = [name for name in names if name not in others], [name for name in others if name not in names]
        raise SystemExit(f"the features differ: {words[0]} alone has {more}, {words[1]} alone {fewer}, or their order does")
    for recipient in sorted(own.keys() ^ peer.keys(), key=str):
        found.add("recipient_id", f"{recipient} is in {words[0] if recipient in own else words[1]} alone")
    for recipient in sorted(own.keys() & peer.keys(), key=str):
        let_pass = (ignored or {}).get(recipient, set())
        for name, mine, other in zip(names, own[recipient], peer[recipient], strict=True):
            if any(name.startswith(start) for start in let_pass):
                continue
            found.compared += 1
            if not same(mine, other):
                found.add(name, f"{recipient}: {mine} in {words[0]}, {other} in {words[1]}")
    return found


def other_bits(left: Path, right: Path) -> list[str]:
    """The features that two tables do not have the same to the last bit."""
    (names, own), (_, other) = rows_of(left), rows_of(right)
    if own.keys() != other.keys():
        return ["recipient_id"]
    return [name for place, name in enumerate(names) if any(own[id][place] != other[id][place] for id in own)]


def told(found: Differences, title: str, what: str) -> tuple[bool, str]:
    """Whether no cell differs, and in words what was found."""
    if not found.of_feature:
        return True, f"{title}: {found.compared:,} cells are {what}"
    lines = [f"{name}: {n} cells, first {found.first[name]}" for name, n in found.of_feature.items()]
    more = [f"… and {len(lines) - LINES_SHOWN} more features"] if len(lines) > LINES_SHOWN else []
    return False, "\n  ".join([f"{title}: features differ:", *lines[:LINES_SHOWN], *more])


def take_in(binary: Path, folder: Path, store: Path, scratch: Path) -> None:
    """A store of a folder of logs."""
    logs = [f"{log}={folder / f'{log}.parquet'}" for log in LOGS]
    outcome = json.loads(measure([binary, "--store", store, "ingest", "--format", "json", *logs], scratch).output)
    for log in outcome["logs"]:
        if log["rejected"]:
            raise SystemExit(f"sendlift rejected {log['rejected']} rows of {log}")


def own_features(binary: Path, store: Path, moment: str, out: Path, scratch: Path) -> None:
    """The features by sendlift."""
    measure([binary, "--store", store, "features", "--as-of", moment, "--out", out], scratch)


def run_oracle(folder: Path, moment: str, out: Path, scratch: Path) -> None:
    """The features by the oracle, in a process of its own."""
    measure([sys.executable, feature_oracle.__file__, folder, out, "--at", moment], scratch)


def moments(folder: Path) -> list[str]:
    """Before all messages, between two campaigns, at a full hour while one is sent out, with the last message, long after it."""
    import duckdb

    path = literal(str(folder / "sends.parquet"))
    sent = f"SELECT epoch_us(sent_at) AS sent FROM read_parquet({path})"
    ((first, busy, last),) = duckdb.sql(f"SELECT min(sent), quantile_disc(sent, 0.55), max(sent) FROM ({sent})").fetchall()
    ((quiet,),) = duckdb.sql(
        f"SELECT (sent + next) // 2 FROM (SELECT sent, lead(sent) OVER (ORDER BY sent) AS next FROM ({sent})) "
        "ORDER BY next - sent DESC NULLS LAST, sent LIMIT 1"
    ).fetchall()
    return [iso(at) for at in (first - DAY, quiet, busy - busy % HOUR, last, last + 100 * DAY)]


def iso(at: int) -> str:
    """A moment as ISO 8601."""
    return (datetime(1970, 1, 1) + timedelta(microseconds=at)).isoformat() + "Z"


def write(database: Any, query: str, out: Path) -> None:
    """A query's rows as a Parquet file, in their order."""
    database.execute(f"COPY ({query}) TO {literal(str(out))} (FORMAT parquet)")


def stir(source: Path, target: Path) -> None:
    """Copies logs with what generated ones do not have. The rows that change are told by hashes of ids: the same every time."""
    import duckdb

    target.mkdir()
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    for log in LOGS:
        path = literal(str(source / f"{log}.parquet"))
        database.execute(
            f"CREATE TABLE {log} AS SELECT * EXCLUDE (file_row_number), file_row_number AS n "
            f"FROM read_parquet({path}, file_row_number = true)"
        )

    def draw(column: str, of: int, salt: str) -> str:
        return f"('0x' || md5({column} || '{salt}')[:8])::BIGINT % {of}"

    middle = "(SELECT quantile_disc(sent_at, 0.5) FROM sends)"
    queries = {
        # Contacts who are missing, who were never sent to, who sign up later or never did, and who change.
        "recipients": f"""
            SELECT * EXCLUDE (n) REPLACE (CASE {draw("recipient_id", 13, "sign up")} WHEN 0 THEN NULL WHEN 1 THEN {middle}
                ELSE signed_up_at END AS signed_up_at), CASE {draw("recipient_id", 9, "changes")}
                WHEN 0 THEN make_timestamptz({microseconds("2025-01-01T00:00:00Z")}) END AS updated_at
            FROM recipients WHERE {draw("recipient_id", 17, "missing")} > 0
            UNION ALL BY NAME SELECT * EXCLUDE (n) REPLACE ('moved' AS customer_status, 'Asia/Kathmandu' AS time_zone),
                {middle} AS updated_at
            FROM recipients WHERE {draw("recipient_id", 9, "changes")} <= 1 AND {draw("recipient_id", 17, "missing")} > 0
            UNION ALL BY NAME SELECT * EXCLUDE (n) REPLACE ('x' || recipient_id AS recipient_id), NULL AS updated_at
            FROM recipients WHERE {draw("recipient_id", 40, "never sent")} = 0
            ORDER BY recipient_id, updated_at""",
        # Channels and types, zones that are missing or unknown, texts, variants and parts that are missing, corrected rows.
        "sends": f"""
            WITH changed AS (
                SELECT * REPLACE (
                    ['email', 'whatsapp', 'sms', 'sms'][{draw("message_id", 4, "channel")} + 1] AS channel,
                    CASE {draw("message_id", 31, "type")} WHEN 1 THEN 'care' WHEN 2 THEN 'notice' ELSE message_type END AS message_type,
                    CASE WHEN {draw("message_id", 7, "text")} > 0 THEN text END AS text,
                    CASE WHEN {draw("message_id", 11, "variant")} > 0 THEN variant END AS variant,
                    CASE WHEN {draw("message_id", 13, "parts")} > 0 THEN parts END AS parts),
                    CASE {draw("message_id", 10, "zone")} WHEN 0 THEN 'America/Lima' WHEN 1 THEN 'Nowhere/Land' END AS time_zone
                FROM sends
            )
            SELECT * EXCLUDE (n, round) FROM (
                SELECT *, 0 AS round FROM changed
                UNION ALL SELECT * REPLACE (5 AS parts, 'sms' AS channel), 1 AS round
                FROM changed WHERE {draw("message_id", 30, "corrected")} = 0
            ) ORDER BY round, n""",
        # Receipts that say read, receipts twice, receipts without a part.
        "deliveries": f"""
            SELECT * EXCLUDE (n, round) FROM (
                SELECT * REPLACE (CASE WHEN {draw("message_id", 9, "part")} > 0 THEN part_no END AS part_no), 0 AS round
                FROM deliveries
                UNION ALL SELECT * REPLACE ('read' AS status, "at" + INTERVAL 1 HOUR AS "at"), 1 AS round FROM deliveries
                WHERE status = 'delivered' AND {draw("message_id", 15, "read")} = 0
                UNION ALL SELECT *, 2 AS round FROM deliveries WHERE {draw("message_id", 25, "twice")} = 0
            ) ORDER BY round, n""",
        # Clicks without an id and twice, scored by the source, from one address, with another link within the second.
        "clicks": f"""
            WITH changed AS (
                SELECT * REPLACE (CASE WHEN {draw("click_id", 15, "id")} > 0 THEN click_id END AS click_id,
                    CASE WHEN {draw("message_id", 5, "address")} > 0 THEN ip_hash ELSE 'an office' END AS ip_hash,
                    CASE WHEN {draw("click_id", 20, "agent")} > 0 THEN user_agent END AS user_agent),
                    CASE {draw("click_id", 30, "score")} WHEN 0 THEN 0.9 WHEN 1 THEN 0.2 END AS bot_score
                FROM clicks
            )
            SELECT * EXCLUDE (n, round) FROM (
                SELECT *, 0 AS round FROM changed
                UNION ALL SELECT *, 1 AS round FROM changed WHERE {draw("message_id", 10, "twice")} = 0
                UNION ALL SELECT * REPLACE (click_id || 'l' AS click_id, link || 'l' AS link,
                    clicked_at + INTERVAL 400 MILLISECOND AS clicked_at), 2 AS round
                FROM changed WHERE {draw("message_id", 12, "links")} = 0
            ) ORDER BY round, n""",
        # Currencies, values and recipients that are missing, refunds, messages that are named late or wrongly, corrected rows.
        "conversions": f"""
            WITH changed AS (
                SELECT * REPLACE (
                    CASE {draw("conversion_id", 9, "currency")} WHEN 0 THEN 'EUR' WHEN 1 THEN NULL ELSE currency END AS currency,
                    CASE WHEN {draw("conversion_id", 14, "value")} > 0 THEN value END AS value,
                    CASE WHEN {draw("conversion_id", 14, "value")} > 0 AND {draw("conversion_id", 8, "refund")} = 0
                        THEN occurred_at + INTERVAL 3 DAY ELSE refunded_at END AS refunded_at,
                    CASE WHEN {draw("conversion_id", 25, "message")} > 0 THEN message_id ELSE 'nobody knows' END AS message_id)
                FROM conversions
            )
            SELECT * EXCLUDE (n, round) FROM (
                SELECT *, 0 AS round FROM changed
                UNION ALL SELECT * REPLACE (value * 3 AS value), 1 AS round
                FROM changed WHERE {draw("conversion_id", 12, "corrected")} = 0
            ) ORDER BY round, n""",
        # Replies whose log knows no classes, some without an id, some twice.
        "replies": f"""
            WITH changed AS (
                SELECT * EXCLUDE (keyword_class) REPLACE (CASE WHEN {draw("reply_id", 5, "id")} > 0 THEN reply_id END AS reply_id)
                FROM replies
            )
            SELECT * EXCLUDE (n, round) FROM (
                SELECT *, 0 AS round FROM changed
                UNION ALL SELECT *, 1 AS round FROM changed WHERE {draw("recipient_id", 4, "twice")} = 0
            ) ORDER BY round, n""",
        "opt_outs": "SELECT * EXCLUDE (n) FROM opt_outs ORDER BY n",
        "assignments": "SELECT * EXCLUDE (n) FROM assignments ORDER BY n",
        # Consents that are given again, withdrawn, corrected and without an id.
        "consents": f"""
            WITH changed AS (
                SELECT * REPLACE (CASE WHEN {draw("consent_id", 6, "id")} > 0 THEN consent_id END AS consent_id) FROM consents
            )
            SELECT * EXCLUDE (n, round) FROM (
                SELECT *, 0 AS round FROM changed
                UNION ALL SELECT * REPLACE (recipient_id || 'again' AS consent_id, captured_at + INTERVAL 40 DAY AS captured_at),
                    1 AS round FROM changed WHERE {draw("recipient_id", 5, "again")} = 0
                UNION ALL SELECT * REPLACE (recipient_id || 'withdrawn' AS consent_id, 'withdrawn' AS status,
                    captured_at + INTERVAL 50 DAY AS captured_at), 2 AS round FROM changed WHERE {draw("recipient_id", 6, "withdrawn")} = 0
                UNION ALL SELECT * REPLACE ('withdrawn' AS status), 3 AS round FROM changed
                WHERE {draw("recipient_id", 20, "corrected")} = 0
            ) ORDER BY round, n""",
    }
    for log, query in queries.items():
        write(database, query, target / f"{log}.parquet")


def cut_off(source: Path, target: Path, at: int) -> None:
    """Copies logs as they were at a moment: no row from after it, and no refund."""
    import duckdb

    target.mkdir()
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    for log in LOGS:
        path = literal(str(source / f"{log}.parquet"))
        columns = [name for name, *_ in database.execute(f"SELECT * FROM read_parquet({path}) LIMIT 0").description]
        refund = "REPLACE (CASE WHEN epoch_us(refunded_at) <= $at THEN refunded_at END AS refunded_at)" if log == "conversions" else ""
        if log == "recipients":
            condition = "WHERE (signed_up_at IS NULL OR epoch_us(signed_up_at) <= $at)"
            if "updated_at" in columns:
                # The first row of a contact reaches back to the beginning.
                first = "row_number() OVER (PARTITION BY recipient_id ORDER BY updated_at NULLS FIRST) = 1"
                condition += f" QUALIFY updated_at IS NULL OR epoch_us(updated_at) <= $at OR {first}"
        else:
            condition = f"WHERE epoch_us({TIMES[log]}) <= $at"
        query = (
            f"SELECT * EXCLUDE (file_row_number) {refund} FROM read_parquet({path}, file_row_number = true) {condition} "
            "ORDER BY file_row_number"
        )
        write(database, query.replace("$at", str(at)), target / f"{log}.parquet")


def in_flight(folder: Path, at: int) -> dict[str, set[str]]:
    """The recipients of messages whose receipts or clicks straddle a moment, with the features that may differ."""
    import duckdb

    paths = {log: literal(str(folder / f"{log}.parquet")) for log in ("sends", "deliveries", "clicks")}
    rows = duckdb.sql(
        f"""
        SELECT DISTINCT recipient_id FROM read_parquet({paths["sends"]}) JOIN (
            SELECT message_id FROM (
                SELECT message_id, epoch_us("at") AS happened FROM read_parquet({paths["deliveries"]})
                UNION ALL SELECT message_id, epoch_us(clicked_at) FROM read_parquet({paths["clicks"]})
            ) GROUP BY message_id HAVING min(happened) <= {at} AND max(happened) > {at}
        ) USING (message_id)
        """
    ).fetchall()
    return {recipient: set(IN_FLIGHT) for (recipient,) in rows}


def check(binary: Path, folder: Path, name: str, scratch: Path) -> Iterator[tuple[bool, str]]:
    """Both checks over a folder of logs: for each whether it holds, and a line of it."""
    store, own, other = scratch / f"{name}-store", scratch / "own.parquet", scratch / "other.parquet"
    take_in(binary, folder, store, scratch)
    before, quiet, busy, last, after = moments(folder)
    for moment in (before, quiet, busy, last, after):
        own_features(binary, store, moment, own, scratch)
        run_oracle(folder, moment, other, scratch)
        found = compare(own, other, ("sendlift", "the oracle"))
        yield told(found, f"{name} logs as of {moment}", "the oracle's")
    own_features(binary, store, busy, own, scratch)
    for _ in range(AGAIN):
        own_features(binary, store, busy, other, scratch)
        differing = other_bits(own, other)
        if differing:
            yield False, f"{name} logs as of {busy}, asked again: not the same to the last bit: {', '.join(differing)}"
            break
    else:
        yield True, f"{name} logs as of {busy}, asked {AGAIN} times again: the same to the last bit"
    for moment in (quiet, busy):
        at = microseconds(moment)
        past, past_store = scratch / f"{name}-{at}", scratch / f"{name}-{at}-store"
        cut_off(folder, past, at)
        take_in(binary, past, past_store, scratch)
        own_features(binary, store, moment, own, scratch)
        own_features(binary, past_store, moment, other, scratch)
        flying = in_flight(folder, at)
        found = compare(own, other, ("the whole logs", "the logs cut off"), flying)
        words = f"those of the whole logs; {len(flying)} recipients have a message in flight"
        yield told(found, f"{name} logs cut off at {moment}", words)


def check_correction(binary: Path, messages: int, scratch: Path) -> tuple[bool, str]:
    """Whether every message has one row of facts where one of many is there twice."""
    import duckdb

    folder, store = scratch / "corrected", scratch / "corrected-store"
    generate(binary, folder, messages, "parquet", scratch)
    sends, corrected = literal(str(folder / "sends.parquet")), folder / "corrected.parquet"
    write(duckdb.connect(), f"FROM {sends} UNION ALL (FROM {sends} LIMIT 1)", corrected)
    measure([binary, "--store", store, "ingest", f"sends={corrected}"], scratch)
    query = "SELECT count(*) AS rows, count(DISTINCT message_id) AS messages FROM message_facts"
    (found,) = json.loads(measure([binary, "--store", store, "sql", "--format", "json", query], scratch).output)
    words = f"{messages:,} messages, one of them corrected: {found['rows']:,} rows of facts of {found['messages']:,} messages"
    return found == {"rows": messages, "messages": messages}, words


def run(binary: Path, messages: int, scratch: Path) -> None:
    """Generates logs, stirs them, and checks both folders; ends the program with status 1 where something differs."""
    generated, stirred = scratch / "generated", scratch / "stirred"
    generate(binary, generated, messages, "parquet", scratch)
    stir(generated, stirred)
    holds, line = check_correction(binary, READ_IN_PARTS, scratch)
    print(line, flush=True)
    failed = int(not holds)
    for folder in (generated, stirred):
        for holds, line in check(binary, folder, folder.name, scratch):
            print(line, flush=True)
            failed += not holds
    if failed:
        raise SystemExit(f"{failed} checks found features that differ")
