"""Sends many small batches of sends to a running `sendlift serve` from many clients at once, and measures what it takes in.

In: the address of a server over an empty store. Out: events acknowledged a second, latencies of the acknowledgements,
errors, and how soon a read saw everything; then a check by `POST /v1/query` that the store holds exactly the rows that
were acknowledged, each message once. Exit status 0 when it does, 1 when not, 2 for a wrong command line.

    sendlift --store /tmp/load-store serve &
    python3 ingest_load.py --url http://127.0.0.1:8080 --clients 32 --rows 500 --seconds 30

Clients share as many processes as `--processes` says. Each client has a connection of its own, sends a batch, waits for
its acknowledgement, and sends the next. A body is made of a prebuilt one in which only the ids differ, so that the
clients take little of the processors, which they share with the server where both run on one machine. A batch carries an
`Idempotency-Key`; a batch that fails is sent again under its key until it is acknowledged, so that nothing is lost and
nothing is there twice. With `--again SHARE` that share of the acknowledged batches is sent once more on purpose.

Only Python's standard library is needed.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import random
import sys
import threading
import time
from urllib.parse import urlsplit

# Characters of the part of an id that differs from batch to batch; the other digits are the row's number.
BATCH_DIGITS = 14
ROW_DIGITS = 5
PLACE = "@" * BATCH_DIGITS
COUNTRIES = ("US", "CA", "GB", "DE", "CN")
RETRY_SECONDS = 0.2
TIMEOUT_SECONDS = 120


def template(rows):
    """Returns the NDJSON of one batch with a place for the batch's number in each id."""
    lines = []
    for row in range(rows):
        message = {
            "message_id": f"m{PLACE}{row:0{ROW_DIGITS}d}",
            "campaign_id": f"campaign-{row % 20}",
            "variant": "AB"[row % 2],
            "recipient_id": f"r{PLACE}{row:0{ROW_DIGITS}d}",
            "channel": "sms",
            "message_type": "promo",
            "country": COUNTRIES[row % len(COUNTRIES)],
            "sent_at": f"2026-03-02T{row % 24:02d}:{row % 60:02d}:{row % 59:02d}Z",
            "cost": "0.0075",
            "currency": "USD",
        }
        lines.append(json.dumps(message, separators=(",", ":")))
    return ("\n".join(lines) + "\n").encode()


class Client:
    """One connection, which is opened again when it breaks."""

    def __init__(self, options):
        self.address = urlsplit(options.url)
        self.headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
        self.connection = None

    def ask(self, method, path, body=None, headers=()):
        """Returns the status and the body; 0 and the reason when the connection failed."""
        try:
            if self.connection is None:
                kind = http.client.HTTPSConnection if self.address.scheme == "https" else http.client.HTTPConnection
                self.connection = kind(self.address.hostname, self.address.port, timeout=TIMEOUT_SECONDS)
            self.connection.request(method, path, body, {**self.headers, **dict(headers)})
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            if self.connection is not None:
                self.connection.close()
            self.connection = None
            return 0, repr(error).encode()


def run_client(number, options, body, end, result):
    """Sends batches until the end, and notes latencies, acknowledged rows and failures."""
    client = Client(options)
    chance = random.Random(number)
    path = "/v1/logs/sends"
    sent = 0
    while time.perf_counter() < end:
        batch = f"{options.run:03d}{number:04d}{sent:07d}"
        sent += 1
        payload = body.replace(PLACE.encode(), batch.encode())
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": f"load-{batch}"}
        times = 2 if chance.random() < options.again else 1
        for attempt in range(times):
            while True:
                started = time.perf_counter()
                status, answer = client.ask("POST", path, payload, headers)
                took = time.perf_counter() - started
                if status == 200:
                    break
                result["failures"][status] = result["failures"].get(status, 0) + 1
                result["reason"] = answer[:300].decode(errors="replace")
                if status not in (0, 500, 503, 504):
                    return
                time.sleep(RETRY_SECONDS)
            outcome = json.loads(answer)
            result["latencies"].append(took)
            result["accepted"] += outcome["accepted"]
            result["duplicates"] += outcome["duplicates"]
            result["rows"] += options.rows if attempt == 0 else 0
            result["versions"].add(outcome["version"])
            result["last"] = time.perf_counter()


