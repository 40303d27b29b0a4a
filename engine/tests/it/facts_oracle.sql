-- The facts of all messages as one plain query over whole logs: joins, sorts and window functions, and nothing clever.
-- So facts were made before the fold in engine/src/facts/fold; it stays as an oracle that shares no code with the fold.
--
-- The rules are those of docs/metrics.md, under the default settings of engine/src/settings.rs. Moments that are
-- compared or subtracted are microseconds since 1970. The sends must have the attribute `carrier`.

-- Of several sends with one message id the latest received counts.
WITH messages AS (
    SELECT *, arrow_cast(sent_at, 'Int64') AS sent
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY message_id ORDER BY ingested_at DESC, source_file DESC, source_row DESC
        ) AS newest
        FROM sends
    )
    WHERE newest = 1
),

-- Of several rows of a contact with one `updated_at`, or with none, the latest received counts. A row without it is
-- older than any with one: it counts from the year 1.
contact_rows AS (
    SELECT *
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY recipient_id, since ORDER BY ingested_at DESC, source_file DESC, source_row DESC
        ) AS newest
        FROM (
            SELECT *, coalesce(arrow_cast(updated_at, 'Int64'), -62135596800000000) AS since FROM recipients
        )
    )
    WHERE newest = 1
),

-- A contact's row is valid up to the next one's `updated_at`; the first reaches back to the beginning.
contacts AS (
    SELECT recipient_id, country, region, time_zone,
        CASE WHEN place = 1 THEN -62135596800000000 ELSE since END AS valid_from,
        coalesce(following, 253402300799000000) AS valid_to
    FROM (
        SELECT *,
            row_number() OVER (PARTITION BY recipient_id ORDER BY since) AS place,
            lead(since) OVER (PARTITION BY recipient_id ORDER BY since) AS following
        FROM contact_rows
    )
),

-- Terminal stands over intermediate, delivered (9 and more) over every failure (4 to 8), whatever the order of arrival.
ranked AS (
    SELECT *,
        CASE status
            WHEN 'read' THEN 10 WHEN 'delivered' THEN 9 WHEN 'undelivered' THEN 8 WHEN 'failed' THEN 7
            WHEN 'rejected' THEN 6 WHEN 'canceled' THEN 5 WHEN 'expired' THEN 4 WHEN 'sent' THEN 3
            WHEN 'queued' THEN 2 WHEN 'accepted' THEN 1 ELSE 0
        END AS rank
    FROM (
        -- A receipt from before the seventh day before its message's day is none of it.
        SELECT d.*
        FROM deliveries AS d
        LEFT JOIN messages AS m ON m.message_id = d.message_id
        WHERE d.at IS NULL OR m.message_id IS NULL OR d.at >= date_trunc('day', m.sent_at) - INTERVAL '7 days'
    )
),

-- Every receipt counts. Of several codes, carriers and prices the greatest, with its own currency; a code beside "delivered" tells
-- nothing.
receipts AS (
    SELECT message_id, count(*) AS receipts, max(rank) AS rank,
        min(at) FILTER (WHERE rank >= 9) AS delivered_at,
        max(error_code) FILTER (WHERE rank < 9) AS error_code,
        max(carrier) AS carrier, max(price) AS price,
        CASE WHEN max(price) IS NOT NULL THEN first_value(currency ORDER BY price DESC NULLS LAST, currency DESC NULLS LAST) END
            AS currency
    FROM ranked
    GROUP BY message_id
),

-- A message whose receipts name a part above 1 has the rank of its worst part; a receipt without a part speaks for all.
parts AS (
    SELECT message_id,
        min(rank) FILTER (WHERE part_no IS NOT NULL) AS worst,
        max(rank) FILTER (WHERE part_no IS NULL) AS whole
    FROM (
        SELECT message_id, part_no, max(rank) AS rank
        FROM ranked
        WHERE message_id IN (SELECT message_id FROM ranked WHERE part_no > 1)
        GROUP BY message_id, part_no
    )
    GROUP BY message_id
),

fates AS (
    SELECT r.*, coalesce(greatest(p.worst, p.whole), r.rank) AS fate
    FROM receipts AS r
    LEFT JOIN parts AS p ON p.message_id = r.message_id
),

