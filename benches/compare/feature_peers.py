"""The features of recipients by the peers, over a folder of Parquet logs; also the script that their processes run.

    feature_peers.py PEER FOLDER OUT --at MICROSECONDS --threads N

One row a recipient with the columns of `sendlift features`, by the most direct query that each library offers. Left out is what the
generated logs do not need or what would be a program of its own: corrections of earlier rows, histories of contacts, machine-click
rules (any click counts), the worst part of a message (any receipt that says delivered counts), several currencies. The last line
of the output is a JSON object: the library's `version`, the `seconds` without the start of Python and the import, and `rows`.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DAY = 86_400_000_000
WEEK = 7 * DAY
PRIOR_MESSAGES = 10
LINK = r"https?://|www\.|[a-z0-9-]+\.[a-z]{2,}/[a-z0-9]"
CALL_TO_ACTION = (
    r"\b(shop|buy|order|book|claim|get|save|redeem|click|tap|visit|reply|call|join|try|start|use|see|discover|download|register"
    r"|sign up)\b|点击|立即|马上|抢购|购买|领取|查看|下单|回复|注册|下载|commandez|profitez|cliquez|jetzt|bestellen|klicken"
    r"|αγοράστε|πατήστε"
)
# What differs from sendlift's by the rules that are left out.
NOT_THE_SAME = ("delivered", "click", "days_since_click")
# Version, seconds of the query alone, rows written.
Answer = tuple[str, float, int]


def duckdb_features(folder: Path, out: Path, at: int, threads: int) -> Answer:
    """By DuckDB, in one statement."""
    import duckdb

    def text(path: Path) -> str:
        return "'" + str(path).replace("'", "''") + "'"

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as spill:
        connection = duckdb.connect(config={"threads": threads, "temp_directory": spill})
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET TimeZone = 'UTC'")
        for log in ("sends", "deliveries", "clicks", "conversions", "replies", "consents", "recipients"):
            connection.execute(f"CREATE VIEW {log} AS SELECT * FROM read_parquet({text(folder / f'{log}.parquet')})")
        age = f"({at} - epoch_us(%s)) / {DAY}.0"
        connection.execute(
            f"""
            COPY (
                WITH sent AS (
                    SELECT message_id, recipient_id, campaign_id, variant, parts, epoch_us(sent_at) AS sent
                    FROM sends WHERE epoch_us(sent_at) <= {at}
                ), delivered AS (
                    SELECT DISTINCT message_id FROM deliveries WHERE status IN ('delivered', 'read') AND epoch_us("at") <= {at}
                ), clicked AS (
                    SELECT message_id, min(epoch_us(clicked_at)) AS click, arg_min(user_agent, clicked_at) AS agent
                    FROM clicks WHERE epoch_us(clicked_at) <= {at} GROUP BY message_id
                ), credited AS (
                    SELECT DISTINCT message_id FROM (
                        SELECT message_id FROM conversions WHERE message_id IS NOT NULL AND epoch_us(occurred_at) <= {at}
                        UNION ALL
                        SELECT arg_max(s.message_id, (s.sent, s.message_id))
                        FROM conversions AS c JOIN sent AS s ON s.recipient_id = c.recipient_id
                        WHERE c.message_id IS NULL AND epoch_us(c.occurred_at) <= {at}
                            AND epoch_us(c.occurred_at) - s.sent BETWEEN 0 AND {WEEK}
                        GROUP BY c.conversion_id
                    )
                ), numbered AS (
                    SELECT campaign_id, variant, text FROM sends WHERE text IS NOT NULL AND epoch_us(sent_at) <= {at}
                    QUALIFY row_number() OVER (PARTITION BY campaign_id, variant ORDER BY sent_at, message_id) <= 100
                ), texts AS (
                    SELECT campaign_id, variant, avg(length(text)) AS characters,
                        avg(regexp_matches(text, '{LINK}', 'i')::INT) AS link,
                        avg(regexp_matches(text, '{CALL_TO_ACTION}', 'i')::INT) AS call_to_action,
                        (count(DISTINCT regexp_replace(text, '[!-~]*/[!-~]*', '', 'g')) > 1)::DOUBLE AS personalised
                    FROM numbered GROUP BY ALL
                ), messages AS (
                    SELECT s.recipient_id, s.parts, s.sent, ({at} - s.sent) / {DAY}.0 AS age, d.message_id IS NOT NULL AS arrived, k.click,
                        CASE WHEN regexp_matches(k.agent, 'iphone|ipad|ipod|android|harmonyos', 'i') THEN 'phone'
                            WHEN regexp_matches(k.agent, 'windows nt|macintosh|x11', 'i') THEN 'desktop' END AS device,
                        CASE WHEN k.click IS NOT NULL THEN hour(timezone(r.time_zone, make_timestamptz(k.click))) END AS click_hour,
                        v.message_id IS NOT NULL AS converted, t.characters, t.link, t.call_to_action, t.personalised
                    FROM sent AS s LEFT JOIN delivered AS d USING (message_id) LEFT JOIN clicked AS k USING (message_id)
                        LEFT JOIN credited AS v USING (message_id) LEFT JOIN recipients AS r ON r.recipient_id = s.recipient_id
                        LEFT JOIN texts AS t ON t.campaign_id = s.campaign_id AND t.variant = s.variant
                ), m AS (
                    SELECT recipient_id, count(*) AS messages, count(*) FILTER (age <= 7) AS messages_7d,
                        count(*) FILTER (age <= 30) AS messages_30d, count(*) FILTER (age <= 90) AS messages_90d,
                        count(*) FILTER (arrived) AS delivered, min(age) AS days_since_message,
                        max(age) AS days_since_first_message, avg(parts) AS parts_mean, count(click) AS clicks,
                        count(click) FILTER (age <= 90) AS clicks_90d, min({at} - click) / {DAY}.0 AS days_since_click,
                        avg(click - sent) / 3600000000.0 AS click_delay_hours,
                        count(*) FILTER (click_hour < 6) AS clicks_night,
                        count(*) FILTER (click_hour BETWEEN 6 AND 11) AS clicks_morning,
                        count(*) FILTER (click_hour BETWEEN 12 AND 17) AS clicks_afternoon,
                        count(*) FILTER (click_hour >= 18) AS clicks_evening, count(*) FILTER (device = 'phone') AS clicks_phone,
                        count(*) FILTER (device = 'desktop') AS clicks_desktop, count(*) FILTER (converted) AS converted,
                        avg(characters) FILTER (age <= 90) AS text_characters, avg(link) FILTER (age <= 90) AS text_link_share,
                        avg(call_to_action) FILTER (age <= 90) AS text_call_to_action_share,
                        avg(personalised) FILTER (age <= 90) AS text_personalised_share
                    FROM messages GROUP BY recipient_id
                ), base AS (
                    SELECT {PRIOR_MESSAGES} * sum(clicks) / sum(messages) AS clicked,
                        {PRIOR_MESSAGES} * sum(converted) / sum(messages) AS converted FROM m
                ), c AS (
                    SELECT recipient_id, count(*) AS conversions, count(*) FILTER (age <= 30) AS conversions_30d,
                        count(*) FILTER (age <= 90) AS conversions_90d, min(age) AS days_since_conversion,
                        max(age) AS days_since_first_conversion, sum(net) AS monetary_value,
                        sum(net) FILTER (age <= 90) AS monetary_value_90d, avg(net) AS order_value_mean,
                        count(*) FILTER (refunded) AS refunds
                    FROM (SELECT recipient_id, {age % "occurred_at"} AS age, coalesce(epoch_us(refunded_at) <= {at}, false) AS refunded,
                        CASE WHEN refunded THEN 0 ELSE value END AS net FROM conversions WHERE epoch_us(occurred_at) <= {at})
                    GROUP BY recipient_id
                ), r AS (
                    SELECT recipient_id, count(*) AS replies, count(*) FILTER (age <= 90) AS replies_90d, min(age) AS days_since_reply
                    FROM (SELECT recipient_id, {age % "received_at"} AS age FROM replies
                        WHERE epoch_us(received_at) <= {at} AND keyword_class <> 'stop') GROUP BY recipient_id
                ), o AS (
                    SELECT recipient_id, min(age) AS days_since_opt_in, max(age) AS days_since_first_opt_in
                    FROM (SELECT recipient_id, {age % "captured_at"} AS age FROM consents
                        WHERE epoch_us(captured_at) <= {at} AND status = 'granted') GROUP BY recipient_id
                )
                SELECT coalesce(k.recipient_id, m.recipient_id) AS recipient_id, m.* EXCLUDE (recipient_id), c.* EXCLUDE (recipient_id),
                    r.* EXCLUDE (recipient_id), o.* EXCLUDE (recipient_id),
                    (coalesce(m.clicks, 0) + base.clicked) / (coalesce(m.messages, 0) + {PRIOR_MESSAGES}.0) AS click_rate,
                    (coalesce(m.converted, 0) + base.converted) / (coalesce(m.messages, 0) + {PRIOR_MESSAGES}.0) AS conversion_rate,
                    {age % "k.signed_up_at"} AS days_since_sign_up,
                    k.* EXCLUDE (recipient_id, time_zone, time_zone_source, signed_up_at, birthday)
                FROM (FROM recipients WHERE signed_up_at IS NULL OR epoch_us(signed_up_at) <= {at}) AS k
                    FULL JOIN m ON m.recipient_id = k.recipient_id
                    LEFT JOIN c ON c.recipient_id = coalesce(k.recipient_id, m.recipient_id)
                    LEFT JOIN r ON r.recipient_id = coalesce(k.recipient_id, m.recipient_id)
                    LEFT JOIN o ON o.recipient_id = coalesce(k.recipient_id, m.recipient_id), base
                ORDER BY 1
            ) TO {text(out)} (FORMAT parquet)
            """
        )
        seconds = time.perf_counter() - start
        ((rows,),) = connection.execute(f"SELECT count(*) FROM read_parquet({text(out)})").fetchall()
        connection.close()
    return duckdb.__version__, seconds, rows


def polars_features(folder: Path, out: Path, at: int, threads: int) -> Answer:
    """By Polars, lazily, on the streaming engine."""
    # Polars reads the size of its thread pool when it is imported.
    os.environ["POLARS_MAX_THREADS"] = str(threads)
    import polars as pl

    start = time.perf_counter()

    def scan(log: str, moment: str) -> Any:
        logs = pl.scan_parquet(folder / f"{log}.parquet").with_columns(happened=pl.col(moment).dt.epoch("us"))
        return logs.filter(pl.col("happened") <= at).with_columns(age=(at - pl.col("happened")) / DAY)

    def count(condition: Any) -> Any:
        return condition.sum().cast(pl.Float64)

    age = pl.col("age")
    contacts = pl.scan_parquet(folder / "recipients.parquet")
    sends = scan("sends", "sent_at").rename({"happened": "sent"})
    arrived = scan("deliveries", "at").filter(pl.col("status").is_in(["delivered", "read"])).select("message_id").unique()
    clicked = (
        scan("clicks", "clicked_at")
        .group_by("message_id")
        .agg(click=pl.col("happened").min(), agent=pl.col("user_agent").sort_by("happened").first())
    )
    conversions = scan("conversions", "occurred_at")
    since_send = pl.col("happened") - pl.col("sent")
    touched = (
        conversions.filter(pl.col("message_id").is_null())
        .select("conversion_id", "recipient_id", "happened")
        .join(sends.select("message_id", "recipient_id", "sent"), on="recipient_id")
        .filter(since_send.is_between(0, WEEK))
        .group_by("conversion_id")
        .agg(pl.col("message_id").sort_by("sent", "message_id").last())
    )
    credited = pl.concat([conversions.select("message_id").drop_nulls(), touched.select("message_id")]).unique()
    text = pl.col("text")
    texts = (
        sends.filter(text.is_not_null())
        .select("campaign_id", "variant", "text", "sent", "message_id")
        .group_by("campaign_id", "variant")
        .agg(text.sort_by("sent", "message_id").head(100))
        .explode("text")
        .group_by("campaign_id", "variant")
        .agg(
            text_characters=text.str.len_chars().mean(),
            text_link_share=text.str.contains(f"(?i){LINK}").mean(),
            text_call_to_action_share=text.str.contains(f"(?i){CALL_TO_ACTION}").mean(),
            text_personalised_share=(text.str.replace_all(r"[!-~]*/[!-~]*", "").n_unique() > 1).cast(pl.Float64),
        )
    )
    messages = (
        sends.select("message_id", "recipient_id", "campaign_id", "variant", "parts", "sent", "age")
        .join(arrived.with_columns(arrived=True), on="message_id", how="left")
        .join(clicked, on="message_id", how="left")
        .join(credited.with_columns(converted=True), on="message_id", how="left")
        .join(contacts.select("recipient_id", "time_zone"), on="recipient_id", how="left")
        .join(texts, on=["campaign_id", "variant"], how="left", nulls_equal=True)
    )
    # A conversion of time zones takes one zone at a time.
    zones = contacts.select(pl.col("time_zone").unique()).collect()["time_zone"].drop_nulls().sort()
    moment = pl.from_epoch("click", "us").dt.replace_time_zone("UTC")
    hour = pl.coalesce(
        [pl.when(pl.col("time_zone") == zone).then(moment.dt.convert_time_zone(zone).dt.hour()) for zone in zones]
    )
    agent, click, is_click = pl.col("agent"), pl.col("click"), pl.col("click").is_not_null()
    clicks = messages.filter(is_click).with_columns(hour=hour)
    of_clicks = clicks.group_by("recipient_id").agg(
        clicks=pl.len(),
        clicks_90d=count(age <= 90),
        days_since_click=(at - click.max()) / DAY,
        click_delay_hours=((click - pl.col("sent")) / 3_600_000_000).mean(),
        clicks_night=count(pl.col("hour") < 6),
        clicks_morning=count(pl.col("hour").is_between(6, 11)),
        clicks_afternoon=count(pl.col("hour").is_between(12, 17)),
        clicks_evening=count(pl.col("hour") >= 18),
        clicks_phone=count(agent.str.contains("(?i)iphone|ipad|ipod|android|harmonyos")),
        clicks_desktop=count(agent.str.contains("(?i)windows nt|macintosh|x11")),
    )
    of_texts = ("text_characters", "text_link_share", "text_call_to_action_share", "text_personalised_share")
    of_messages = messages.group_by("recipient_id").agg(
        messages=pl.len(),
        messages_7d=count(age <= 7),
        messages_30d=count(age <= 30),
        messages_90d=count(age <= 90),
        delivered=pl.col("arrived").count(),
        days_since_message=age.min(),
        days_since_first_message=age.max(),
        parts_mean=pl.col("parts").mean(),
        converted=pl.col("converted").count(),
        **{name: pl.col(name).filter(age <= 90).mean() for name in of_texts},
    )
    refunded = (pl.col("refunded_at").dt.epoch("us") <= at).fill_null(False)
    net = pl.col("net")
    of_conversions = (
        conversions.with_columns(net=pl.when(refunded).then(0.0).otherwise(pl.col("value")), refunded=refunded)
        .group_by("recipient_id")
        .agg(
            conversions=pl.len(),
            conversions_30d=count(age <= 30),
            conversions_90d=count(age <= 90),
            days_since_conversion=age.min(),
            days_since_first_conversion=age.max(),
            monetary_value=net.sum(),
            monetary_value_90d=net.filter(age <= 90).sum(),
            order_value_mean=net.mean(),
            refunds=count(pl.col("refunded")),
        )
    )
    of_replies = (
        scan("replies", "received_at")
        .filter(pl.col("keyword_class") != "stop")
        .group_by("recipient_id")
        .agg(replies=pl.len(), replies_90d=count(age <= 90), days_since_reply=age.min())
    )
    of_consents = (
        scan("consents", "captured_at")
        .filter(pl.col("status") == "granted")
        .group_by("recipient_id")
        .agg(days_since_opt_in=age.min(), days_since_first_opt_in=age.max())
    )
    signed_up = pl.col("signed_up_at").dt.epoch("us")
    known = contacts.filter(signed_up.is_null() | (signed_up <= at)).with_columns(
        days_since_sign_up=(at - signed_up) / DAY
    )
    whole = known.drop("time_zone", "time_zone_source", "signed_up_at", "birthday").join(
        of_messages, on="recipient_id", how="full", coalesce=True
    )
    for part in (of_clicks, of_conversions, of_replies, of_consents):
        whole = whole.join(part, on="recipient_id", how="left")
    n = pl.col("messages").fill_null(0)

    def rate(what: str) -> Any:
        hits = pl.col(what).fill_null(0)
        return (hits + PRIOR_MESSAGES * hits.sum() / n.sum()) / (n + PRIOR_MESSAGES)

    whole = whole.with_columns(click_rate=rate("clicks"), conversion_rate=rate("converted")).sort("recipient_id")
    whole.sink_parquet(out)
    seconds = time.perf_counter() - start
    return pl.__version__, seconds, pl.scan_parquet(out).select(pl.len()).collect().item()


PEERS: dict[str, Callable[[Path, Path, int, int], Answer]] = {"DuckDB": duckdb_features, "Polars": polars_features}


def main() -> None:
    """The body of a peer's process."""
    parser = argparse.ArgumentParser(description="Features by one peer; compare.py runs this.")
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--at", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    version, seconds, rows = PEERS[arguments.peer](arguments.folder, arguments.out, arguments.at, arguments.threads)
    print(json.dumps({"version": version, "seconds": seconds, "rows": rows}))


if __name__ == "__main__":
    main()
