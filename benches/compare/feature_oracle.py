"""The features of recipients by other means than sendlift's: DuckDB over the raw logs; also the script that runs it.

    feature_oracle.py FOLDER OUT --at MOMENT      Parquet logs in, a Parquet file of features out

Written from docs/metrics.md and docs/scores.md and not from the engine: the latest row of every event, delivery by the worst
part, the machine-click rules with their default settings, credit by last touch within seven days. `MOMENT` is ISO 8601. Every log
is one file; a later row of it was received later. The last line of the output is a JSON object with the features' names in their
order.
"""

import argparse
import json
import re
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

DAY = 86_400_000_000
# Every column that is read, with its type; a log may lack any.
COLUMNS = {
    "sends": "message_id VARCHAR, campaign_id VARCHAR, variant VARCHAR, recipient_id VARCHAR, channel VARCHAR, "
    "message_type VARCHAR, sent_at TIMESTAMPTZ, text VARCHAR, parts BIGINT, time_zone VARCHAR",
    "deliveries": "message_id VARCHAR, part_no BIGINT, status VARCHAR, \"at\" TIMESTAMPTZ",
    "clicks": "click_id VARCHAR, message_id VARCHAR, link VARCHAR, clicked_at TIMESTAMPTZ, user_agent VARCHAR, ip_hash VARCHAR, "
    "method VARCHAR, bot_score DOUBLE",
    "conversions": "conversion_id VARCHAR, recipient_id VARCHAR, message_id VARCHAR, occurred_at TIMESTAMPTZ, value DOUBLE, "
    "currency VARCHAR, refunded_at TIMESTAMPTZ",
    "replies": "reply_id VARCHAR, recipient_id VARCHAR, message_id VARCHAR, received_at TIMESTAMPTZ, text VARCHAR, "
    "keyword_class VARCHAR",
    "consents": "consent_id VARCHAR, recipient_id VARCHAR, status VARCHAR, captured_at TIMESTAMPTZ",
    "recipients": "recipient_id VARCHAR, time_zone VARCHAR, signed_up_at TIMESTAMPTZ, updated_at TIMESTAMPTZ",
}
NO_ATTRIBUTES = {"recipient_id", "time_zone", "time_zone_source", "signed_up_at", "birthday", "updated_at", "row"}
STOP_WORDS = (
    "STOP", "STOPALL", "STOP ALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPT OUT", "OPTOUT", "TD", "T", "N", "R",
    "OPT-OUT", "STOP STOP", "STOP PLEASE", "PLEASE STOP", "退订", "拒收", "取消订阅", "退訂", "取消訂閱", "停止", "回复T", "回复TD", "回复退订",
    "退订T", "T退订", "TD退订",
)  # fmt: skip
GIVEN = ("granted", "given", "active", "opted_in", "subscribed", "confirmed")
MACHINES = (
    "google-pagerenderer|googlebot|bingbot|bingpreview|facebookexternalhit|facebot|twitterbot|slackbot|telegrambot|whatsapp/"
    "|skypeuripreview|linkedinbot|discordbot|applebot|yandexbot|baiduspider|petalbot|bytespider|headlesschrome|phantomjs"
    "|python-requests|python-urllib|curl/|wget/|go-http-client|okhttp|java/|barracuda|proofpoint|mimecast|safelinks|urldefense"
    "|link ?preview|preview ?bot|crawler|spider"
)
LINK = re.compile(r"https?://|www\.|[a-z0-9-]+\.[a-z]{2,}/[a-z0-9]", re.IGNORECASE)
CALL_TO_ACTION = re.compile(
    r"\b(shop|buy|order|book|claim|get|save|redeem|click|tap|visit|reply|call|join|try|start|use|see|discover|download|register"
    r"|sign up)\b|点击|立即|马上|抢购|购买|领取|查看|下单|回复|注册|下载|commandez|profitez|cliquez|jetzt|bestellen|klicken"
    r"|αγοράστε|πατήστε",
    re.IGNORECASE,
)
WITH_LINKS = re.compile(r"[!-~]*/[!-~]*")
# A text is told by so many of its campaign and variant, the first ones.
TEXTS = 100
PRIOR_MESSAGES = 10