-- A click is known by its id, else by message, moment and link; the latest received row counts. Without a message it
-- counts nowhere.
taps AS (
    SELECT *, arrow_cast(clicked_at, 'Int64') AS tapped
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY coalesce(
                click_id, concat(message_id, '|', arrow_cast(clicked_at, 'Int64'), '|', coalesce(link, ''))
            )
            ORDER BY ingested_at DESC, source_file DESC, source_row DESC
        ) AS newest
        FROM clicks
    )
    WHERE newest = 1 AND message_id IS NOT NULL
),

-- Two or more links of a message first opened all within 1 second (all_links_within_seconds).
bursts AS (
    SELECT message_id, min(first_tap) AS burst_start
    FROM (SELECT message_id, link, min(tapped) AS first_tap FROM taps GROUP BY message_id, link)
    GROUP BY message_id
    HAVING count(*) > 1 AND max(first_tap) - min(first_tap) <= 1000000
),

-- Hours of UTC in which at least 30 messages are clicked from one address (messages_per_address_and_hour).
crowds AS (
    SELECT ip_hash, date_trunc('hour', clicked_at) AS clicked_hour
    FROM taps
    WHERE ip_hash IS NOT NULL
    GROUP BY ip_hash, date_trunc('hour', clicked_at)
    HAVING count(DISTINCT message_id) >= 30
),

-- The first rule that applies makes a click a machine's: the source's score (bot_score), the user agent (user_agents),
-- a HEAD request, less than 3 seconds after delivery (seconds_after_delivery), a burst, a crowd.
judged_taps AS (
    SELECT t.message_id, t.clicked_at,
        CASE
            WHEN t.user_agent IS NULL THEN NULL
            WHEN regexp_like(t.user_agent, 'iphone|ipad|ipod', 'i') THEN 'ios'
            WHEN regexp_like(t.user_agent, 'android|harmonyos', 'i') THEN 'android'
            WHEN regexp_like(t.user_agent, 'windows nt|macintosh|x11', 'i') THEN 'desktop'
            ELSE 'other'
        END AS device,
        CASE
            WHEN t.bot_score >= 0.5 THEN coalesce(t.bot_reason, 'score of the source')
            WHEN regexp_like(
                t.user_agent,
                'google-pagerenderer|googlebot|bingbot|bingpreview|facebookexternalhit|facebot|twitterbot|slackbot'
                || '|telegrambot|whatsapp/|skypeuripreview|linkedinbot|discordbot|applebot|yandexbot|baiduspider'
                || '|petalbot|bytespider|headlesschrome|phantomjs|python-requests|python-urllib|curl/|wget/'
                || '|go-http-client|okhttp|java/|barracuda|proofpoint|mimecast|safelinks|urldefense'
                || '|link ?preview|preview ?bot|crawler|spider',
                'i'
            ) THEN 'preview user agent'
            WHEN upper(t.method) = 'HEAD' THEN 'HEAD request'
            WHEN t.tapped - arrow_cast(r.delivered_at, 'Int64') >= 0
                AND t.tapped - arrow_cast(r.delivered_at, 'Int64') < 3000000 THEN 'within seconds of delivery'
            WHEN t.tapped - b.burst_start <= 1000000 THEN 'every link within a second'
            WHEN c.ip_hash IS NOT NULL THEN 'many recipients behind one address'
        END AS reason
    FROM taps AS t
    LEFT JOIN receipts AS r ON r.message_id = t.message_id
    LEFT JOIN bursts AS b ON b.message_id = t.message_id
    LEFT JOIN crowds AS c ON c.ip_hash = t.ip_hash AND c.clicked_hour = date_trunc('hour', t.clicked_at)
),

clicked AS (
    SELECT message_id,
        count(*) FILTER (WHERE reason IS NULL) AS clicks,
        count(*) FILTER (WHERE reason IS NOT NULL) AS machine_clicks,
        min(clicked_at) FILTER (WHERE reason IS NULL) AS first_click_at,
        first_value(device ORDER BY clicked_at, device NULLS LAST) FILTER (WHERE reason IS NULL) AS first_click_device,
        min(reason) AS machine_click_reason
    FROM judged_taps
    GROUP BY message_id
),

-- A conversion is known by its id; an opt-out by its id, else by recipient, channel and moment; a reply by its id, else
-- by its recipient (else its message) and moment. Of each the latest received row counts.
latest_conversions AS (
    SELECT *
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY conversion_id ORDER BY ingested_at DESC, source_file DESC, source_row DESC
        ) AS newest
        FROM conversions
    )
    WHERE newest = 1
),

