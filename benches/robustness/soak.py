"""Keeps a server busy for minutes: batches come, reports and charts are asked for, and the store is compacted meanwhile.

    python3 soak.py --binary ../../target/release/sendlift --minutes 10 --clients 8

The store begins with generated logs (recipients, an experiment). Half of the clients then send small batches of sends,
receipts, clicks and conversions; in all `--rate` batches a second come, and a day of sending passes every ten seconds, so
that the store grows as it would in use, and late events touch earlier days. The other half read: reports, campaigns,
experiments, charts, counts by SQL, with a short pause after each answer. Every 20 seconds `compact` runs beside the
server. A batch that is not acknowledged is sent again under its `Idempotency-Key`, and two in a hundred that were are, too.

Printed every half minute and at the end: requests, latencies (p50, p99), the server's resident memory, sampled every second.
Exit status 1 unless all of this held:

- no answer was 5xx, save 503 with `Retry-After`; no other request failed;
- each log has exactly the rows that were acknowledged, each id once, and each message has one row of facts;
- messages sent and delivered, clicks and conversions in the report are those that were acknowledged;
- the report of the server equals that of facts made anew from the logs, and `doctor --deep` says that the store is sound;
- the greatest memory of the last third of the time is at most 1.3 times that of the middle third.

Only Python's standard library is needed, and Linux for the memory.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import threading
import time

from harness import (
    Client,
    Program,
    Server,
    add_common_arguments,
    alike,
    main,
    percentile,
    progress,
    require,
    work_folder,
)

COMPACT_SECONDS = 20
REPORT_SECONDS = 30
DAY_SECONDS = 10
GROWTH = 1.3
AGAIN = 0.02
CAMPAIGN_DAYS = 5
ROWS = 40
FIRST_DAY = 1_767_225_600  # 2026-01-01
AGENT = "Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 Chrome/132.0.0.0 Mobile Safari/537.36"
READS = (
    ("report", "/v1/report?by=campaign_id,variant"),
    ("report", "/v1/report?by=day"),
    ("report", "/v1/report?by=country"),
    ("report", "/v1/campaigns/soak-{campaign}/report?by=variant"),
    ("campaigns", "/v1/campaigns"),
    ("experiments", "/v1/experiments"),
    ("experiments", "/v1/experiments/flash-sale-copy"),
    ("analysis", "/v1/experiments/flash-sale-copy/analysis?segment=age_band"),
    ("charts", "/v1/charts/funnel.svg"),
    ("charts", "/v1/charts/hours.svg"),
    ("charts", "/v1/charts/lift.png?experiment=flash-sale-copy"),
    ("sql", "SELECT count(*) AS n FROM message_facts"),
)


def moment(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Sums:
    """What all clients note, under one lock."""

    def __init__(self):
        self.lock = threading.Lock()
        self.latencies, self.busy, self.violations = {}, 0, []
        self.rows = dict.fromkeys(("sends", "deliveries", "clicks", "conversions"), 0)
        self.batches = self.again = 0

    def note(self, kind, seconds):
        with self.lock:
            self.latencies.setdefault(kind, []).append(seconds)

    def wrong(self, text):
        with self.lock:
            self.violations.append(text)


class Sender:
    """A client that sends batches: its own messages, and what becomes of them later."""

    def __init__(self, number, options, port, sums, started):
        self.number, self.options, self.sums, self.started = number, options, sums, started
        self.client, self.chance = Client(port), random.Random(number)
        self.sent, self.count, self.rows, self.delivered = [], 0, 0, set()

    def run(self, end):
        share = self.options.rate / max(1, self.options.clients // 2)
        due = time.monotonic()
        while time.monotonic() < end:
            log, rows = self.batch()
            self.send(log, rows)
            due = max(due + 1 / share, time.monotonic() - 1)
            time.sleep(max(0.0, min(due, end) - time.monotonic()))
        self.client.close()

    def batch(self):
        """The next batch; a third of them are sends, and the other logs tell of messages of the last ten days."""
        kind = ("sends", "deliveries", "clicks", "sends", "deliveries", "conversions")[self.count % 6]
        if kind == "sends" or not self.sent:
            return "sends", [self.message() for _ in range(ROWS)]
        messages = [self.chance.choice(self.sent) for _ in range(ROWS)]
        return kind, [getattr(self, kind)(*message) for message in messages]

    def identity(self, kind):
        self.rows += 1
        return f"{kind}{self.number}-{self.rows}"

    def message(self):
        day = int((time.monotonic() - self.started) / DAY_SECONDS)
        sent_at = FIRST_DAY + 86_400 * day + self.chance.randrange(86_400)
        identity = self.identity("m")
        self.sent.append((identity, sent_at))
        del self.sent[:-3000]
        return {
            "message_id": identity,
            "campaign_id": f"soak-{day // CAMPAIGN_DAYS}",
            "variant": self.chance.choice("AB"),
            # Not those of the generated logs, some of whose conversions name a recipient alone.
            "recipient_id": f"soak{self.chance.randrange(500)}",
            "channel": "sms",
            "message_type": "promo",
            "country": self.chance.choice(("US", "GB", "DE", "CN")),
            "sent_at": moment(sent_at),
            "cost": "0.0075",
            "currency": "USD",
        }

    @staticmethod
    def deliveries(message, sent_at):
        return {"message_id": message, "status": "delivered", "at": moment(sent_at + 5)}

    def clicks(self, message, sent_at):
        return {
            "click_id": self.identity("k"),
            "message_id": message,
            "link": "https://go.example/x",
            "clicked_at": moment(sent_at + self.chance.randrange(300, 80_000)),
            "user_agent": AGENT,
            "method": "GET",
        }

    def conversions(self, message, sent_at):
        return {
            "conversion_id": self.identity("c"),
            "message_id": message,
            "event": "purchase",
            "occurred_at": moment(sent_at + self.chance.randrange(600, 80_000)),
            "value": "10.00",
            "currency": "USD",
        }

    def send(self, log, rows):
        """Sends a batch until it is acknowledged."""
        body = "".join(json.dumps(row) + "\n" for row in rows).encode()
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": f"soak-{self.number}-{self.count}"}
        self.count += 1
        for turn in range(2 if self.chance.random() < AGAIN else 1):
            while True:
                started = time.monotonic()
                answer = self.client.ask("POST", f"/v1/logs/{log}", body, headers)
                took = time.monotonic() - started
                if answer.status == 200:
                    break
                if not is_busy(answer, self.sums, f"POST /v1/logs/{log}"):
                    return
            self.sums.note("POST", took)
            outcome = json.loads(answer.body)
            expected = (0, len(rows)) if turn else (len(rows), 0)
            found = (outcome["accepted"], outcome["duplicates"])
            if found != expected:
                self.sums.wrong(f"a batch of {len(rows)} {log}, turn {turn + 1}, was answered {answer.text()}")
            with self.sums.lock:
                self.sums.again += turn
                if turn == 0:
                    self.sums.batches += 1
                    self.sums.rows[log] += len(rows)
                    if log == "deliveries":
                        self.delivered.update(row["message_id"] for row in rows)


def is_busy(answer, sums, what):
    """Waits where the server says that it is busy; anything else that is no success is wrong."""
    if answer.status in (429, 503) and answer.headers.get("Retry-After", "").isdigit():
        with sums.lock:
            sums.busy += 1
        time.sleep(int(answer.headers["Retry-After"]))
        return True
    sums.wrong(f"{what}: {answer.status} {answer.text()}")
    return False


def read(number, options, port, sums, started, end):
    client, chance = Client(port), random.Random(1000 + number)
    # A campaign is asked for by name when it is surely there.
    lag = 2 * DAY_SECONDS
    while time.monotonic() < end:
        kind, path = chance.choice(READS)
        if "{campaign}" in path:
            day = (time.monotonic() - started - lag) / DAY_SECONDS
            if day < 0:
                continue
            path = path.format(campaign=chance.randint(0, int(day // CAMPAIGN_DAYS)))
        asked = time.monotonic()
        if kind == "sql":
            answer = client.ask("POST", "/v1/query", json.dumps({"sql": path}), {"Content-Type": "application/json"})
        else:
            answer = client.ask("GET", path)
        if answer.status == 200:
            sums.note(f"GET {kind}", time.monotonic() - asked)
        elif not is_busy(answer, sums, f"GET {path}"):
            time.sleep(1)
        time.sleep(options.pause * chance.uniform(0.5, 1.5))
    client.close()


def compact(program, sums, end):
    due = time.monotonic() + COMPACT_SECONDS
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        started = time.monotonic()
        done = program.run("compact")
        if done.returncode != 0:
            sums.wrong(f"compact ended with {done.returncode}: {done.stderr.strip()[:500]}")
        sums.note("compact", time.monotonic() - started)
        due += COMPACT_SECONDS


def print_latencies(sums):
    with sums.lock:
        latencies = {kind: list(values) for kind, values in sums.latencies.items()}
    latencies["GET, all"] = [value for kind, values in latencies.items() if kind.startswith("GET") for value in values]
    print(f"{'':16} {'answers':>8} {'p50, ms':>9} {'p99, ms':>9} {'worst, ms':>9}")
    for kind, values in sorted(latencies.items()):
        if values:
            figures = [1e3 * percentile(values, 0.5), 1e3 * percentile(values, 0.99), 1e3 * max(values)]
            print(f"{kind:16} {len(values):>8,} " + " ".join(f"{figure:>9,.1f}" for figure in figures))


def thirds(series):
    size = len(series) // 3
    return series[:size], series[size : 2 * size], series[2 * size :]


def print_memory(series):
    """Prints the series' summary; what is wrong with it, if anything is."""
    if len(series) < 9:
        print("memory           not sampled")
        return ""
    for name, part in zip(("first", "middle", "last"), thirds(series)):
        print(
            f"memory, {name + ' third':13} least {min(part):7,.0f}  median {statistics.median(part):7,.0f}  "
            f"greatest {max(part):7,.0f} MiB"
        )
    step = max(1, len(series) // 20)
    print("memory, MiB     " + " ".join(f"{value:.0f}" for value in series[::step]))
    _, middle, last = (max(part) for part in thirds(series))
    return last > GROWTH * middle and f"memory grows: {last:.0f} MiB in the last third, {middle:.0f} in the middle one"


def check_counts(program, sums, before, delivered, report):
    keys = {"sends": "message_id", "deliveries": None, "clicks": "click_id", "conversions": "conversion_id"}
    for log, key in keys.items():
        distinct = f"count(DISTINCT {key})" if key else "count(*)"
        found = program.sql(f"SELECT count(*) AS n, {distinct} AS ids FROM {log}")[0]
        due = before[log] + sums.rows[log]
        require(found["n"] == found["ids"] == due, f"{log}: acknowledged {due:,} rows, the store has {found}")
    facts = program.sql("SELECT count(*) AS n, count(DISTINCT message_id) AS ids FROM message_facts")[0]
    due = before["sends"] + sums.rows["sends"]
    require(facts["n"] == facts["ids"] == due, f"acknowledged {due:,} messages, the facts have {facts}")
    ours = [row for row in report if row["campaign_id"].startswith("soak-")]
    total = lambda name: sum(row.get(name) or 0 for row in ours)  # noqa: E731
    rows = program.sql(
        "SELECT sum(clicks) AS clicks, sum(CASE WHEN delivery = 'delivered' THEN 1 ELSE 0 END) AS delivered, "
        "sum(conversions) AS conversions FROM message_facts WHERE campaign_id LIKE 'soak-%'"
    )[0]
    for name, found, due in (
        ("sent", total("sent"), sums.rows["sends"]),
        ("delivered", rows["delivered"], delivered),
        ("clicks, human and machine", total("clicks") + total("machine_clicks"), sums.rows["clicks"]),
        ("conversions", rows["conversions"], sums.rows["conversions"]),
    ):
        require(found == due, f"{name}: {due:,} were acknowledged, and {found:,} are told")
    print("counts           " + ", ".join(f"{rows:,} {log}" for log, rows in sums.rows.items()) + ": each once")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument("--minutes", type=float, default=10, help="how long (%(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="half of them send, half read (%(default)s)")
    parser.add_argument("--rate", type=float, default=12, help="batches a second of all senders (%(default)s)")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between a reader's requests (%(default)s)")
    options = parser.parse_args()
    if options.clients < 2 or options.minutes <= 0 or options.rate <= 0:
        parser.error("give 2 clients or more, some minutes and a rate")
    return options


def soak(options, folder):
    program = Program(options.binary, os.path.join(folder, "store"), folder)
    program.must("generate", "--out", "logs", "--messages", "5000", "--seed", "3")
    logs = ("recipients", "assignments", "sends", "deliveries", "clicks", "conversions")
    program.must("ingest", *(f"{log}=logs/{log}.csv" for log in logs))
    sums = Sums()
    before = {log: program.sql(f"SELECT count(*) AS n FROM {log}")[0]["n"] for log in sums.rows}
    server = Server(program, os.path.join(folder, "server.log"))
    started = time.monotonic()
    end = started + 60 * options.minutes
    half = options.clients // 2
    senders = [Sender(number, options, server.port, sums, started) for number in range(half)]
    threads = [threading.Thread(target=sender.run, args=(end,), daemon=True) for sender in senders]
    for number in range(options.clients - half):
        reader = (number, options, server.port, sums, started, end)
        threads.append(threading.Thread(target=read, args=reader, daemon=True))
    threads.append(threading.Thread(target=compact, args=(program, sums, end), daemon=True))
    try:
        for thread in threads:
            thread.start()
        series, said = [], started
        while time.monotonic() < end and not sums.violations:
            time.sleep(1)
            require(server.process.poll() is None, "the server ended by itself")
            memory = server.resident()
            if memory is not None:
                series.append(memory)
            if time.monotonic() - said >= REPORT_SECONDS:
                said = time.monotonic()
                posts = sums.latencies.get("POST", [])
                progress(f"{said - started:.0f} s: {sums.batches:,} batches, p99 {1e3 * percentile(posts, 0.99):.0f} ms, "
                         f"{memory or 0:.0f} MiB")
        if not sums.violations:
            for thread in threads:
                thread.join()
        print_latencies(sums)
        print(f"busy (503)       {sums.busy}; batches {sums.batches:,}, {sums.again} of them sent twice")
        require(not sums.violations, f"{len(sums.violations)} times: {sums.violations[:3]}")
        no_cache = {"Cache-Control": "no-cache"}
        answer = Client(server.port).ask("GET", "/v1/report", headers=no_cache)
        require(answer.status == 200, f"the last report: {answer.status} {answer.text()}")
        served = json.loads(answer.body)["rows"]
        require(server.stop() == 0, f"the server ended with {server.process.returncode} when it was asked to")
    finally:
        server.kill()
    growth = print_memory(series)
    delivered = sum(len(sender.delivered) for sender in senders)
    check_counts(program, sums, before, delivered, served)
    program.must_be_sound("in the end", deep=True)
    for table in ("message_facts", "send_corrections", "_rollups"):
        shutil.rmtree(os.path.join(program.store, table), ignore_errors=True)
    anew = program.report()
    served.sort(key=lambda row: str(row["campaign_id"]))
    for left, right in zip(served, anew):
        require(alike(left, right), f"the server's report is not that of facts made anew: {left} and {right}")
    require(len(served) == len(anew), f"the server's report has {len(served)} campaigns, made anew {len(anew)}")
    print("report           that of facts made anew; doctor --deep: sound")
    require(not growth, growth)


def run():
    options = arguments()
    with work_folder(options, "soak") as folder:
        soak(options, folder)
    print("all of it held")


if __name__ == "__main__":
    main(run)