# Each feature of the messages, conversions, replies and consents, in the order of the file. `age` is in days.
MESSAGES = {
    "messages": "count(*)",
    "messages_7d": "count(*) FILTER (age <= 7)",
    "messages_30d": "count(*) FILTER (age <= 30)",
    "messages_90d": "count(*) FILTER (age <= 90)",
    "delivered": "count(*) FILTER (delivered <= $at)",
    "days_since_message": "min(age)",
    "days_since_first_message": "max(age)",
    "parts_mean": "avg(parts)",
    "clicks": "count(click)",
    "clicks_90d": "count(click) FILTER (age <= 90)",
    "days_since_click": f"min($at - click) / {DAY}.0",
    "click_delay_hours": "avg(click - sent) / 3600000000.0",
    "clicks_night": "count(*) FILTER (click_hour < 6)",
    "clicks_morning": "count(*) FILTER (click_hour >= 6 AND click_hour < 12)",
    "clicks_afternoon": "count(*) FILTER (click_hour >= 12 AND click_hour < 18)",
    "clicks_evening": "count(*) FILTER (click_hour >= 18)",
    "clicks_phone": "count(*) FILTER (device IN ('ios', 'android'))",
    "clicks_desktop": "count(*) FILTER (device = 'desktop')",
    "converted": "count(*) FILTER (converted <= $at)",
}
CONVERSIONS = {
    "conversions": "count(*)",
    "conversions_30d": "count(*) FILTER (age <= 30)",
    "conversions_90d": "count(*) FILTER (age <= 90)",
    "days_since_conversion": "min(age)",
    "days_since_first_conversion": "max(age)",
    "monetary_value": "coalesce(sum(net), 0)",
    "monetary_value_90d": "coalesce(sum(net) FILTER (age <= 90), 0)",
    "order_value_mean": "avg(net)",
    "refunds": "count(*) FILTER (refunded)",
}
REPLIES = {
    "replies": "count(*)",
    "replies_90d": "count(*) FILTER (age <= 90)",
    "days_since_reply": "min(age)",
}
CONSENTS = {"days_since_opt_in": "min(age)", "days_since_first_opt_in": "max(age)"}
OF_TEXTS = ("text_characters", "text_link_share", "text_call_to_action_share", "text_personalised_share")
# A recipient without any row has none of these, and a zero of every other.
WITHOUT = {
    name
    for features in (MESSAGES, CONVERSIONS, REPLIES, CONSENTS)
    for name in features
    if name.startswith("days_since") or name.endswith("_mean") or name == "click_delay_hours"
}


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