latest_opt_outs AS (
    SELECT *
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY event_key ORDER BY ingested_at DESC, source_file DESC, source_row DESC
        ) AS newest
        FROM (
            SELECT *, coalesce(
                id,
                concat(
                    recipient_id, '|', coalesce(channel, ''), '|', coalesce(scope, ''), '|',
                    arrow_cast(requested_at, 'Int64')
                )
            ) AS event_key
            FROM opt_outs
        )
    )
    WHERE newest = 1
),

-- A reply asks to stop by its class, or by its whole text whatever its class is.
latest_replies AS (
    SELECT *,
        (
            coalesce(keyword_class = 'stop', FALSE)
            OR coalesce(upper(regexp_replace(text, '^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$', '', 'g')) IN (
                'STOP', 'STOPALL', 'STOP ALL', 'UNSUBSCRIBE', 'CANCEL', 'END', 'QUIT', 'REVOKE', 'OPT OUT', 'OPT-OUT', 'OPTOUT',
                'TD', 'T', 'N', 'R', '退订', '拒收', '取消订阅', '回复T', '回复TD', '回复退订', '退订T', 'T退订', 'TD退订'
            ), FALSE)
        ) AS is_stop
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY event_key ORDER BY ingested_at DESC, source_file DESC, source_row DESC
        ) AS newest
        FROM (
            SELECT *, coalesce(
                reply_id, concat(coalesce(recipient_id, message_id), '|', arrow_cast(received_at, 'Int64'))
            ) AS event_key
            FROM replies
        )
    )
    WHERE newest = 1
),

-- A refund takes a conversion's value and margin back; it stays a conversion. A reply that asks to stop is an opt-out,
-- of any channel. Every event is a conversion (attribution.events is empty).
events AS (
    SELECT 'conversion' AS kind, conversion_id AS event_key, message_id, recipient_id, occurred_at AS happened_at,
        arrow_cast(NULL, 'Utf8') AS channel, currency,
        arrow_cast(CASE WHEN refunded_at IS NULL OR value IS NULL THEN value ELSE 0 END, 'Decimal128(28, 6)') AS value,
        arrow_cast(CASE WHEN refunded_at IS NULL OR margin IS NULL THEN margin ELSE 0 END, 'Decimal128(28, 6)') AS margin
    FROM latest_conversions
    UNION ALL
    SELECT 'opt-out', event_key, message_id, recipient_id, requested_at, channel, NULL, NULL, NULL
    FROM latest_opt_outs
    UNION ALL
    SELECT CASE WHEN is_stop THEN 'stop' ELSE 'reply' END, event_key, message_id, recipient_id, received_at,
        NULL, NULL, NULL, NULL
    FROM latest_replies
),

-- Last touch: an event without a message may belong to those sent to its recipient at most 7 days before it
-- (window_days), an opt-out of a channel to those of that channel alone. The latest has it, of two the greater id.
touches AS (
    SELECT e.kind, e.happened_at, e.currency, e.value, e.margin, m.message_id AS credited_to,
        row_number() OVER (PARTITION BY e.kind, e.event_key ORDER BY m.sent DESC, m.message_id DESC) AS place
    FROM events AS e
    JOIN messages AS m ON m.recipient_id = e.recipient_id
    WHERE e.message_id IS NULL
        AND m.sent <= arrow_cast(e.happened_at, 'Int64')
        AND arrow_cast(e.happened_at, 'Int64') - m.sent <= 604800000000
        AND (e.channel IS NULL OR m.channel IS NULL OR e.channel = m.channel)
),

-- An event with a message belongs to it, inside the window or not.
credits AS (
    SELECT kind, happened_at, currency, value, margin, message_id AS credited_to
    FROM events
    WHERE message_id IS NOT NULL
    UNION ALL
    SELECT kind, happened_at, currency, value, margin, credited_to
    FROM touches
    WHERE place = 1
),

-- Currencies are never added up.
earned AS (
    SELECT m.message_id, c.currency, count(*) AS conversions, min(c.happened_at) AS converted_at,
        count(*) FILTER (
            WHERE arrow_cast(c.happened_at, 'Int64') < m.sent
                OR arrow_cast(c.happened_at, 'Int64') - m.sent > 604800000000
        ) AS outside,
        sum(c.value) AS revenue, sum(c.margin) AS margin
    FROM credits AS c
    JOIN messages AS m ON m.message_id = c.credited_to
    WHERE c.kind = 'conversion'
    GROUP BY m.message_id, c.currency
),