def run_process(numbers, options, start, queue):
    """Runs some of the clients, a thread each."""
    body = template(options.rows)
    results = []
    threads = []
    for number in numbers:
        result = {"latencies": [], "accepted": 0, "duplicates": 0, "rows": 0, "failures": {}, "reason": "", "last": 0.0}
        result["versions"] = set()
        results.append(result)
        arguments = (number, options, body, start + options.seconds, result)
        threads.append(threading.Thread(target=run_client, args=arguments, daemon=True))
    time.sleep(max(0.0, start - time.perf_counter()))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.put(results)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def query(client, sql):
    """Returns the first row of a query over the store."""
    body = json.dumps({"sql": sql}).encode()
    status, answer = client.ask("POST", "/v1/query", body, {"Content-Type": "application/json"})
    if status != 200:
        sys.exit(f"the query failed with {status}: {answer[:300].decode(errors='replace')}")
    return json.loads(answer)[0]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the server (%(default)s)")
    parser.add_argument("--key", default=os.environ.get("SENDLIFT_API_KEY", ""), help="its API key, if it wants one")
    parser.add_argument("--clients", type=int, default=32, help="connections (%(default)s)")
    parser.add_argument("--processes", type=int, default=4, help="processes of the clients (%(default)s)")
    parser.add_argument("--rows", type=int, default=500, help="rows of a batch (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long batches are sent (%(default)s)")
    parser.add_argument("--again", type=float, default=0.0, help="share of batches that are sent twice (%(default)s)")
    parser.add_argument("--run", type=int, default=0, help="0 to 999: another number makes other ids (%(default)s)")
    options = parser.parse_args()
    if not (0 < options.clients <= 1000 and 0 < options.rows < 10**ROW_DIGITS and 0 <= options.run <= 999):
        parser.error("give 1 to 1000 clients, 1 to 99999 rows and a run from 0 to 999")
    options.processes = max(1, min(options.processes, options.clients))
    return options


def main():
    options = arguments()
    client = Client(options)
    status, answer = client.ask("GET", "/readyz")
    if status != 200:
        sys.exit(f"no server answers at {options.url}: {status} {answer.decode(errors='replace')}")
    before = query(client, "SELECT count(*) AS n FROM sends")["n"]

    queue = multiprocessing.Queue()
    # A second for the processes to come up.
    start = time.perf_counter() + 1.0
    processes = []
    for index in range(options.processes):
        numbers = range(index, options.clients, options.processes)
        processes.append(multiprocessing.Process(target=run_process, args=(numbers, options, start, queue)))
        processes[-1].start()
    results = [result for _ in processes for result in queue.get()]
    for process in processes:
        process.join()

    # The time until the last acknowledgement counts, also after the end of sending.
    elapsed = max(result["last"] for result in results) - start
    latencies = [latency for result in results for latency in result["latencies"]]
    accepted = sum(result["accepted"] for result in results)
    duplicates = sum(result["duplicates"] for result in results)
    acknowledged = sum(result["rows"] for result in results)
    versions = set().union(*(result["versions"] for result in results))
    failures = {}
    for result in results:
        for status, count in result["failures"].items():
            failures[status] = failures.get(status, 0) + count
    reason = next((result["reason"] for result in results if result["reason"]), "")

    asked = time.perf_counter()
    # One query sees one state: the rows, and the message ids that are there more than once.
    found = query(client, "SELECT count(*) AS n, count(*) - count(DISTINCT message_id) AS twice FROM sends")
    caught_up = time.perf_counter() - asked

    print(f"clients            {options.clients} in {options.processes} processes, batches of {options.rows} rows")
    print(f"acknowledged       {acknowledged:,} rows in {len(latencies):,} batches, {len(versions):,} versions")
    print(f"time               {elapsed:.2f} s until the last acknowledgement")
    print(f"events a second    {acknowledged / elapsed:,.0f}")
    print(
        f"latency            p50 {1e3 * percentile(latencies, 0.5):.0f} ms, "
        f"p99 {1e3 * percentile(latencies, 0.99):.0f} ms, worst {1e3 * max(latencies, default=0.0):.0f} ms"
    )
    print(f"failures           {failures or 'none'} {reason}")
    print(f"duplicates         {duplicates:,} rows sent again")
    print(f"first read after   {caught_up:.2f} s")
    print(f"in the store       {found['n']:,} rows, {before:,} of them from before")
    # A batch whose answer was lost and that was sent again counts as duplicate, and is there once all the same.
    is_right = found["n"] - before == acknowledged and found["twice"] == 0 and (accepted == acknowledged or failures)
    print("check              " + ("every acknowledged row is there once" if is_right else f"WRONG: {found}"))
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