class Oracle:
    """The logs of a folder as of a moment (microseconds since 1970), step by step in tables of a DuckDB database."""

    def __init__(self, folder: Path, at: int):
        import duckdb

        self.at = at
        self.database = duckdb.connect()
        self.database.execute("SET TimeZone = 'UTC'")
        for log, columns in COLUMNS.items():
            path = folder / f"{log}.parquet"
            self.run(f"CREATE TABLE raw_{log} ({columns}, row BIGINT)")
            if path.exists():
                self.run(
                    f"CREATE OR REPLACE TABLE raw_{log} AS FROM raw_{log} UNION ALL BY NAME SELECT * EXCLUDE (file_row_number), "
                    f"file_row_number AS row FROM read_parquet({literal(str(path))}, file_row_number = true)"
                )

    def run(self, query: str) -> list[tuple[Any, ...]]:
        """Runs a statement, `$at` being the moment."""
        return self.database.execute(query.replace("$at", str(self.at))).fetchall()

    def latest(self, log: str, key: str) -> None:
        """A table of the latest received row of every event."""
        self.run(
            f"CREATE TABLE {log} AS FROM raw_{log} QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY row DESC) = 1"
        )

    def contacts(self) -> bool:
        """Periods in which a contact's row is valid; tells whether any contact has several."""
        self.run(
            """
            CREATE TABLE contacts AS
            SELECT *, CASE WHEN row_number() OVER timeline = 1 THEN -9e18::BIGINT ELSE since END AS valid_from,
                coalesce(lead(since) OVER timeline, 9e18::BIGINT) AS valid_to
            FROM (
                SELECT *, coalesce(epoch_us(updated_at), -9e18::BIGINT) AS since FROM raw_recipients
                QUALIFY row_number() OVER (PARTITION BY recipient_id, since ORDER BY row DESC) = 1
            )
            WINDOW timeline AS (PARTITION BY recipient_id ORDER BY since)
            """
        )
        ((several,),) = self.run("SELECT count(*) > count(DISTINCT recipient_id) FROM raw_recipients")
        return bool(several)

    def deliveries(self) -> None:
        """When a message was delivered, if it was in the end."""
        self.run(
            """
            CREATE TABLE delivered AS
            WITH ranked AS (
                SELECT message_id, part_no, epoch_us("at") AS happened, list_position(['accepted', 'queued', 'sent', 'expired', 'canceled',
                    'rejected', 'failed', 'undelivered', 'delivered', 'read'], status) AS rank
                FROM raw_deliveries JOIN sends USING (message_id)
                WHERE "at" IS NULL OR "at" >= date_trunc('day', sent_at) - INTERVAL 7 DAY
            ), parts AS (
                SELECT message_id, part_no, max(coalesce(rank, 0)) AS rank FROM ranked GROUP BY ALL
            ), fates AS (
                SELECT message_id, CASE WHEN max(part_no) > 1
                    THEN greatest(min(rank) FILTER (part_no IS NOT NULL), max(rank) FILTER (part_no IS NULL)) ELSE max(rank) END AS fate
                FROM parts GROUP BY message_id
            )
            SELECT message_id, min(happened) FILTER (rank >= 9) AS first_delivered, any_value(fate) >= 9 AS is_delivered
            FROM ranked JOIN fates USING (message_id) GROUP BY message_id
            """
        )

    def clicks(self) -> None:
        """The first click by a person on each message, and its device."""
        self.run(
            f"""
            CREATE TABLE first_clicks AS
            WITH taps AS (
                SELECT *, epoch_us(clicked_at) AS tapped FROM raw_clicks
                QUALIFY row_number() OVER (
                    PARTITION BY coalesce(click_id, message_id || '|' || tapped || '|' || coalesce(link, '')) ORDER BY row DESC
                ) = 1 AND message_id IS NOT NULL
            ), bursts AS (
                SELECT message_id, min(opened) AS began FROM (SELECT message_id, link, min(tapped) AS opened FROM taps GROUP BY ALL)
                GROUP BY message_id HAVING count(*) > 1 AND max(opened) - min(opened) <= 1000000
            ), crowds AS (
                SELECT ip_hash, date_trunc('hour', clicked_at) AS hour FROM raw_clicks WHERE ip_hash IS NOT NULL
                GROUP BY ALL HAVING count(DISTINCT message_id) >= 30
            ), people AS (
                SELECT t.* FROM taps AS t
                    LEFT JOIN delivered AS d USING (message_id) LEFT JOIN bursts AS b USING (message_id)
                    LEFT JOIN crowds AS c ON c.ip_hash = t.ip_hash AND c.hour = date_trunc('hour', t.clicked_at)
                WHERE NOT (
                    coalesce(bot_score >= 0.5, false)
                    OR coalesce(regexp_matches(user_agent, {literal(MACHINES)}, 'i'), false)
                    OR coalesce(upper(method) = 'HEAD', false)
                    OR coalesce(tapped >= first_delivered AND tapped < first_delivered + 3000000, false)
                    OR coalesce(tapped - began <= 1000000, false)
                    OR c.ip_hash IS NOT NULL
                )
            )
            SELECT message_id, tapped AS click,
                CASE WHEN regexp_matches(user_agent, 'iphone|ipad|ipod', 'i') THEN 'ios'
                    WHEN regexp_matches(user_agent, 'android|harmonyos', 'i') THEN 'android'
                    WHEN regexp_matches(user_agent, 'windows nt|macintosh|x11', 'i') THEN 'desktop'
                    WHEN user_agent IS NOT NULL THEN 'other' END AS device
            FROM people QUALIFY row_number() OVER (PARTITION BY message_id ORDER BY tapped, device) = 1
            """
        )

    def credits(self) -> None:
        """When each message was first credited with a conversion."""
        self.run(
            f"""
            CREATE TABLE credited AS
            WITH touches AS (
                SELECT conversion_id, c.occurred_at, arg_max(s.message_id, (s.sent_at, s.message_id)) AS message_id
                FROM conversions AS c JOIN sends AS s ON s.recipient_id = c.recipient_id
                WHERE c.message_id IS NULL AND epoch_us(c.occurred_at) - epoch_us(s.sent_at) BETWEEN 0 AND {7 * DAY}
                GROUP BY ALL
            )
            SELECT message_id, min(epoch_us(occurred_at)) AS converted FROM (
                SELECT message_id, occurred_at FROM conversions WHERE message_id IS NOT NULL
                UNION ALL SELECT message_id, occurred_at FROM touches
            ) GROUP BY message_id
            """
        )

    def texts(self) -> bool:
        """What the texts of each campaign and variant are like; tells whether there are any."""
        texts = defaultdict(list)
        rows = self.run(
            f"""
            SELECT campaign_id, variant, text FROM raw_sends WHERE text IS NOT NULL AND epoch_us(sent_at) <= $at
            QUALIFY row_number() OVER (PARTITION BY campaign_id, variant ORDER BY sent_at, message_id, row) <= {TEXTS}
            """
        )
        for campaign, variant, text in rows:
            texts[campaign, variant].append(text)
        columns = ", ".join(f"{name} DOUBLE" for name in OF_TEXTS)
        self.run(f"CREATE TABLE texts (campaign_id VARCHAR, variant VARCHAR, {columns})")
        for kind, of_kind in texts.items():
            n = len(of_kind)
            told = (
                sum(len(text) for text in of_kind) / n,
                sum(bool(LINK.search(text)) for text in of_kind) / n,
                sum(bool(CALL_TO_ACTION.search(text)) for text in of_kind) / n,
                float(len({WITH_LINKS.sub("", text) for text in of_kind}) > 1),
            )
            self.database.execute("INSERT INTO texts VALUES (?, ?, ?, ?, ?, ?)", [*kind, *told])
        return bool(texts)

    def messages(self) -> None:
        """A row a message sent by the moment, with only what had happened by then."""
        self.run(
            f"""
            CREATE TABLE zoned AS
            SELECT s.message_id, f.click, f.device, coalesce(s.time_zone, k.time_zone) AS zone
            FROM first_clicks AS f JOIN sends AS s USING (message_id)
                LEFT JOIN contacts AS k ON k.recipient_id = s.recipient_id
                AND epoch_us(s.sent_at) >= k.valid_from AND epoch_us(s.sent_at) < k.valid_to
            WHERE f.click <= $at
            """
        )
        # A zone that nobody knows has no hours, and DuckDB refuses it.
        self.run("CREATE TABLE zones AS SELECT DISTINCT zone FROM zoned WHERE zone IN (SELECT name FROM pg_timezone_names())")
        self.run("CREATE TABLE known_zone AS SELECT message_id, click, zone FROM zoned WHERE zone IN (FROM zones)")
        self.run(
            "CREATE TABLE hours AS SELECT message_id, hour(timezone(zone, make_timestamptz(click))) AS click_hour FROM known_zone"
        )
        texts = ", ".join(f"CASE WHEN age <= 90 THEN t.{name} END AS {name}" for name in OF_TEXTS)
        self.run(
            f"""
            CREATE TABLE messages AS
            SELECT s.recipient_id, s.channel, s.message_type, s.parts, epoch_us(s.sent_at) AS sent, ($at - sent) / {DAY}.0 AS age,
                CASE WHEN d.is_delivered THEN d.first_delivered END AS delivered, z.click, z.device, h.click_hour,
                CASE WHEN c.converted <= $at THEN c.converted END AS converted, {texts}
            FROM sends AS s LEFT JOIN delivered AS d USING (message_id) LEFT JOIN zoned AS z USING (message_id)
                LEFT JOIN hours AS h USING (message_id) LEFT JOIN credited AS c USING (message_id)
                LEFT JOIN texts AS t ON t.campaign_id = s.campaign_id AND t.variant IS NOT DISTINCT FROM s.variant
            WHERE epoch_us(s.sent_at) <= $at
            """
        )

    def kinds(self) -> list[tuple[str, str]]:
        """The channels and types of the messages, where there are several."""
        found = []
        for column in ("channel", "message_type"):
            values = [value for (value,) in self.run(f"SELECT DISTINCT {column} FROM messages ORDER BY 1") if value is not None]
            found += [(column, value) for value in values if len(values) > 1]
        return found

    def write(self, out: Path) -> list[str]:
        """Writes the features of everybody known; returns their names in order."""
        self.latest("sends", "message_id")
        has_history = self.contacts()
        self.deliveries()
        self.clicks()
        self.latest("conversions", "conversion_id")
        self.credits()
        has_texts = self.texts()
        self.messages()
        self.latest("replies", "coalesce(reply_id, coalesce(recipient_id, message_id) || '|' || epoch_us(received_at))")
        self.latest("consents", "coalesce(consent_id, recipient_id || '|' || epoch_us(captured_at))")
        ranked = self.run(
            "SELECT currency FROM conversions WHERE value IS NOT NULL AND epoch_us(occurred_at) <= $at GROUP BY currency "
            "ORDER BY count(*) DESC, currency LIMIT 1"
        )
        currency = literal(ranked[0][0]) if ranked and ranked[0][0] is not None else "NULL"
        of_kinds, rates = {}, {}
        whole = [("click_rate", "messages", "clicks", "true"), ("conversion_rate", "messages", "converted", "true")]
        for column, value in self.kinds():
            condition = f"{column} = {literal(value)}"
            n, clicked, converted = (f"{what} {column} {value}" for what in ("n", "clicked", "converted"))
            of_kinds[n] = f"count(*) FILTER ({condition})"
            of_kinds[clicked] = f"count(click) FILTER ({condition})"
            of_kinds[converted] = f"count(converted) FILTER ({condition})"
            whole.append((f"click_rate_{column}_{value}", n, clicked, condition))
            whole.append((f"conversion_rate_{column}_{value}", n, converted, condition))
        for name, n, hits, condition in whole:
            what = "click" if name.startswith("click") else "converted"
            ((base,),) = self.run(f"SELECT count({what})::DOUBLE / greatest(count(*), 1) FROM messages WHERE {condition}")
            prior = PRIOR_MESSAGES * (base or 0.0)
            rates[name] = f'(coalesce(m."{hits}", 0) + {prior!r}::DOUBLE) / (coalesce(m."{n}", 0) + {PRIOR_MESSAGES}.0)'
        texts = {name: f"avg({name})" for name in OF_TEXTS} if has_texts else {}

        def table(features: dict[str, str], rows: str) -> str:
            columns = ", ".join(f'{sql} AS "{name}"' for name, sql in features.items())
            return f"(SELECT recipient_id, {columns} FROM ({rows}) GROUP BY recipient_id)"

        age = f"($at - epoch_us(%s)) / {DAY}.0 AS age"
        plain = r"regexp_replace(text, '^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$', '', 'g')"
        stop = f"upper({plain}) IN ({', '.join(map(literal, STOP_WORDS))})"
        tables = {
            "m": table(MESSAGES | texts | of_kinds, "FROM messages"),
            "c": table(
                CONVERSIONS,
                f"SELECT *, {age % 'occurred_at'}, coalesce(epoch_us(refunded_at) <= $at, false) AS refunded, "
                f"CASE WHEN currency IS NOT DISTINCT FROM {currency} THEN CASE WHEN refunded THEN 0 ELSE value END END AS net "
                "FROM conversions WHERE epoch_us(occurred_at) <= $at",
            ),
            "r": table(
                REPLIES,
                f"SELECT *, {age % 'received_at'} FROM replies WHERE epoch_us(received_at) <= $at "
                f"AND NOT coalesce(keyword_class = 'stop', {stop}, false)",
            ),
            "o": table(
                CONSENTS,
                f"SELECT *, {age % 'captured_at'} FROM consents WHERE epoch_us(captured_at) <= $at "
                f"AND status IN ({', '.join(map(literal, GIVEN))})",
            ),
        }
        valid = "valid_from <= $at AND $at < valid_to AND " if has_history else ""
        known = f"SELECT * FROM contacts WHERE {valid}(signed_up_at IS NULL OR epoch_us(signed_up_at) <= $at)"
        columns = []
        for alias, features in (("m", MESSAGES), ("c", CONVERSIONS), ("r", REPLIES), ("o", CONSENTS), ("m", texts)):
            for name in features:
                value = f'{alias}."{name}"'
                value = value if name in WITHOUT or name in texts else f"coalesce({value}, 0)"
                columns.append((name, f"{value}::DOUBLE"))
        columns += rates.items()
        columns.append(("days_since_sign_up", f"($at - epoch_us(k.signed_up_at)) / {DAY}.0"))
        described = self.database.execute("SELECT * FROM raw_recipients LIMIT 0").description
        columns += [(name, f'k."{name}"') for name, *_ in described if name not in NO_ATTRIBUTES]
        selected = ", ".join(f'{sql} AS "{name}"' for name, sql in columns)
        joins = " ".join(f"LEFT JOIN {tables[alias]} AS {alias} USING (recipient_id)" for alias in "mcro")
        self.run(
            f"COPY (SELECT recipient_id, {selected} FROM (SELECT recipient_id FROM ({known}) UNION SELECT recipient_id FROM messages) "
            f"AS e LEFT JOIN ({known}) AS k USING (recipient_id) {joins} ORDER BY recipient_id) TO {literal(str(out))} (FORMAT parquet)"
        )
        return [name for name, _ in columns]


def microseconds(moment: str) -> int:
    """ISO 8601 to microseconds since 1970."""
    at = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return round(at.timestamp() * 1_000_000)


def main() -> None:
    """The body of the process."""
    parser = argparse.ArgumentParser(description="Features by DuckDB from raw logs; compare.py runs this.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--at", required=True)
    arguments = parser.parse_args()
    print(json.dumps({"features": Oracle(arguments.folder, microseconds(arguments.at)).write(arguments.out)}))


if __name__ == "__main__":
    main()