-- The currency with revenue and most conversions (then the first by name) has the columns, the others are listed.
converted AS (
    SELECT message_id, sum(conversions) AS conversions, sum(outside) AS outside, min(converted_at) AS converted_at,
        max(revenue) FILTER (WHERE place = 1) AS revenue,
        max(margin) FILTER (WHERE place = 1) AS margin,
        max(currency) FILTER (WHERE place = 1) AS currency,
        string_agg(concat(coalesce(currency, ''), '=', arrow_cast(revenue, 'Utf8')), ';' ORDER BY currency)
            FILTER (WHERE place > 1 AND revenue IS NOT NULL) AS other
    FROM (
        SELECT *, row_number() OVER (
            PARTITION BY message_id ORDER BY revenue IS NULL, conversions DESC, currency
        ) AS place
        FROM earned
    )
    GROUP BY message_id
),

-- A recipient counts once, however often they ask to stop.
refused AS (
    SELECT credited_to AS message_id, min(happened_at) AS opted_out_at
    FROM credits
    WHERE kind IN ('opt-out', 'stop')
    GROUP BY credited_to
),

answered AS (
    SELECT credited_to AS message_id, count(*) AS replies
    FROM credits
    WHERE kind = 'reply'
    GROUP BY credited_to
)

-- The send's own word stands before the contact's, and the receipt's before the send's. A delivered message has no
-- error, any other no moment of delivery. Where the send has no cost, the receipts' price and currency stand in.
SELECT
    m.message_id, m.recipient_id, m.campaign_id, m.variant, m.channel, m.sent_at,
    arrow_cast(m.sent_at, 'Date32') AS sent_date,
    coalesce(m.country, a.country) AS country,
    coalesce(m.region, a.region) AS region,
    coalesce(m.time_zone, a.time_zone) AS time_zone,
    arrow_cast(date_part('hour', local_time(m.sent_at, coalesce(m.time_zone, a.time_zone))), 'Int64') AS local_hour,
    arrow_cast(date_part('isodow', local_time(m.sent_at, coalesce(m.time_zone, a.time_zone))), 'Int64')
        AS local_weekday,
    CASE f.fate
        WHEN 10 THEN 'read' WHEN 9 THEN 'delivered' WHEN 8 THEN 'undelivered' WHEN 7 THEN 'failed'
        WHEN 6 THEN 'rejected' WHEN 5 THEN 'canceled' WHEN 4 THEN 'expired' WHEN 3 THEN 'sent'
        WHEN 2 THEN 'queued' WHEN 1 THEN 'accepted' WHEN 0 THEN 'unknown'
    END AS status,
    CASE WHEN f.fate >= 9 THEN 'delivered' WHEN f.fate >= 4 THEN 'failed' ELSE 'unknown' END AS delivery,
    coalesce(f.receipts, 0) AS receipts,
    CASE WHEN f.fate >= 9 THEN f.delivered_at END AS delivered_at,
    CASE WHEN f.fate < 9 THEN f.error_code END AS error_code,
    coalesce(f.carrier, m.carrier) AS carrier,
    arrow_cast(coalesce(m.cost, f.price), 'Decimal128(28, 6)') AS cost,
    coalesce(m.currency, CASE WHEN m.cost IS NULL THEN f.currency END) AS currency,
    coalesce(k.clicks, 0) AS clicks,
    coalesce(k.machine_clicks, 0) AS machine_clicks,
    k.first_click_at,
    k.first_click_device,
    k.machine_click_reason,
    coalesce(v.conversions, 0) AS conversions,
    coalesce(v.outside, 0) AS conversions_outside_window,
    v.converted_at,
    arrow_cast(v.revenue, 'Decimal128(28, 6)') AS revenue,
    arrow_cast(v.margin, 'Decimal128(28, 6)') AS margin,
    v.currency AS revenue_currency,
    arrow_cast(v.other, 'Utf8') AS revenue_other,
    CASE WHEN o.message_id IS NULL THEN 0 ELSE 1 END AS opt_outs,
    o.opted_out_at,
    coalesce(w.replies, 0) AS replies
FROM messages AS m
LEFT JOIN contacts AS a
    ON a.recipient_id = m.recipient_id AND m.sent >= a.valid_from AND m.sent < a.valid_to
LEFT JOIN fates AS f ON f.message_id = m.message_id
LEFT JOIN clicked AS k ON k.message_id = m.message_id
LEFT JOIN converted AS v ON v.message_id = m.message_id
LEFT JOIN refused AS o ON o.message_id = m.message_id
LEFT JOIN answered AS w ON w.message_id = m.message_id
ORDER BY m.message_id
